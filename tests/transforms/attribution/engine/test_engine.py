"""`steps: auto`: a row goes on until it has converged and not a level further, whatever goes on beside it."""

import itertools

import models
import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.batch import Batch
from transforms.attribution.engine import batching
from transforms.attribution.engine.device import CALLS_IN_FLIGHT, CALLS_READY
from transforms.attribution.methods.rules import quadrature

N, ROWS = 6, 13
X, DOUBLES = ([None, N], "float32"), ([None, N], "float64")


def rows(dtype="float32"):
    scale = np.geomspace(0.2, 20, ROWS)[:, np.newaxis]
    return (np.random.default_rng(0).normal(size=(ROWS, N)) * scale).astype(dtype)


def integrated(x, steps, target):
    """Integrated gradients of `models.mlp` from 0 by the nested rule, in numpy: float64 [rows, N]."""
    random = np.random.default_rng(7)
    first, second = random.normal(size=(N, 8)) / 3, random.normal(size=(8, 3))
    rule, total = quadrature("nested", steps), 0.0
    for node, weight in zip(rule.nodes, rule.weights, strict=True):
        bent = 1 - np.tanh(node * x @ first + 0.1) ** 2
        total = total + weight * (bent * second[:, target]) @ first.T
    return x * total


def reference(x, target, tolerance, max_steps, outputs):
    """(attributions, estimate, steps, status) of one row, level by level."""
    steps, before = 2, integrated(x, 2, target)
    while True:
        steps *= 2
        found = integrated(x, steps, target)
        estimate = np.abs(found - before).sum() / np.abs(found).sum()
        relative = abs(found.sum() - outputs) / abs(outputs)
        done = estimate <= tolerance and relative <= tolerance
        if done or steps * 2 > max_steps:
            return found, estimate, steps, "ok" if done else "unconverged"
        before = found


@pytest.mark.parametrize(("tolerance", "max_steps"), [(0.02, 512), (0.02, 16), (0.3, 512), (1e-3, 100), (1e-5, 512)])
def test_values_steps_and_estimate_are_those_of_the_levels_written_out(model_of, fresh, tolerance, max_steps):
    engine = fresh(model_of(models.mlp, x=DOUBLES), target=1, tolerance=tolerance, max_steps=max_steps)
    found, x = engine.explain(rows("float64")), rows("float64")
    expected = [
        reference(row, 1, tolerance, max_steps, float(end) - float(start))
        for row, end, start in zip(x, found.output, found.baseline_output, strict=True)
    ]
    values, estimates, steps, statuses = (np.array(part) for part in zip(*expected, strict=True))
    assert found.steps.tolist() == steps.tolist() and found.status.tolist() == statuses.tolist()
    assert len(set(steps)) > 1 or max_steps == 512
    # computed in float64, rounded to float32 at the end of each level
    np.testing.assert_allclose(found.attributions["x"], values, rtol=models.EPS / 2, atol=1e-12)
    np.testing.assert_allclose(found.error_estimate, estimates, rtol=1e-6, atol=2 * models.EPS)


def computed_points(calls):
    """Of all calls, every (row, node) with a weight, as often as calls computed it; a call's padding is copies."""
    found = []
    for paths in calls:
        inside = {
            (paths.inputs[0][slot].tobytes(), float(node))
            for slot in range(len(paths.nodes))
            for node, weight in zip(paths.nodes[slot], paths.weights[slot], strict=True)
            if weight
        }
        found += sorted(inside)
    return found


@pytest.mark.parametrize("batch_size", ["auto", 1, 3, 7, 64])
@pytest.mark.parametrize("sizes", [[1], [4], [ROWS]])
def test_a_row_that_has_converged_is_computed_no_more(model_of, fresh, computed, batch_size, sizes):
    engine = fresh(model_of(models.mlp, x=X), target=1, batch_size=batch_size)
    batches = [Batch({"x": part}) for part in np.split(rows(), range(sizes[0], ROWS, sizes[0]))]
    found = list(engine.stream(batches))
    points, steps = computed_points(computed), np.concatenate([part.steps for part in found])
    assert len(points) == len(set(points)), "a gradient was computed twice"
    assert len(points) == steps.sum() and len(set(steps)) > 2
    each = {row.tobytes(): sum(name == row.tobytes() for name, _ in points) for row in rows()}
    assert [each[row.tobytes()] for row in rows()] == steps.tolist()


