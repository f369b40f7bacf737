"""Memory that runs out, on any call and in any of its words: done again in halves, and nothing is lost or hidden."""

import dataclasses
import itertools

import models
import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.batch import Batch
from transforms.attribution.engine import batching
from transforms.attribution.engine.kernel import Kernel

N, ROWS = 6, 11
X = ([None, N], "float32")
FACES = itertools.cycle(
    [
        lambda: tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[64,6]"),
        lambda: tf.errors.InternalError(None, None, "Dst tensor is not initialized."),
        lambda: tf.errors.UnknownError(None, None, "Out of memory while trying to allocate 123 bytes."),
        lambda: tf.errors.InternalError(None, None, "Out of memory while trying to allocate 123 bytes."),
        lambda: MemoryError(),
    ]
)
PROGRAMS = ["forward", "gradients", "pull_back"]
FIELDS = [{}, {"steps": 5}, {"batch_size": 16}, {"steps": 5, "batch_size": 16}]


def rows(count=ROWS):
    scale = np.geomspace(0.2, 20, count)[:, np.newaxis]
    return (np.random.default_rng(0).normal(size=(count, N)) * scale).astype(np.float32)


@pytest.fixture
def model(model_of):
    found = model_of(models.narrowing, x=X)
    assert found.stem, "pull_back would not be called"
    return found


def points_of(fed):
    return fed.points if hasattr(fed, "points") else len(fed[0])


@pytest.fixture
def failing(monkeypatch):
    """failing(program, fails): from here on the program fails where `fails(number of the call, what it is fed)`.

    Returns the points of each call by its number. The batch size is not tuned: that would depend on the time.
    """
    monkeypatch.setattr(batching, "WINDOW_S", np.inf)
    monkeypatch.setattr(batching, "SLOW_WINDOW_S", np.inf)

    def fail(program, fails, error=lambda: next(FACES)()):
        real, calls, numbers = getattr(Kernel, program), {}, itertools.count()

        def called(kernel, fed):
            number = next(numbers)  # at once: two calls are under way
            calls[number] = points_of(fed)
            if fails(number, fed):
                raise error()
            return real(kernel, fed)

        monkeypatch.setattr(Kernel, program, called)
        return calls

    return fail


