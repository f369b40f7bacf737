"""`Explainer`: what a row gets depends on the row alone; calls, statuses, columns, programs, refusals."""

import math

import numpy as np
import pytest
import tensorflow as tf
from models import inference_layers, mlp, save_function, saved_keras, status_zoo, with_a_bad_row

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.engine.device import CALLS_IN_FLIGHT, CALLS_READY
from transforms.attribution.explainer import Explainer
from transforms.attribution.model import anatomy, freezing, loading
from transforms.errors import UsageError

STEPS, N = 5, 6
SPEC = {"x": ([None, N], "float32")}


def rows(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, N)).astype(np.float32)


def predicted(explainer, model_of, batch_size):
    return explainer(model_of(mlp, **SPEC), steps=STEPS, target="predicted", batch_size=batch_size)


def values(explanation):
    return explanation.attributions["x"]


def joined(explanations):
    return np.concatenate([values(found) for found in explanations])


def split(x, sizes):
    """Batches of these sizes, repeated until the rows end."""
    first, batches = 0, []
    while first < len(x):
        size = sizes[len(batches) % len(sizes)]
        batches.append(Batch({"x": x[first : first + size]}))
        first += size
    return batches


@pytest.mark.parametrize("batch_size", [7, 64])
def test_repeated_with_the_same_settings_it_is_bit_identical(model_of, explainer, batch_size):
    x = rows(13)
    first = predicted(explainer, model_of, batch_size)
    fresh = Explainer(first.model, first.config)
    expected = joined(first.stream(split(x, [2, 5])))
    assert np.array_equal(joined(first.stream(split(x, [2, 5]))), expected)
    assert np.array_equal(joined(fresh.stream(split(x, [2, 5]))), expected)


def test_padding_never_changes_a_value(model_of, explainer):
    engine = predicted(explainer, model_of, 64)
    x = rows(13)  # of 5 points each, 12 rows a call: a full call, and one with 11 padded slots
    expected = values(engine.explain(x))
    # 1 to 12 rows: the same positions in the call, another amount of padding
    for count in (1, 4, 12):
        assert np.array_equal(values(engine.explain(x[:count])), expected[:count])


def test_points_of_several_batches_share_a_call(model_of, explainer, computed):
    found = list(predicted(explainer, model_of, 64).stream(split(rows(26), [1])))
    # 26 rows of 5 points each: 12, 12 and 2 of them; and each call has all its slots
    assert [paths.nodes.shape for paths in computed] == [(12, 5)] * 3
    assert len(found) == 26


def test_the_batch_size_is_what_a_call_computes(model_of, fresh, computed):
    for size, memory, points in ((64, 64, 60), (64, 20, 20), (3, 3, 3), (64, 2, 2)):
        engine = fresh(model_of(mlp, **SPEC), steps=STEPS, target=0, batch_size=size)
        assert engine.batch_size([(N,)]) == (60 if size == 64 else size)
        (compute,) = engine._computes
        compute.batching.points = memory
        assert engine.batch_size([(N,)]) == points
        computed.clear()
        engine.explain(rows(40))
        assert max(paths.points for paths in computed) == points


def test_a_batch_leaves_the_stream_as_soon_as_it_is_done(model_of, explainer):
    taken = []

    def batches():
        for batch in split(rows(90), [1]):
            taken.append(batch)
            yield batch

    stream = predicted(explainer, model_of, 64).stream(batches())
    next(stream)
    # 12 rows of 5 points each fill a call; the first one is waited for when another wants to start
    assert len(taken) == 12 * (CALLS_IN_FLIGHT + CALLS_READY + 1)


def zoo(explainer, model_of, **fields):
    return explainer(model_of(status_zoo, x=([None, 3], "float32")), **{"steps": 2, "batch_size": 8, **fields})


ZOO = np.float32([[1, 0, 0], [0, 1, 0], [0, 0.5, 0], [0, 0, -2], [0, 0, -1]])


def test_every_status(model_of, explainer):
    found = zoo(explainer, model_of).explain(ZOO)
    # linear: exact; the two Gauss-Legendre nodes lie under the kink at 0.9 and see nothing of the rise by 1; F does not
    # move; log(−1) is NaN; log(0) is −inf
    assert found.status.tolist() == ["ok", "unconverged", "flat", "nonfinite", "nonfinite"]
    assert found.relative_delta[:2] == pytest.approx([0, 1], abs=1e-6)
    assert found.steps.tolist() == [2] * 5 and found.steps.dtype == np.int32
    assert found.error_estimate is None and found.target is None and len(found) == 5
    assert np.isnan(found.output[3]) and np.isneginf(found.output[4]) and np.isfinite(found.output[:3]).all()


def test_steps_is_the_number_of_gradients(model_of, explainer):
    assert zoo(explainer, model_of, steps=7).explain(ZOO).steps.tolist() == [7] * 5


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("bad", [[0, 0, -2], [0, 0, -1], [np.inf, 0, 0], [np.nan, 0, 0], [0, 0, np.nan]])
def test_a_bad_row_flags_itself_and_leaves_its_neighbours_alone(model_of, explainer, position, bad):
    engine = zoo(explainer, model_of)
    expected, found, others = with_a_bad_row(engine, position, bad)
    assert "nonfinite" not in expected.status
    for name in ("output", "baseline_output", "delta", "relative_delta", "status"):
        assert np.array_equal(getattr(found, name)[others], getattr(expected, name)[others]), name
    assert np.array_equal(values(found)[others], values(expected)[others])


