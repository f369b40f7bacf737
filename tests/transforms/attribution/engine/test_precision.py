"""`precision`: what a lower one gives is within the tolerance, or the row is explained again in float32."""

import numpy as np
import pytest
import tensorflow as tf
from precision_nets import BATCH, NETS, PROBE, ROWS, errors, explained, flat

from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.explainer import Explainer


@pytest.fixture
def spent(monkeypatch, fresh):
    """Gradients that count so far (not padding), by whether they were taken in bfloat16; implies `fresh`."""
    found, gradients = {True: 0, False: 0}, Compute.gradients

    def noted(compute, paths):
        casts = (op for op in compute.kernel.model.head.function.graph.get_operations() if op.type == "Cast")
        low = any(op.outputs[0].dtype == tf.bfloat16 for op in casts)
        found[low] += int((paths.weights != 0).sum())
        return gradients(compute, paths)

    monkeypatch.setattr(Compute, "gradients", noted)
    return found


SAVED = [(name, "keras") for name in NETS] + [("convolutions", "exported")]


@pytest.mark.parametrize("steps", ["auto", 24])
@pytest.mark.parametrize(("name", "kind"), SAVED)
def test_a_row_is_within_the_tolerance_or_float32(net, explainer, name, kind, steps):
    model, x = net(name, kind)
    assert (model.stem is not None) == (name in ("hoisted", "convolutions"))
    settings = {"steps": steps, "tolerance": 0.02}
    full = explained(explainer, model, x, **settings)
    found = explained(explainer, model, x, precision="bfloat16", **settings)
    truth = explained(explainer, model, x, steps=2048, rule="gauss_legendre")
    same = errors(found, full) <= 1e-6
    kept = ~same
    assert kept.sum() >= ROWS / 10, "nothing was explained in bfloat16: the test would prove nothing"
    assert (found.status[kept] == "ok").all()
    assert (found.error_estimate[kept] <= 0.02).all() and (found.error_estimate[kept] > 0).all()
    # an estimate of a few nodes: one row in twenty may be beyond it
    assert (errors(found, truth)[kept] <= 0.02).mean() >= 0.95
    assert errors(found, truth)[kept].max() > 1e-5, "bfloat16 rounds more than that"
    np.testing.assert_array_equal(found.status[same], full.status[same])
    np.testing.assert_array_equal(found.rows, np.arange(ROWS))
    np.testing.assert_allclose(found.output, full.output, rtol=1e-6)
    np.testing.assert_allclose(found.baseline_output, full.baseline_output, rtol=1e-6)
    np.testing.assert_allclose(
        found.delta, flat(found).sum(axis=1) - (found.output - found.baseline_output), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("steps", ["auto", 16])
def test_a_tight_tolerance_is_float32_throughout(net, fresh, spent, steps):
    model, x = net("dense")
    settings = {"steps": steps, "tolerance": 1e-4, "max_steps": 256}
    found = explained(fresh, model, x, precision="bfloat16", **settings)
    assert spent == {True: PROBE * ROWS, False: found.steps.sum() - PROBE * ROWS}
    full = explained(fresh, model, x, **settings)
    assert errors(found, full).max() <= 1e-6
    np.testing.assert_array_equal(found.steps, full.steps + 2 * PROBE)
    np.testing.assert_array_equal(found.status, full.status)
    if steps == "auto":
        np.testing.assert_allclose(found.error_estimate, full.error_estimate, rtol=1e-3)
    else:
        assert np.isnan(found.error_estimate).all() and full.error_estimate is None


def test_a_loose_tolerance_is_bfloat16(net, fresh, spent):
    model, x = net("dense")
    found = explained(fresh, model, x, precision="bfloat16", steps=16, tolerance=0.2)
    kept = found.steps == 16 + 2 * PROBE
    assert kept.mean() >= 0.9 and (found.steps[~kept] >= 16 + 2 * PROBE).all()
    assert spent[True] >= (16 + PROBE) * kept.sum()
    assert spent[False] == PROBE * ROWS + 16 * (~kept).sum()
    assert sum(spent.values()) == found.steps.sum()
    assert 0 < np.median(found.error_estimate[kept]) < 0.02


def test_rows_that_the_probe_settles_need_nothing_else(net, fresh, spent):
    model, x = net("dense")
    settings = {"tolerance": 0.05}
    found = explained(fresh, model, x, precision="bfloat16", **settings)
    assert sum(spent.values()) == found.steps.sum()
    full = explained(fresh, model, x, **settings)
    settled = full.steps == PROBE
    assert ROWS * 3 / 4 > settled.sum() > ROWS / 4
    assert (found.steps[settled] == PROBE).all() and (found.steps[~settled] > PROBE).all()
    np.testing.assert_allclose(flat(found)[settled], flat(full)[settled], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.status[settled], full.status[settled])


def test_rounding_adds_to_the_estimate(net, explainer, monkeypatch):
    model, x = net("attention")
    settings = {"steps": 24, "tolerance": 0.05, "precision": "bfloat16"}
    found = explained(explainer, model, x, **settings)
    low, full = (
        Explainer(m, AttributionConfig(target="predicted", max_steps=4, batch_size=BATCH))
        for m in (explainer(model, target="predicted", batch_size=BATCH, **settings)._computes.lower, model)
    )
    expected = errors(low.explain(x), full.explain(x))
    kept = ~np.isnan(found.error_estimate)
    assert kept.any()
    np.testing.assert_allclose(found.error_estimate[kept], expected[kept], rtol=1e-6)


def test_several_targets_stay_together(net, fresh):
    model, x = net("dense")
    settings = {"target": {"top_k": 2}, "tolerance": 0.02, "steps": 24}
    found, full = (explained(fresh, model, x, precision=name, **settings) for name in ("bfloat16", "float32"))
    np.testing.assert_array_equal(found.rows, np.repeat(np.arange(ROWS), 2))
    for name in ("rows", "target", "target_rank"):
        np.testing.assert_array_equal(getattr(found, name), getattr(full, name))
    same = (errors(found, full) <= 1e-6).reshape(ROWS, 2)
    assert (same[:, 0] == same[:, 1]).all() and 0 < same[:, 0].sum() < ROWS
    assert errors(found, full).max() <= 0.02


def test_a_stream_keeps_its_batches_and_does_not_read_ahead_of_its_window(net, fresh):
    model, x = net("dense")
    sizes, read = [3, 1, 7, 2, 5, 4, 18], []

    def batches():
        for number, part in enumerate(np.split(x, np.cumsum(sizes)[:-1])):
            read.append(number)
            yield Batch({"x": part})

    engine = fresh(model, target="predicted", precision="bfloat16", tolerance=0.01, batch_size=BATCH)
    found = []
    for explanation in engine.stream(batches()):
        found.append(explanation)
        assert len(read) <= len(found) + 3
    assert [len(part) for part in found] == sizes
    whole = explained(fresh, model, x, precision="bfloat16", tolerance=0.01)
    np.testing.assert_array_equal(np.concatenate([flat(part) for part in found]), flat(whole))
    np.testing.assert_array_equal(np.concatenate([part.steps for part in found]), whole.steps)
    assert engine.batch_size([(5,)]) == BATCH and engine.traces() > 0 and engine.take_out_of_memory() == 0


def test_baselines_of_each_row_go_with_their_rows(net, fresh):
    model, x = net("dense")
    starts = np.random.default_rng(9).normal(size=x.shape).astype("float32") / 3
    kept = {"target": "predicted", "tolerance": 0.01, "batch_size": BATCH}
    found = fresh(model, precision="bfloat16", **kept).explain(x, baselines=starts)
    full = fresh(model, **kept).explain(x, baselines=starts)
    assert 0 < (errors(found, full) <= 1e-6).sum() < ROWS
    assert errors(found, full).max() <= 0.02
    np.testing.assert_allclose(found.baseline_output, full.baseline_output, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nonfinite_row_flags_itself(net, fresh, bad):
    model, x = net("dense")
    clean = explained(fresh, model, x, precision="bfloat16", steps=24)
    x = x.copy()
    x[7, 2] = bad
    found = explained(fresh, model, x, precision="bfloat16", steps=24)
    assert found.status[7] == "nonfinite" and found.steps[7] == 24 + 2 * PROBE
    others = np.arange(ROWS) != 7
    np.testing.assert_array_equal(flat(found)[others], flat(clean)[others])
    assert (found.status[others] == clean.status[others]).all()


def test_a_row_that_does_not_fit_is_a_fault(net, fresh, monkeypatch):
    model, x = net("dense")
    gradients = Kernel.gradients

    def short(kernel, paths):
        if (paths.inputs[0] == x[4]).all(axis=1).any():
            raise MemoryError
        return gradients(kernel, paths)

    monkeypatch.setattr(Kernel, "gradients", short)
    engine = fresh(model, target="predicted", precision="bfloat16", steps=24)
    found = engine.explain(x)
    assert list(found.faults) == [4] and found.faults[4].code == "E_OUT_OF_MEMORY"
    np.testing.assert_array_equal(found.rows, np.delete(np.arange(ROWS), 4))
    assert engine.take_out_of_memory() > 0
