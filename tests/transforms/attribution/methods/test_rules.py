"""Quadrature rules: weights, nodes, exactness and order; and what the configuration says about them."""

import numpy as np
import pytest
from pydantic import ValidationError

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.rules import levels, quadrature

SYMMETRIC = ["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre"]
RULES = [*SYMMETRIC, "nested"]
# all small ones, some large: Gauss-Legendre solves an eigenvalue problem of that size for each
STEPS = [*range(1, 41), 64, 99, 100, 127, 200, 255, 300, 2048]
# degree of the polynomials that n nodes integrate exactly
DEGREE = {
    "riemann_left": lambda n: 0,
    "riemann_right": lambda n: 0,
    "riemann_middle": lambda n: 1,
    "riemann_trapezoid": lambda n: 1,
    "gauss_legendre": lambda n: 2 * n - 1,
    "nested": lambda n: 0,
}


def possible(rule):
    return [steps for steps in STEPS if steps > 1 or rule != "riemann_trapezoid"]


def integral(rule, steps, function):
    found = quadrature(rule, steps)
    return float(found.weights @ function(found.nodes))


@pytest.mark.parametrize("rule", RULES)
def test_nodes_and_weights_are_those_of_a_mean(rule):
    for steps in possible(rule):
        found = quadrature(rule, steps)
        assert found.nodes.shape == found.weights.shape == (steps,)
        assert found.nodes.dtype == found.weights.dtype == np.float64
        assert abs(found.weights.sum() - 1) <= 1e-12, steps
        assert (found.weights > 0).all(), steps
        assert found.nodes[0] >= 0 and found.nodes[-1] <= 1, steps
        assert (np.diff(found.nodes) > 0).all(), steps


@pytest.mark.parametrize("rule", SYMMETRIC)
def test_nodes_lie_symmetric_where_the_rule_is(rule):
    mirrored = {"riemann_left": "riemann_right", "riemann_right": "riemann_left"}.get(rule, rule)
    for steps in (2, 5, 50):
        found, other = quadrature(rule, steps), quadrature(mirrored, steps)
        # nodes are at most 1 and come from a division or an eigenvalue: a few roundings of float64
        np.testing.assert_allclose(found.nodes, 1 - other.nodes[::-1], rtol=0, atol=1e-14)
        np.testing.assert_allclose(found.weights, other.weights[::-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 5, 8])
def test_exact_up_to_its_degree_and_no_further(rule, steps):
    degree = DEGREE[rule](steps)

    def error(power):
        return abs(integral(rule, steps, lambda node: node**power) - 1 / (power + 1))

    # sums of at most 8 numbers below 1 in float64
    assert max(error(power) for power in range(degree + 1)) <= 1e-14
    # Gauss-Legendre with 8 nodes misses α¹⁶ by (8!)⁴ / (17 · (16!)²) = 3.6e-10: its error term with the 16th
    # derivative 16!; everything else misses by more
    assert error(degree + 1) > 1e-10