def test_delta_is_the_sum_of_what_is_returned_minus_what_is_returned(model_of, explainer):
    found = predicted(explainer, model_of, 7).explain(rows(13))
    assert values(found).dtype == found.output.dtype == found.baseline_output.dtype == np.float32
    for row in range(13):
        total = math.fsum(values(found)[row].astype(np.float64))
        difference = float(found.output[row]) - float(found.baseline_output[row])
        # six additions in float64 of numbers below 100
        assert found.delta[row] == pytest.approx(total - difference, abs=1e-12)
        assert found.relative_delta[row] == pytest.approx(abs(found.delta[row]) / abs(difference), rel=1e-12)
    assert found.delta.any()


def test_two_programs_whatever_goes_through_them(model_of, explainer):
    engine = Explainer(predicted(explainer, model_of, 7).model, predicted(explainer, model_of, 7).config)
    assert engine.traces() == 0
    for seed in range(5):
        engine.explain(rows(seed + 1, seed))
        engine.explain(rows(3, seed), baselines=rows(3, seed + 1))
        list(engine.stream(split(rows(11, seed), [1, 2])))
    assert engine.traces() == 2


def free_size(x):
    return 3 * x[:, 0] + x[:, -1] * x[:, 0]


def test_a_stream_may_change_its_shapes(model_of, explainer):
    engine = explainer(model_of(free_size, x=([None, None], "float32")), steps=STEPS, batch_size=8)
    parts = [np.ones((2, 3), np.float32), np.ones((1, 5), np.float32), np.ones((2, 3), np.float32)]
    found = list(engine.stream([Batch({"x": part}) for part in parts]))
    assert [values(part).shape for part in found] == [(2, 3), (1, 5), (2, 3)]
    # product: half of 1 to each factor; a dozen roundings of numbers up to 4
    np.testing.assert_allclose(values(found[1]), [[3.5, 0, 0, 0, 0.5]], rtol=1e-6)
    assert np.array_equal(values(found[0]), values(found[2]))
    assert engine.traces() == 4


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        (np.ones((2, N - 1), np.float32), "E_INPUT_SHAPE"),
        (np.ones(N, np.float32), "E_INPUT_SHAPE"),
        (np.ones((0, N), np.float32), "E_INPUT_SHAPE"),
        (np.float32(1), "E_INPUT_SHAPE"),
        ({}, "E_INPUT_SHAPE"),
        ({"y": np.ones((2, N), np.float32)}, "E_INPUT_NAME"),
        (np.full((2, N), "a"), "E_INPUT_DTYPE"),
        (np.ones((2, N), np.complex64), "E_INPUT_DTYPE"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(model_of, explainer, inputs, code):
    with pytest.raises(UsageError) as refused:
        predicted(explainer, model_of, 7).explain(inputs)
    assert refused.value.code == code


def guarded():
    """tanh(x·w) with a variable w, which fails for x of 100 and more; and the variable."""
    weights = tf.Variable(np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32))

    def run(x):
        tf.debugging.assert_less(x, 100.0)
        return tf.tanh(x @ weights)

    return run, [weights]


@pytest.mark.parametrize("kind", ["module", "keras"])
@pytest.mark.parametrize("limit", [0, freezing.MAX_FROZEN_BYTES], ids=["unfrozen", "frozen"])
def test_the_model_is_never_changed(tmp_path, monkeypatch, kind, limit):
    """alibi leaves a patched model behind when a call fails: whoever used it then got nonsense."""
    run, variables = guarded()
    if kind == "module":
        path = save_function(tmp_path / "saved", run, variables, x=([None, 4], "float32"))
    else:
        path = saved_keras(tmp_path, inference_layers(), "keras")
    callee = loading.load(ModelConfig(path=path))
    call = tf.function(callee.call, input_signature=[list(callee.inputs)]).get_concrete_function()
    monkeypatch.setattr(loading, "load", lambda config: callee)
    monkeypatch.setattr(freezing, "MAX_FROZEN_BYTES", limit)
    engine = Explainer.load(ModelConfig(path=path), AttributionConfig(steps=STEPS, target=0, batch_size=8))
    assert engine.model.frozen == bool(limit) and call.graph.variables
    x = rows(5)[:, :4]

    def everything():
        weights = [variable.numpy() for variable in call.graph.variables]
        return [*weights, call([tf.constant(x)]).numpy(), values(engine.explain(x))]

    before = everything()
    failing = [Batch({"x": x}), Batch({"x": x * 1000}), Batch({"y": x})]
    with pytest.raises((KeyError, tf.errors.InvalidArgumentError)):
        list(engine.stream(failing))
    assert all(np.array_equal(was, now) for was, now in zip(before, everything(), strict=True))
    assert anatomy.digest(path) == engine.model.digest
