"""Guided integrated gradients: against a left Riemann sum, and against the algorithm row by row."""

import models
import numpy as np
import pytest

from transforms.attribution.engine.guided import advanced
from transforms.attribution.method_config import GuidedIntegratedGradients

N, ROWS = 6, 5
X = ([None, N], "float32")


def rows(count=ROWS, seed=0):
    return np.random.default_rng(seed).normal(size=(count, N)).astype(np.float32)


def guided(**fields):
    return {"name": "guided_integrated_gradients"} | fields


def test_on_the_straight_path_it_is_a_left_riemann_sum(model_of, explainer):
    x, model = rows(), model_of(models.mlp, x=X)
    found = explainer(model, method=guided(max_dist=0), steps=20, target=1).explain(x)
    wanted = explainer(model, rule="riemann_left", steps=20, target=1).explain(x)
    # points differ by a rounding of float32, and the gradient with them; 20 terms are added
    limit = models.rounding(20, np.abs(wanted.attributions["x"]).max() * 4)
    np.testing.assert_allclose(found.attributions["x"], wanted.attributions["x"], atol=limit)
    assert found.steps.tolist() == [20] * ROWS


def one_step(gone, gradient, way, alpha, fraction, reach):
    """One step of one row, feature by feature, in shares of each feature's way."""
    low, high = max(alpha - reach, 0.0), min(alpha + reach, 1.0)
    gone = [max(share, low) for share in gone]
    wanted = sum(way) * (1 - alpha)
    while True:
        left = sum(w * (1 - g) for w, g in zip(way, gone, strict=True))
        free = [i for i in range(len(way)) if gone[i] < high and way[i] > 0]
        if left - wanted <= 1e-12 * sum(way) or not free:
            return gone
        ranked = sorted([abs(gradient[i]) for i in free] + [np.inf] * (len(way) - len(free)))
        chosen = [i for i in free if abs(gradient[i]) <= ranked[int(fraction * (len(way) - 1))]]
        room = sum(way[i] * (high - gone[i]) for i in chosen)
        if room <= left - wanted:
            for i in chosen:
                gone[i] = high
        else:
            for i in chosen:
                gone[i] += (left - wanted) / room * (high - gone[i])


@pytest.mark.parametrize("fraction", [0.01, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("reach", [0.0, 0.02, 0.3, 1.0])
def test_a_step_moves_the_features_of_the_smallest_gradients(fraction, reach):
    numbers = np.random.default_rng(5)
    way, gone = np.abs(numbers.normal(size=(9, 7))), np.zeros((9, 7))
    way[2, :3], way[4] = 0, 0
    gone[way == 0] = 1
    options = GuidedIntegratedGradients(**guided(fraction=fraction, max_dist=reach))
    for step in range(10):
        gradient = numbers.normal(size=way.shape).round(1)  # with ties
        alpha = (step + 1) / 10
        found = advanced(gone, gradient, way, alpha, options)
        wanted = [one_step(*row, alpha, fraction, reach) for row in zip(gone, gradient, way, strict=True)]
        np.testing.assert_allclose(found, wanted, atol=1e-9)
        left = (way * (1 - found)).sum(axis=1)
        np.testing.assert_allclose(left, way.sum(axis=1) * (1 - alpha), atol=1e-9)
        gone = found
    assert np.abs(gone - 1).max() < 1e-9


def ends(a, b):
    """tanh(Σ a) · (1 + Σ b²): two inputs, a curved path matters."""
    return models.tf.tanh(models.tf.reduce_sum(a, 1)) * (1 + models.tf.reduce_sum(b * b, [1, 2]))


def test_several_inputs_and_targets_each_on_its_own_path(model_of, explainer):
    model = model_of(models.mlp, x=X)
    both = explainer(model, method=guided(), steps=10, target={"top_k": 2}).explain(rows())
    for target in range(3):
        single = explainer(model, method=guided(), steps=10, target=target).explain(rows())
        chosen = both.target == target
        np.testing.assert_allclose(
            both.attributions["x"][chosen], single.attributions["x"][both.rows[chosen]], atol=1e-6
        )
    a, b = rows(), np.random.default_rng(9).normal(size=(ROWS, 2, 2)).astype(np.float32)
    pair = explainer(model_of(ends, a=X, b=([None, 2, 2], "float32")), method=guided(), steps=400)
    found = pair.explain({"a": a, "b": b})
    # a sum of left ends: first order in the steps, of a function that varies by a few times its own size
    size = np.abs(found.attributions["a"]).sum(axis=1) + np.abs(found.attributions["b"]).sum(axis=(1, 2))
    assert (np.abs(found.delta) <= 0.02 * size).all()


def test_auto_goes_on_until_it_has_converged(model_of, explainer):
    model = model_of(models.mlp, x=X)
    found = explainer(model, method=guided(max_dist=0.1), target=0, tolerance=0.05, max_steps=1000).explain(rows())
    assert "ok" in found.status and set(found.steps) <= {12, 28, 60, 124, 252, 508}
    ok = found.status == "ok"
    assert (found.error_estimate[ok] <= 0.05).all() and (found.relative_delta[ok] <= 0.05).all()
    more = explainer(model, method=guided(max_dist=0.1), target=0, tolerance=0.01, max_steps=1000).explain(rows())
    assert more.steps.sum() > found.steps.sum()
