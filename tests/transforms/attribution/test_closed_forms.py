"""Integrated gradients against their closed forms, through `Explainer.explain`, for every rule at the order it has."""

import models
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from models import EPS, rounding

N, ROWS = 4, 5
RULES = ["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre", "nested"]


def first_moment(rule, steps):
    """What Σ weight · α has more than ∫ α dα = 1/2; nested: the trapezoid of ∫ 2t³ dt, h²/12 times the rise of 6t²."""
    return {"riemann_left": -0.5 / steps, "riemann_right": 0.5 / steps, "nested": 0.5 / steps**2}.get(rule, 0)


seeds = given(seed=st.integers(0, 2**32 - 1))
few = settings(max_examples=6, deadline=None)


def vector(dtype="float32"):
    return ([None, N], dtype)


def draw(seed, *shapes, dtype=np.float32):
    random = np.random.default_rng(seed)
    return [random.normal(size=(ROWS, *shape)).astype(dtype) for shape in shapes]


def doubles(*arrays):
    return [array.astype(np.float64) for array in arrays]


@few
@seeds
@pytest.mark.parametrize("rule", RULES)
def test_linear_is_exact_with_every_rule(model_of, explainer, rule, seed):
    model = model_of(models.linear, x=vector(), w=vector(), c=([None, 1], "float32"))
    x, b, w, c = draw(seed, (N,), (N,), (N,), (1,))
    found = explainer(model, rule=rule, steps=6).explain({"x": x, "w": w, "c": c}, baselines={"x": b, "w": w, "c": c})
    x, b, w = doubles(x, b, w)
    # the gradient is w itself: what is lost is the rounding of 6 weights, 6 products, 6 sums and the result, 19 · 2⁻²⁴
    np.testing.assert_allclose(found.attributions["x"], w * (x - b), rtol=19 * EPS / 2, atol=1e-37)
    # parameters stand at their baselines
    assert not found.attributions["w"].any() and not found.attributions["c"].any()
    np.testing.assert_allclose(
        found.output, (w * x).sum(axis=1) + c[:, 0], atol=rounding(0, np.abs(w * x).sum() + np.abs(c).max())
    )


def quadratic_form(x, b, h):
    """(A, scale of the rounding): A = D ⊙ (H + Hᵀ)(x + b)/2, for the gradient (H + Hᵀ)z is linear along the path."""
    x, b, h = doubles(x, b, h)
    s, d = h + h.swapaxes(1, 2), x - b
    exact = d * np.einsum("rij,rj->ri", s, (x + b) / 2)
    scale = np.abs(d) * np.einsum("rij,rj->ri", np.abs(s), np.abs(x) + np.abs(b))
    return exact, scale, d * np.einsum("rij,rj->ri", s, d)


@few
@seeds
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [5])
def test_quadratic(model_of, explainer, rule, steps, seed):
    model = model_of(models.quadratic, x=vector(), h=([None, N, N], "float32"))
    x, b, h = draw(seed, (N,), (N,), (N, N))
    found = explainer(model, rule=rule, steps=steps).explain({"x": x, "h": h}, baselines={"x": b, "h": h})
    exact, scale, curvature = quadratic_form(x, b, h)
    # a rule's error in the mean of α multiplies D ⊙ (H + Hᵀ)D
    expected = exact + first_moment(rule, steps) * curvature
    error = np.abs(found.attributions["x"] - expected)
    assert (error <= rounding(steps, scale)).all()
    assert not found.attributions["h"].any()


@few
@seeds
@pytest.mark.parametrize("rule", RULES)
def test_product_of_two_inputs(model_of, explainer, rule, seed):
    model = model_of(models.product, a=vector(), b=vector())
    a, a0, b, b0 = draw(seed, (N,), (N,), (N,), (N,))
    steps = 4
    found = explainer(model, rule=rule, steps=steps).explain({"a": a, "b": b}, baselines={"a": a0, "b": b0})
    a, a0, b, b0 = doubles(a, a0, b, b0)
    first = first_moment(rule, steps)
    for name, way, other, start in (("a", a - a0, b, b0), ("b", b - b0, a, a0)):
        # ∂F/∂a = b0 + α(b − b0), so A = (a − a0)(b0 + (b − b0)/2), and the rule's own first moment instead of 1/2
        expected = way * (start + (0.5 + first) * (other - start))
        limit = rounding(steps, np.abs(way) * (np.abs(other) + np.abs(start)))
        assert (np.abs(found.attributions[name] - expected) <= limit).all()


