"""IDGI: exact sums, and the formula in numpy on a function whose gradient is known."""

import models
import numpy as np
import pytest
from pydantic import ValidationError

from transforms.attribution.engine.kernel import Kernel
from transforms.errors import UsageError

N, ROWS = 4, 5
X = ([None, N], "float32")
H = np.random.default_rng(1).normal(size=(N, N))
H = ((H + H.T) / 2).astype(np.float32)


def form(x):
    """xᵀHx + 1."""
    return models.tf.einsum("bi,ij,bj->b", x, models.tf.constant(H), x) + 1


def rows(count=ROWS, seed=0):
    return np.random.default_rng(seed).normal(size=(count, N)).astype(np.float32)


def by_hand(x, start, steps):
    """The formula in float64, [rows, N]."""
    total = np.zeros(x.shape)
    points = [start + (x - start) * np.float64(j) / steps for j in range(steps + 1)]
    values = [np.einsum("bi,ij,bj->b", p, H.astype(np.float64), p) for p in points]
    for j in range(steps):
        gradient = 2 * points[j] @ H.astype(np.float64)
        size = (gradient**2).sum(axis=1, keepdims=True)
        total += gradient**2 / np.where(size == 0, 1, size) * (values[j + 1] - values[j])[:, np.newaxis]
    return total


@pytest.mark.parametrize("steps", [1, 7, 63, 64, 130])
def test_the_formula_wherever_a_slot_ends(model_of, explainer, steps):
    x, start = rows(), rows(seed=3)
    found = explainer(model_of(form, x=X), method="idgi", steps=steps).explain(x, baselines=start)
    # of each step, the difference of two values of F: as many roundings of its largest
    limit = models.rounding(steps, steps * 4 * np.abs(H).sum() * np.abs(np.stack([x, start])).max() ** 2)
    np.testing.assert_allclose(found.attributions["x"], by_hand(x, start, steps), atol=limit)
    assert found.steps.tolist() == [steps] * ROWS
    assert (np.abs(found.delta) <= N * limit).all()


def test_where_the_gradient_is_zero_what_rises_is_missing(model_of, explainer):
    x = rows()
    found = explainer(model_of(form, x=X), method="idgi", steps=4).explain(x)
    # ∂F is 0 at the baseline: F's rise over the first quarter, xᵀHx/16, belongs to no feature
    lost = np.einsum("bi,ij,bj->b", x, H, x, dtype=np.float64) / 16
    np.testing.assert_allclose(found.delta, -lost, atol=models.rounding(4, 16 * np.abs(H).sum() * np.abs(x).max() ** 2))


def test_small_gradients_count(model_of, explainer):
    tiny = np.float32(1e-25)
    found = explainer(model_of(faint, x=X), method="idgi", steps=3).explain(rows())
    wanted = tiny * rows().sum(axis=1)
    np.testing.assert_allclose(found.attributions["x"].sum(axis=1), wanted, rtol=1e-5, atol=1e-29)


def faint(x):
    """1e-25 Σ x."""
    return models.tf.reduce_sum(x * 1e-25, axis=1)


def test_auto_doubles_until_it_has_converged(model_of, explainer):
    x = rows()
    exact = by_hand(x, np.ones_like(x), 20_000)
    found = explainer(model_of(form, x=X), method="idgi", tolerance=0.02, baseline={"constant": 1}).explain(x)
    error = np.abs(found.attributions["x"] - exact).sum(axis=1) / np.abs(exact).sum(axis=1)
    ok = found.status == "ok"
    # first order: a level's error is that of the next again and more; the estimate is their distance
    assert ok.any() and (error[ok] <= 2 * 0.02).all() and (found.error_estimate[ok] <= 0.02).all()
    # 4 + 8 + 16 …: each level is computed anew
    assert set(found.steps) <= {12, 28, 60, 124, 252, 508}


@pytest.mark.parametrize("room", [2, 3, 5])
def test_out_of_memory_shares_a_slot_between_calls(model_of, explainer, fresh, monkeypatch, room):
    x, model = rows(), model_of(form, x=X)
    wanted, gradients = explainer(model, method="idgi", steps=9).explain(x), Kernel.gradients

    def small(kernel, paths):
        if paths.points > room:
            raise models.tf.errors.ResourceExhaustedError(None, None, "too large")
        return gradients(kernel, paths)

    monkeypatch.setattr(Kernel, "gradients", small)
    found = fresh(model, method="idgi", steps=9).explain(x)
    np.testing.assert_allclose(found.attributions["x"], wanted.attributions["x"], rtol=1e-5, atol=1e-5)


def test_a_call_of_one_point_is_refused(model_of, fresh):
    with pytest.raises(UsageError, match=r"E_BATCH_SIZE.*needs 2"):
        fresh(model_of(form, x=X), method="idgi", batch_size=1)


def test_a_lower_precision_is_refused(explainer, model_of):
    with pytest.raises(ValidationError, match="lower precision"):
        explainer(model_of(form, x=X), method="idgi", precision="bfloat16")