@pytest.mark.parametrize(
    ("rule", "order"),
    [("riemann_left", 1), ("riemann_right", 1), ("riemann_middle", 2), ("riemann_trapezoid", 2), ("nested", 2)],
)
def test_error_order_is_the_slope(rule, order):
    steps = np.array([64, 128, 256, 512, 1024])
    errors = [abs(integral(rule, int(n), np.exp) - np.expm1(1)) for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # the next term of the Euler-Maclaurin series is about 1/(6 n) of the first (n − 1 for the trapezoid: 1/n)
    assert slope == pytest.approx(-order, abs=order * 2 / 64)


def test_gauss_legendre_converges_spectrally():
    errors = [abs(integral("gauss_legendre", n, np.exp) - np.expm1(1)) for n in (1, 2, 3, 4, 5)]
    # error term (n!)⁴ / ((2n + 1) ((2n)!)³) · f⁽²ⁿ⁾ with f⁽²ⁿ⁾ between 1 and e
    bounds = [1 / 24, 1 / 4320, 6**4 / (7 * 720**3), 24**4 / (9 * 40320**3), 120**4 / (11 * 3628800**3)]
    for error, bound in zip(errors, bounds, strict=True):
        assert bound - 1e-15 <= error <= np.e * bound + 1e-15


@pytest.mark.parametrize("steps", [2, 3, 50])
def test_trapezoid_is_not_the_one_of_alibi_and_captum(steps):
    # theirs: https://github.com/pytorch/captum/blob/master/captum/attr/_utils/approximation_methods.py
    # [1/(2n), 1/n, …, 1/n, 1/(2n)], which sums to (n − 1)/n: an attribution too small by 1/n
    theirs = np.full(steps, 1 / steps)
    theirs[[0, -1]] /= 2
    ours = quadrature("riemann_trapezoid", steps).weights
    np.testing.assert_allclose(theirs / ours, (steps - 1) / steps, rtol=1e-14)  # two divisions in float64
    assert quadrature("riemann_trapezoid", steps).nodes[[0, -1]].tolist() == [0, 1]


def test_trapezoid_with_one_node_is_refused():
    with pytest.raises(ValidationError, match="steps of at least 2"):
        AttributionConfig(rule="riemann_trapezoid", steps=1)
    assert AttributionConfig(rule="riemann_trapezoid", steps=2).steps == 2


@pytest.mark.parametrize("steps", [0, -1, 4097])
def test_steps_out_of_bounds_are_refused(steps):
    with pytest.raises(ValidationError, match="steps"):
        AttributionConfig(steps=steps)


AUTO = [4, 5, 7, 8, 100, 512, 513, 4096]


@pytest.mark.parametrize("max_steps", AUTO)
def test_levels_double_up_to_max_steps(max_steps):
    found = levels(AttributionConfig(max_steps=max_steps))
    assert [level.steps for level in found] == [2**power for power in range(1, 13) if 2**power <= max_steps]
    # new nodes only: the steps of a row are its gradients
    assert np.cumsum([len(level.rule.nodes) for level in found]).tolist() == [level.steps for level in found]


@pytest.mark.parametrize("max_steps", AUTO)
def test_the_levels_together_are_the_nested_rule(max_steps):
    nodes, weights = np.empty(0), np.empty(0)
    for level in levels(AttributionConfig(max_steps=max_steps)):
        nodes, weights = np.append(nodes, level.rule.nodes), np.append(weights * level.carry, level.rule.weights)
        whole, order = quadrature("nested", level.steps), np.argsort(nodes)
        # exactly: all are quotients by powers of two
        assert np.array_equal(nodes[order], whole.nodes)
        assert np.array_equal(weights[order], whole.weights)


def test_a_fixed_rule_is_its_only_level():
    (level,) = levels(AttributionConfig(steps=7))
    assert (level.steps, level.carry) == (7, 0)
    assert np.array_equal(level.rule.nodes, quadrature("gauss_legendre", 7).nodes)


@pytest.mark.parametrize("steps", STEPS)
def test_the_nested_rule_is_closed_at_the_input_and_open_at_the_baseline(steps):
    found = quadrature("nested", steps)
    assert found.nodes[-1] == 1 and found.nodes[0] == (1 / steps) ** 2
    # α = t²: equal distances in t; the trapezoidal rule for ∫ f(t²) 2t dt, written out
    t = np.arange(1, steps + 1) / steps
    np.testing.assert_allclose(found.nodes, t**2, rtol=4 * 2.0**-53)
    ends = np.where(t == 1, 0.5, 1.0)
    np.testing.assert_allclose(found.weights, ends * 2 * t / steps, rtol=4 * 2.0**-53)


def test_the_nested_rule_is_exact_on_constants_and_misses_a_line_by_its_bound():
    for steps in (2, 4, 64, 512):
        assert abs(integral("nested", steps, np.ones_like) - 1) <= 1e-14
        # ∫ 2t³ dt by the trapezoid: Euler-Maclaurin ends after h²/12 · [6t²] = 1/(2n²), as the next derivative is even
        assert integral("nested", steps, lambda node: node) - 0.5 == pytest.approx(0.5 / steps**2, abs=1e-14)


def test_the_rule_follows_from_the_steps():
    assert (AttributionConfig().steps, AttributionConfig().rule) == ("auto", "nested")
    assert AttributionConfig(steps="auto").rule == "nested"
    assert AttributionConfig(steps="auto", rule=None) == AttributionConfig()
    assert AttributionConfig(steps=9).rule == "gauss_legendre"
    assert AttributionConfig(steps=9, rule="nested").rule == "nested"


@pytest.mark.parametrize("rule", SYMMETRIC)
def test_steps_auto_with_another_rule_is_refused_with_the_remedy(rule):
    with pytest.raises(ValidationError, match=rf"steps: auto needs rule: nested; for {rule} give .* steps: 50"):
        AttributionConfig(rule=rule)


@pytest.mark.parametrize("fields", [{}, {"steps": 9}, {"steps": 9, "rule": "nested"}, {"target": {"top_k": 2}}])
def test_a_configuration_survives_the_journey(fields):
    config = AttributionConfig(**fields)
    assert AttributionConfig.model_validate_json(config.model_dump_json()) == config
    assert AttributionConfig(**config.model_dump()) == config


@pytest.mark.parametrize("max_steps", [0, 3, 4097])
def test_max_steps_out_of_bounds_are_refused(max_steps):
    with pytest.raises(ValidationError, match="max_steps"):
        AttributionConfig(max_steps=max_steps)