def logistic(value):
    return 1 / (1 + np.exp(-value))


def sigmoid_form(x, b, w):
    """(A, s): A = w ⊙ D (σ(s₁) − σ(s₀))/(s₁ − s₀) with s = w · z at both ends."""
    start, end = (w * b).sum(axis=1), (w * x).sum(axis=1)
    mean = (logistic(end) - logistic(start)) / (end - start)
    return w * (x - b) * mean[:, None], (end - start)[:, None]


def sigmoid_rows(seed):
    """float64 rows whose w · z goes at most ±4 along the path: the poles of σ then stay well off it."""
    x, b, w = draw(seed, (N,), (N,), (N,), dtype=np.float64)
    return x, b, w * np.minimum(1, 4 / np.abs((w * (x - b)).sum(axis=1)))[:, None]


# |error of the integral of f over [0, 1]|, with f(α) = σ'(s₀ + αs), |f'| ≤ |s| / (6√3) and |f''| ≤ s²/8
BOUND = {
    "riemann_left": lambda s, n: np.abs(s) / (6 * np.sqrt(3)) / (2 * n),
    "riemann_right": lambda s, n: np.abs(s) / (6 * np.sqrt(3)) / (2 * n),
    "riemann_middle": lambda s, n: s**2 / 8 / (24 * n**2),
    "riemann_trapezoid": lambda s, n: s**2 / 8 / (12 * (n - 1) ** 2),
    # of g(t) = 2t f(t²): |g''| = |12t f' + 8t³ f''|
    "nested": lambda s, n: (12 * np.abs(s) / (6 * np.sqrt(3)) + s**2) / (12 * n**2),
    # poles at ±iπ/s off the path: the ellipse through them has ρ ≥ 3.4 for |s| ≤ 4, and 16 nodes leave ρ⁻³² ≈ 1e-17
    "gauss_legendre": lambda s, n: 1e-12,
}


@few
@seeds
@pytest.mark.parametrize("rule", RULES)
def test_sigmoid_of_a_linear_form_within_the_rules_bound(model_of, explainer, rule, seed):
    model = model_of(models.sigmoid, x=vector("float64"), w=vector("float64"))
    x, b, w = sigmoid_rows(seed)
    found = explainer(model, rule=rule, steps=16).explain({"x": x, "w": w}, baselines={"x": b, "w": w})
    exact, s = sigmoid_form(x, b, w)
    # computed in float64, returned in float32: half a spacing
    limit = np.abs(w * (x - b)) * BOUND[rule](s, 16) + EPS / 2 * np.abs(exact) + 1e-12
    assert (np.abs(found.attributions["x"] - exact) <= limit).all()


@pytest.mark.parametrize(("rule", "order"), [(RULES[0], 1), (RULES[1], 1), (RULES[2], 2), (RULES[3], 2), ("nested", 2)])
def test_order_of_the_error_of_the_attributions(model_of, explainer, rule, order):
    model = model_of(models.sigmoid, x=vector("float64"), w=vector("float64"))
    x, b, w = np.full((1, N), 0.9), np.full((1, N), -0.2), np.full((1, N), 0.7)
    exact, _ = sigmoid_form(x, b, w)
    steps = np.array([8, 16, 32, 64])
    errors = []
    for n in steps:
        found = explainer(model, rule=rule, steps=int(n)).explain({"x": x, "w": w}, baselines={"x": b, "w": w})
        errors.append(np.abs(found.attributions["x"] - exact).sum())
    assert errors[-1] > 20 * EPS * np.abs(exact).sum()  # still far above the float32 of the result
    # intervals, not nodes, carry the order of the trapezoid; the next term of the series is at most 1/n of the first
    intervals = steps - 1 if rule == "riemann_trapezoid" else steps
    slope = np.polyfit(np.log(intervals), np.log(errors), 1)[0]
    assert slope == pytest.approx(-order, abs=1 / 8)


