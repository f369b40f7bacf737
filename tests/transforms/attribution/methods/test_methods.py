"""The methods, each against its closed form; and one that is added here."""

from typing import get_args

import models
import numpy as np
import pytest

from transforms.attribution import method_config, methods
from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import Level, Quadrature

N, ROWS = 4, 7
MATRIX = ([None, N, N], "float32")
X = ([None, N], "float32")


def rows(seed=0, count=ROWS):
    return np.random.default_rng(seed).normal(size=(count, N)).astype(np.float32)


def symmetric(count=ROWS):
    h = np.random.default_rng(1).normal(size=(N, N)).astype(np.float32)
    return np.repeat((h + h.T)[np.newaxis], count, axis=0)


def quadratic(model_of, explainer, count=ROWS, **fields):
    """xᵀHx explained by x; H is an input too, at its own value."""
    x, h = rows(count=count), symmetric(count)
    fields["baseline"] = {"h": {"column": "h"}} | fields.pop("baseline", {})
    engine = explainer(model_of(models.quadratic, x=X, h=MATRIX), **fields)
    return engine.explain({"x": x, "h": h}, baselines={"h": h}), x, h


def test_saliency_is_the_gradient(model_of, explainer):
    found, x, h = quadratic(model_of, explainer, method="saliency")
    wanted = 2 * np.einsum("bij,bj->bi", h, x)
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=models.rounding(1, 2 * np.abs(h).sum() * 3))
    assert found.steps.tolist() == [1] * ROWS


def test_input_x_gradient(model_of, explainer):
    found, x, h = quadratic(model_of, explainer, method="input_x_gradient")
    wanted = 2 * x * np.einsum("bij,bj->bi", h, x)
    np.testing.assert_allclose(found.attributions["x"], wanted, atol=models.rounding(1, 2 * np.abs(h).sum() * 9))


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "smooth_taylor"])
def test_without_completeness_delta_decides_nothing(model_of, explainer, method):
    baseline = {"x": {"gaussian": 0.5, "draws": 2}, "h": {"gaussian": 0.5, "draws": 2}}
    fields = {"baseline": baseline if method == "smooth_taylor" else {}, "method": method}
    found, *_ = quadratic(model_of, explainer, **fields)
    assert not methods.is_complete(AttributionConfig(**fields))
    assert set(found.status) == {"ok"} and (found.relative_delta > 0.02).any()
    total = sum(value.reshape(ROWS, -1).sum(axis=1, dtype=np.float64) for value in found.attributions.values())
    np.testing.assert_allclose(
        found.delta, total - (found.output - found.baseline_output.astype(np.float64)), atol=1e-12
    )


def test_smooth_taylor_of_a_linear_function_is_zero(model_of, explainer):
    x, sigma = rows(), 0.5
    engine = explainer(model_of(affine, x=X), method="smooth_taylor", baseline={"gaussian": sigma, "draws": 20})
    found = engine.explain(x)
    # noise comes in pairs of opposite sign; what is left is the rounding of x ± σe to float32, for |e| under 6
    limit = models.rounding(1, (np.abs(x).max() + 6 * sigma) * np.abs(WEIGHTS).max())
    assert (np.abs(found.attributions["x"]) <= limit).all()
    assert found.steps.tolist() == [20] * ROWS


def test_smooth_taylor_of_a_quadratic_is_its_curvature(model_of, explainer):
    sigma, draws = 0.5, 4000
    baseline = {"x": {"gaussian": sigma, "draws": draws}, "h": {"gaussian": 1e-30, "draws": draws}}
    found, _, h = quadratic(model_of, explainer, count=2, method="smooth_taylor", baseline=baseline)
    # F = ½ xᵀ(2H)x: −σ² diag 2H. Of one pair, the value is −2σ² eᵢ Σ Hᵢⱼ eⱼ, of variance 4σ⁴ (2 Hᵢᵢ² + Σ_{j≠i} Hᵢⱼ²)
    diagonal = np.diagonal(h, axis1=1, axis2=2)
    error = 2 * sigma**2 * np.sqrt((h**2).sum(axis=2) + diagonal**2) / np.sqrt(draws / 2)
    assert (np.abs(found.attributions["x"] + 2 * sigma**2 * diagonal) <= 5 * error).all()
    assert (np.abs(diagonal).max(axis=1) * 2 * sigma**2 > 10 * error.max()).all(), "0 would pass too"


WEIGHTS = np.array([1.0, -2.0, 3.0, 0.5], np.float32)


def affine(x):
    """w · x + 1, of fixed weights."""
    return models.tf.linalg.matvec(x, models.tf.constant(WEIGHTS)) + 1


def test_a_method_is_added_by_one_value(model_of, monkeypatch):
    half = Method((Level(Quadrature(np.array([0.5]), np.array([1.0])), 0.0, 1),), complete=False)
    monkeypatch.setitem(methods.METHODS, "saliency", lambda config: half)
    model = model_of(models.mlp, x=([None, 6], "float32"))
    found = Explainer(model, AttributionConfig(method="saliency", target=0))
    whole = Explainer(model, AttributionConfig(rule="riemann_middle", steps=1, target=0))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    assert np.array_equal(found.explain(x).attributions["x"], whole.explain(x).attributions["x"])


def test_every_method_of_the_configuration_is_there():
    union, *_ = get_args(method_config.MethodConfig)
    names = [name for kind in get_args(union) for name in get_args(kind.model_fields["name"].annotation)]
    assert sorted(names) == sorted(methods.METHODS)