def test_every_call_of_a_given_size_is_full_but_for_its_padding(model_of, fresh, computed):
    fresh(model_of(models.mlp, x=X), target=1, batch_size=64).explain(rows())
    assert {paths.points for paths in computed} == {64}


@pytest.mark.parametrize(("fields", "calls"), [({"steps": 8}, [7, 6]), ({"steps": 8, "batch_size": 64}, [8, 5])])
def test_what_fills_less_than_the_calls_in_flight_is_shared_by_them(model_of, fresh, computed, fields, calls):
    """13 rows, where a call takes 8: no core waits for the others at the end. A given size is kept."""
    fresh(model_of(models.mlp, x=X), target=1, **fields).explain(rows())
    assert sorted((len(np.unique(paths.inputs[0], axis=0)) for paths in computed), reverse=True) == calls


def test_the_rows_of_each_level_are_shared_by_the_calls_in_flight(model_of, fresh, computed):
    engine = fresh(model_of(models.mlp, x=X), target=1, tolerance=1e-12, max_steps=16)
    found = engine.explain(rows()[:8])
    assert set(found.steps) == {16}
    # levels of 2, 4, 8 and 16 nodes: 2 + 2 + 4 + 8 new ones of each row, in slots of 2
    each = [len(np.unique(paths.inputs[0], axis=0)) for paths in computed]
    assert each == [4] * 8