@pytest.mark.parametrize("rule", ["riemann_left", "riemann_right"])
def test_order_of_left_and_right_on_a_quadratic(model_of, explainer, rule):
    model = model_of(models.quadratic, x=vector("float64"), h=([None, N, N], "float64"))
    x, b, h = draw(3, (N,), (N,), (N, N), dtype=np.float64)
    exact, _, _ = quadratic_form(x, b, h)
    steps = np.array([4, 16, 64])
    errors = []
    for n in steps:
        found = explainer(model, rule=rule, steps=int(n)).explain({"x": x, "h": h}, baselines={"x": b, "h": h})
        errors.append(np.abs(found.attributions["x"] - exact).sum())
    # the error is exactly C/n: only the float32 of the result, 64 · 2⁻²⁴ of it, bends the line
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-1, abs=1e-4)


def test_gauss_legendre_is_spectral_on_the_attributions(model_of, explainer):
    model = model_of(models.sigmoid, x=vector("float64"), w=vector("float64"))
    x, b, w = np.full((1, N), 0.9), np.full((1, N), -0.2), np.full((1, N), 0.7)
    exact, s = sigmoid_form(x, b, w)
    # the poles of σ(s₀ + αs) lie π/s off [0, 1], that is y = 2π/s off [−1, 1]
    y = 2 * np.pi / s.item()
    rho = y + np.sqrt(1 + y**2)
    for n in (2, 4, 8):
        found = explainer(model, rule="gauss_legendre", steps=n).explain({"x": x, "w": w}, baselines={"x": b, "w": w})
        relative = np.abs(found.attributions["x"] / exact - 1).max()
        # Trefethen, SIAM Review 2008, theorem 4.5: 64/15 M ρ⁻²ⁿ/(1 − ρ⁻²), of a mean whose size is near M/4
        assert relative <= 64 * rho ** (-2 * n) + EPS


def relu_toy(x):
    return tf.nn.relu(tf.nn.relu(x[:, 0]) - 1 - tf.nn.relu(x[:, 1]))


@pytest.mark.parametrize("rule", ["riemann_middle", "gauss_legendre"])
def test_the_papers_toy(model_of, explainer, rule):
    """relu(relu(x₁) − 1 − relu(x₂)) at (3, 1): half of the path has the gradient (1, −1)."""
    model = model_of(relu_toy, x=([None, 2], "float32"))
    for steps in (2, 4, 6):
        found = explainer(model, rule=rule, steps=steps).explain(np.float32([[3, 1]]))
        # 19 roundings or fewer, as for the linear form
        np.testing.assert_allclose(found.attributions["x"], [[1.5, -0.5]], rtol=19 * EPS)
        assert found.output[0] == 1 and found.baseline_output[0] == 0
    # with an odd number a node stands on the kink, where the gradient is 0: its weight is missing
    odd = explainer(model, rule=rule, steps=3).explain(np.float32([[3, 1]]))
    missing = {"riemann_middle": 1 / 3, "gauss_legendre": 4 / 9}[rule]
    np.testing.assert_allclose(odd.attributions["x"], np.float32([[3, -1]]) * (1 - missing) / 2, rtol=19 * EPS)


def captum_toy(x):
    first = tf.reshape(tf.range(-4.0, 5.0), [3, 3])
    second = tf.reshape(tf.range(-3.0, 3.0), [2, 3])
    return tf.nn.relu(x @ tf.transpose(first)) @ tf.transpose(second) + 2


@pytest.mark.parametrize("rule", RULES[1:3] + RULES[4:])
def test_captums_toy(model_of, explainer, rule):
    """Without biases in front of the ReLU the gradient is the same all along the ray: any rule without α = 0 fits."""
    model = model_of(captum_toy, x=([None, 3], "float32"))
    x = np.float32([[0.2961, 0.5166, 0.2517], [0.6886, 0.0740, 0.8665]])
    found = explainer(model, rule=rule, steps=10, target=0).explain(x)
    expected = [[-0.5922, -1.5497, -1.0067], [0, -0.2219, -5.1991]]
    # four digits are given: half of the last one, and what the rounded x carry, 5e-5 · |A/x| ≤ 6 · 5e-5
    np.testing.assert_allclose(found.attributions["x"], expected, atol=3.5e-4)