def assert_same(found, expected, among=slice(None), limits=None):
    assert found.rows.tolist() == expected.rows[among].tolist()
    for name, value in expected.attributions.items():
        # calls of another size take other kernels of the matrix product: a few roundings of float32
        limit = 1e-6 * np.abs(value[among]).max(axis=1, keepdims=True) if limits is None else limits[name][among]
        assert (np.abs(found.attributions[name] - value[among]) <= limit).all()
    for name in ("steps", "status", "target"):
        assert getattr(found, name).tolist() == getattr(expected, name)[among].tolist(), name


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("moment", ["first", "middle", "last"])
def test_one_call_that_does_not_fit(model, fresh, failing, program, moment, fields):
    fields = {"target": "predicted"} | fields
    expected = fresh(model, **fields).explain(rows())
    calls = failing(program, lambda number, fed: False)
    fresh(model, **fields).explain(rows())
    number = {"first": 0, "middle": len(calls) // 2, "last": len(calls) - 1}[moment]
    engine, failed = fresh(model, **fields), failing(program, lambda call, fed: call == number)
    assert_same(engine.explain(rows()), expected)
    assert len(failed) > number
    assert engine.take_out_of_memory() == 1 and engine.take_out_of_memory() == 0
    (compute,) = engine._computes
    assert compute.batching.points <= max(1, failed[number] // 2)


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("most", [40, 8, 5, 3, 2, 1])
def test_calls_up_to_what_fits(model, fresh, failing, program, most, fields):
    fields = {"target": "predicted"} | fields
    expected = fresh(model, **fields).explain(rows())
    engine, calls = fresh(model, **fields), failing(program, lambda call, fed: points_of(fed) > most)
    assert_same(engine.explain(rows()), expected)
    too_large = [points for points in calls.values() if points > most]
    assert engine.take_out_of_memory() == len(too_large)
    # remembered: two calls under way may learn it at the same time, and each failure halves
    assert len(too_large) <= 2 * np.log2(64)
    calls.clear()
    assert_same(engine.explain(rows()), expected)
    assert calls and max(calls.values()) <= most and engine.take_out_of_memory() == 0


def test_the_halves_of_a_stream_are_its_rows(model, fresh, failing):
    expected = fresh(model, target=0).explain(rows())
    engine = fresh(model, target=0)
    failing("gradients", lambda call, fed: call % 3 == 1 and fed.points > 1)
    found = list(engine.stream(Batch({"x": row[np.newaxis]}) for row in rows()))
    assert [part.rows.tolist() for part in found] == [[0]] * ROWS
    values = np.concatenate([part.attributions["x"] for part in found])
    assert_same(dataclasses.replace(expected, attributions={"x": values}), expected)
    assert engine.take_out_of_memory() > 0


OTHERS = [
    tf.errors.InternalError(None, None, "Blas GEMM launch failed"),
    tf.errors.FailedPreconditionError(None, None, "table not initialized"),
    ZeroDivisionError("in Python"),
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_another_error_is_raised_as_it_is(model, fresh, failing, program, error):
    engine = fresh(model, target=0)
    failing(program, lambda call, fed: call == 0, lambda: error)
    with pytest.raises(type(error)) as raised:
        engine.explain(rows())
    assert raised.value is error and engine.take_out_of_memory() == 0


def test_a_model_of_one_batch_size_cannot_take_less(model_of, fresh, failing):
    engine = fresh(model_of(models.mlp, x=([4, N], "float32")), target=0)
    failing("gradients", lambda call, fed: call == 1)
    with pytest.raises((tf.errors.OpError, MemoryError)):
        engine.explain(rows())


MARK = 77.0


def marked(fed):
    """Whether the row with the mark is in what a program is fed: x itself, or the head's z of it."""
    values = fed.inputs if hasattr(fed, "inputs") else fed
    return any((np.asarray(value) == MARK).any() for value in values)


DRAWN = [
    {"method": "expected_gradients", "baseline": {"uniform": [-1, 1], "draws": 7}},
    {"method": "smooth_taylor", "baseline": {"gaussian": 0.5, "draws": 7}},
    {"method": "saliency", "noise": {"kind": "vargrad", "draws": 7, "sigma": 0.5}},
]


@pytest.mark.parametrize("fields", DRAWN, ids=lambda fields: fields["method"])
@pytest.mark.parametrize("fit", [1, 3])
def test_draws_that_do_not_fit_together_are_computed_apart(model_of, fresh, failing, fields, fit):
    loaded = model_of(models.mlp, x=X)
    expected, limits = fresh(loaded, target=0, **fields).explain(rows()), None
    if "noise" in fields:
        # d(variance) = 2/n Σ (g − mean) dg: at most 2 · 1e-6 times the mean of g², for a dg of at most 1e-6 · |g|
        squared = fields | {"noise": fields["noise"] | {"kind": "smoothgrad_squared"}}
        squares = fresh(loaded, target=0, **squared).explain(rows()).attributions
        limits = {name: 2e-6 * value.max(axis=1, keepdims=True) for name, value in squares.items()}
    calls = failing("gradients", lambda call, fed: fed.points > fit)
    found = fresh(loaded, target=0, **fields).explain(rows())
    assert_same(found, expected, limits=limits)
    for name in ("error_estimate", "baseline_spread"):
        if getattr(expected, name) is not None:
            # of values that differ by 1e-6, with a spread of their own size
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4)
    assert not found.faults and min(calls.values()) <= fit


@pytest.mark.parametrize("fields", [*FIELDS, {"target": {"top_k": 2}}], ids=str)
@pytest.mark.parametrize("name", ["smooth", "held", "double"])
@pytest.mark.parametrize("program", ["forward", "gradients"])
@pytest.mark.parametrize("position", [0, 4, ROWS - 1])
def test_a_row_that_does_not_even_fit_alone_is_set_apart(model_of, fresh, failing, program, name, position, fields):
    kind = "float64" if name == "double" else "float32"
    specs = {"x": ([None, N], kind)} | ({"ids": ([None], "int64")} if name == "held" else {})
    loaded = model_of(models.gated if name == "held" else models.mlp, **specs)
    x = rows().astype(kind)
    x[position, 2] = MARK
    inputs = {"x": x} | ({"ids": np.arange(ROWS) % 3} if name == "held" else {})
    fields = {"target": "predicted"} | fields
    expected = fresh(loaded, **fields).explain(inputs)
    failing(program, lambda call, fed: marked(fed))
    found = fresh(loaded, **fields).explain(inputs)
    assert list(found.faults) == [position] and found.faults[position].code == "E_OUT_OF_MEMORY"
    assert_same(found, expected, expected.rows != position)
    assert not expected.faults and len(found) < len(expected)
    assert np.isfinite(found.attributions["x"]).all()


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_row_lost_is_no_row(model, fresh, failing, program):
    failing(program, lambda call, fed: True)
    found = fresh(model, target=0, baseline={"constant": 0.5}).explain(rows())
    assert sorted(found.faults) == list(range(ROWS)) and len(found) == 0
    assert found.attributions["x"].shape == (0, N)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_input_of_any_size_beside_a_stem(model_of, fresh, failing, program):
    loaded = model_of(models.two_narrowing, a=X, b=([None, None], "float32"))
    inputs = {"a": rows(), "b": rows()[:, :4]}
    expected = fresh(loaded, target=0).explain(inputs)
    assert loaded.stem and set(loaded.stem.tensors) == {"a"}
    failing(program, lambda call, fed: call == 0)
    assert_same(fresh(loaded, target=0).explain(inputs), expected)


def test_the_model_is_as_before(model, fresh, failing):
    x = tf.constant(rows())
    before = model.outputs([x]).numpy()
    for program in PROGRAMS:
        failing(program, lambda call, fed: points_of(fed) > 3)
    fresh(model, target=0).explain(rows())
    assert np.array_equal(model.outputs([x]).numpy(), before)


def test_a_call_that_is_not_full_is_padded_little_and_to_few_shapes(model, fresh):
    compute = fresh(model, target=0)._computes.of([(N,)])
    padded = [compute._padding(size, 512) for size in range(1, 513)]
    assert all(size <= found <= max(size + 1, size * 9 / 8) for size, found in enumerate(padded, 1))
    assert padded[-1] == 512 and len({found for found in padded if found > 256}) == 8
