"""Closed forms through the whole job, from file to file, for every rule at the order that it has."""

import pathlib
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import LINEAR, QUADRATIC, attributions, launch, read

STEPS = 16
RULES = ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre", "nested")
# Σ weight · α of a rule: what it makes of ∫α dα = 1/2; exact but for the rules of order one
MEAN_NODE = {
    "riemann_left": (STEPS - 1) / (2 * STEPS),
    "riemann_right": (STEPS + 1) / (2 * STEPS),
    "nested": 0.5 + 0.5 / STEPS**2,  # the trapezoid of ∫2t³dt: h²/12 times the rise of 6t²
}


def explained(job: Any, rule: str) -> Any:
    """The output of a job with a rule."""
    attribution = job.attribution.model_copy(update={"rule": rule, "steps": STEPS})
    return read(launch(job.model_copy(update={"attribution": attribution})).root)


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(wanted).max() > 0.1, "a comparison with zeros proves nothing"
    # float32: sums of 16 terms, each to 2^-24
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("rule", RULES)
def test_a_linear_form_is_exact(job_of: Any, rule: str) -> None:
    table = explained(job_of(datasets.linear), rule)
    assert_close(attributions(table), LINEAR * datasets.rows()["pixels"].astype(np.float64))


@pytest.mark.parametrize("rule", RULES)
def test_a_quadratic_form_has_a_gradient_that_is_linear_on_the_path(job_of: Any, rule: str) -> None:
    pixels = datasets.rows()["pixels"].astype(np.float64)
    table = explained(job_of(datasets.quadratic), rule)
    assert_close(attributions(table), 2 * MEAN_NODE.get(rule, 0.5) * pixels * (pixels @ QUADRATIC))


@pytest.mark.parametrize("rule", RULES)
def test_a_product_of_two_inputs(job_of: Any, tmp_path: pathlib.Path, rule: str) -> None:
    rows = datasets.rows() | {"weight": datasets.rows(seed=5)["age"]}
    table = explained(job_of(datasets.product, datasets.write(tmp_path, "none", rows)), rule)
    share = MEAN_NODE.get(rule, 0.5) * rows["age"].astype(np.float64) * rows["weight"]
    assert_close(attributions(table, "a"), share)
    assert_close(attributions(table, "b"), share)


@pytest.mark.parametrize("rule", RULES)
def test_a_sigmoid_of_a_linear_form_is_met_within_the_rules_error_bound(job_of: Any, rule: str) -> None:
    parts = LINEAR * datasets.rows()["pixels"].astype(np.float64)
    total = parts.sum(axis=1, keepdims=True)
    exact = parts * (1 / (1 + np.exp(-total)) - 0.5) / total
    # integrand σ'(αs), |σ''| ≤ 1/(6√3), |σ'''| ≤ 1/8, the rules' textbook bounds; Gauss at the rounding of float32
    slope, bend = np.abs(total) / (6 * np.sqrt(3)), total**2 / 8
    # nested: the trapezoid of g(t) = 2t f(t²), |g''| = |12t f' + 8t³ f''|
    bound = {
        "riemann_left": slope / (2 * STEPS),
        "riemann_right": slope / (2 * STEPS),
        "riemann_middle": bend / (24 * STEPS**2),
        "riemann_trapezoid": bend / (12 * (STEPS - 1) ** 2),
        "gauss_legendre": np.zeros_like(total),
        "nested": (12 * slope + 8 * bend) / (12 * STEPS**2),
    }[rule]
    found = attributions(explained(job_of(datasets.sigmoid), rule))
    assert np.abs(exact).max() > 0.1
    assert (np.abs(found - exact) <= np.abs(parts) * bound + 1e-6 * np.abs(exact).max()).all()