def test_levels_of_several_rows_share_a_call(model_of, fresh, computed):
    """Stragglers are not computed on their own while there is other work."""
    engine = fresh(model_of(models.mlp, x=X), target=1, batch_size=16)
    steps = np.concatenate([part.steps for part in engine.stream(Batch({"x": row[np.newaxis]}) for row in rows())])
    full = -(-int(steps.sum()) // 16)
    # calls are full while rows wait; at the end, each level of the last rows waits for the one before
    assert full <= len(computed) <= full + CALLS_IN_FLIGHT * 8


@pytest.mark.parametrize("max_steps", [4, 5, 16, 100, 512])
@pytest.mark.parametrize("hoist", [True, False])
def test_a_jump_that_no_gradient_tells_of_ends_unconverged(model_of, fresh, max_steps, hoist):
    x = np.float32([[1, 2], [0.2, 2], [3, -1]])
    engine = fresh(model_of(models.jump, hoist=hoist, x=([None, 2], "float32")), max_steps=max_steps)
    found = engine.explain(x)
    most = 2 ** int(np.log2(max_steps))
    assert found.steps.tolist() == [most, 4, most]
    assert found.status.tolist() == ["unconverged", "ok", "unconverged"]
    # the gradient is the same everywhere: the estimate alone would have let them go
    assert (found.error_estimate <= 2 * models.EPS).all() and found.relative_delta[0] > 0.5


def cancelling(x):
    """Two steep units whose errors are opposite, and a line: completeness alone would let the row go."""
    return 0.5 * tf.tanh(40 * x[:, 0] - 20) - 0.5 * tf.tanh(40 * x[:, 1] - 20) + x[:, 2]


def test_completeness_alone_is_not_enough(model_of, fresh):
    model, x = model_of(cancelling, x=([None, 3], "float32")), np.ones((1, 3), np.float32)
    stopped, whole = (fresh(model, max_steps=most).explain(x) for most in (16, 512))
    assert stopped.relative_delta[0] <= 1e-4 < stopped.error_estimate[0]
    assert (stopped.status[0], stopped.steps[0]) == ("unconverged", 16)
    assert (whole.status[0], whole.steps[0] > 16) == ("ok", True)
    # each unit rises by 1: from tanh(−20)/2 to tanh(20)/2
    np.testing.assert_allclose(whole.attributions["x"], [[1, -1, 1]], rtol=0.02)


def constant(x):
    return 3 + 0 * tf.reduce_sum(x, axis=1)


def test_flat_rows_leave_as_soon_as_a_level_can_be_compared(model_of, fresh):
    start = rows()
    found = fresh(model_of(models.mlp, x=X), target=1).explain(
        np.concatenate([start, start]), baselines=np.concatenate([start, 0 * start])
    )
    assert found.steps[:ROWS].tolist() == [4] * ROWS and set(found.status[:ROWS]) == {"flat"}
    assert not found.attributions["x"][:ROWS].any() and "flat" not in found.status[ROWS:]
    assert found.error_estimate[:ROWS].tolist() == [0] * ROWS
    found = fresh(model_of(constant, x=X)).explain(start)
    assert found.steps.tolist() == [4] * ROWS and set(found.status) == {"flat"}


def test_a_flat_row_whose_attributions_are_not_goes_on(model_of, fresh):
    x = np.float32([[1, 1, 0], [0, 0, 0]])
    found = fresh(model_of(cancelling, x=([None, 3], "float32"))).explain(x)
    assert found.status.tolist() == ["flat", "flat"] and found.steps[1] == 4 < found.steps[0]
    np.testing.assert_allclose(found.attributions["x"][0], [1, -1, 0], rtol=0.02)


def test_a_linear_model_needs_two_levels(model_of, fresh):
    model = model_of(models.linear, x=([None, 4], "float32"), w=([None, 4], "float32"), c=([None, 1], "float32"))
    random = np.random.default_rng(1)
    given = {"x": random.normal(size=(7, 4)), "w": random.normal(size=(7, 4)), "c": np.ones((7, 1))}
    given = {name: value.astype(np.float32) for name, value in given.items()}
    found = fresh(model).explain(given, baselines={"w": given["w"], "c": given["c"]})
    assert found.steps.tolist() == [4] * 7 and set(found.status) == {"ok"}
    # the gradient is w itself: what is lost is the rounding of 4 weights, products, sums and the result
    np.testing.assert_allclose(found.attributions["x"], given["w"] * given["x"], rtol=8 * models.EPS)


BAD = [[0, 0, -2], [0, 0, -1], [np.inf, 0, 0], [np.nan, 0, 0], [0, 0, np.nan]]


@pytest.mark.parametrize(("position", "bad"), itertools.product([0, 2, 4], BAD), ids=str)
def test_a_row_that_is_not_finite_leaves_at_once_and_alone(model_of, fresh, position, bad):
    engine = fresh(model_of(models.status_zoo, x=([None, 3], "float32")), batch_size=8)
    expected, found, others = models.with_a_bad_row(engine, position, bad)
    assert found.steps[position] == 4 and len(set(expected.steps)) > 1
    for name in ("output", "baseline_output", "delta", "relative_delta", "error_estimate", "steps", "status"):
        assert np.array_equal(getattr(found, name)[others], getattr(expected, name)[others]), name
    assert np.array_equal(found.attributions["x"][others], expected.attributions["x"][others])


def test_a_batch_leaves_before_the_stragglers_of_the_next(model_of, fresh):
    taken = []

    def batches():
        for row in np.resize(rows()[0], (90, N)):  # converged with 4 nodes
            taken.append(row)
            yield Batch({"x": row[np.newaxis]})

    stream = fresh(model_of(models.mlp, x=X), target=1, batch_size=8).stream(batches())
    next(stream)
    # 4 rows of 2 nodes fill a call; the first is waited for when another wants to start, and again for its next level
    assert len(taken) <= 4 * 2 * (CALLS_IN_FLIGHT + CALLS_READY + 1)


@pytest.mark.parametrize(("function", "programs"), [(models.mlp, 2), (models.narrowing, 3)])
def test_programs_are_traced_once_whatever_goes_through(model_of, explainer, monkeypatch, function, programs):
    engine = explainer(model_of(function, x=X), target=1, tolerance=0.0123)
    (fields,) = [{"x": rows()}]
    for _ in range(3):
        engine.explain(fields)
        engine.explain(rows()[:3], baselines=rows()[3:6])
        list(engine.stream(Batch({"x": row[np.newaxis]}) for row in rows()))
    (compute,) = engine._computes
    monkeypatch.setattr(batching, "WINDOW_S", 0.0)
    monkeypatch.setattr(batching, "PATIENCE", 99)  # it doubles to the end
    for _ in range(12):
        engine.explain(np.concatenate([rows()] * 30))
    assert max(compute.batching._rates) > 64
    for error in [MemoryError()] * 14:
        compute.batching.ran_out(compute.batching.points, error)
        engine.explain(rows()[:2])
    assert compute.batching.points == 1
    assert engine.traces() == programs
