"""Blur integrated gradients: the path against a blur computed pixel by pixel, and the integral against a fine sum."""

import models
import numpy as np
import pytest
from pydantic import ValidationError

from transforms.attribution.baselines.blur import blurred
from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods import method_of

tf, SIGMA = models.tf, 4.0
METHOD = {"name": "blur_integrated_gradients", "max_sigma": SIGMA}
IMAGE = ([None, 9, 7, 2], "float32")


def rows(shape=(9, 7, 2), count=3):
    return np.random.default_rng(0).uniform(size=(count, *shape)).astype(np.float32)


def curved(x):
    """A smooth function of neighbouring pixels: edges count."""
    step = x[:, 1:] - x[:, :-1]
    return tf.reduce_sum(tf.tanh(3 * step), [1, 2, 3]) + tf.reduce_sum(x[:, 2, 3] ** 2, 1)


def sigma(alpha):
    """log(1 + σ) falls evenly."""
    return np.expm1((1 - alpha) * np.log1p(SIGMA))


@pytest.mark.parametrize("shape", [(9, 7, 2), (8, 5), (6,), (5, 4, 3, 2)])
def test_the_points_are_blurs_and_the_tangents_their_differences(shape):
    x, places = rows(shape), np.array([0.0, 0.3, 0.8, 1.0])
    path = method_of(AttributionConfig(method=METHOD)).integrand.path
    points, tangents = (
        value.numpy().reshape(3, 4, *shape)
        for value in path(tf.constant(x), None, tf.constant(places[None].repeat(3, 0)))
    )
    for index, alpha in enumerate(places[:3]):
        wanted = blurred(x.astype(np.float64), sigma(alpha))
        # two products with orthonormal matrices in float32, each of as many terms as the axis has pixels
        np.testing.assert_allclose(points[:, index], wanted, atol=4 * sum(shape[:2]) * models.EPS)
        step = 1e-4
        near = [blurred(x.astype(np.float64), sigma(alpha + side)) for side in (-step, step)]
        limit = 40 * sum(shape[:2]) * models.EPS + 1e3 * step**2
        np.testing.assert_allclose(tangents[:, index], (near[1] - near[0]) / (2 * step), atol=limit)
    np.testing.assert_allclose(points[:, 3], x, atol=4 * sum(shape[:2]) * models.EPS)


def test_the_sum_is_complete_and_every_value_is_the_integral(model_of, explainer):
    x = rows()
    found = explainer(model_of(curved, x=IMAGE), method=METHOD, steps=50).explain(x)
    assert (found.relative_delta <= 0.01).all() and set(found.status) == {"ok"}
    start = blurred(x, SIGMA)
    np.testing.assert_allclose(found.baseline_output, curved(start).numpy(), atol=1e-4)
    # secants of a fine path, at the gradient of their middle
    count, total = 2000, np.zeros(x.shape)
    program = tf.function(lambda point: tf.gradients(curved(point), point)[0], autograph=False)
    ends = [blurred(x.astype(np.float64), max(sigma(j / count), 1e-9)) for j in range(count + 1)]
    for j in range(count):
        middle = blurred(x, sigma((j + 0.5) / count))
        total += program(tf.constant(middle)).numpy() * (ends[j + 1] - ends[j])
    size = np.abs(total).sum(axis=(1, 2, 3))
    error = np.abs(found.attributions["x"] - total).sum(axis=(1, 2, 3)) / size
    # 50 Gauss-Legendre nodes of a smooth integrand: what is left is rounding, and the fine sum's own 1/2000²
    assert (error <= 1e-4).all()


def test_auto_and_noise_go_through_the_same_path(model_of, explainer):
    x, model = rows(), model_of(curved, x=IMAGE)
    auto = explainer(model, method=METHOD, tolerance=0.01).explain(x)
    fixed = explainer(model, method=METHOD, steps=200).explain(x)
    assert set(auto.status) == {"ok"}
    distance = np.abs(auto.attributions["x"] - fixed.attributions["x"]).sum(axis=(1, 2, 3))
    assert (distance <= 0.02 * np.abs(fixed.attributions["x"]).sum(axis=(1, 2, 3))).all()
    noise = {"kind": "smoothgrad", "draws": 3, "sigma": 0.1}
    noisy = explainer(model, method=METHOD, steps=50, noise=noise).explain(x)
    assert (noisy.relative_delta <= 0.01).all() and noisy.steps.tolist() == [150] * 3


def test_a_baseline_of_another_kind_is_refused():
    with pytest.raises(ValidationError, match="leave baseline out"):
        AttributionConfig(method=METHOD, baseline={"constant": 1.0})
