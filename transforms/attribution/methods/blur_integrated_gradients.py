"""Blur integrated gradients: ∫ ∂F(γ(α)) ⊙ γ′(α) dα, where γ(α) is the row under a Gaussian blur that fades out with α.

Along the first two axes of the input. log(1 + σ) falls evenly from that of `max_sigma` to 0: as many points for what
blurs of 1 to 2 pixels hide as for those of 10 to 20. Published code takes the difference of neighbouring blurs for γ′,
at the gradient of one of them, and misses F(x) − F(blurred x) by far more. Here γ′ is the derivative. Source: Xu,
Venugopalan, Sundararajan, "Attribution in Scale and Space", CVPR 2020.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from transforms.attribution.baselines.blur import cosines, reach, waves
from transforms.attribution.config import AttributionConfig
from transforms.attribution.method_config import BlurIntegratedGradients
from transforms.attribution.methods.integrand import Integrand, weighted_sum
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import levels

# Below this the blur of a pixel reaches no other in any precision.
LEAST_SIGMA = 0.05


def method(config: AttributionConfig) -> Method:
    """The method as configured."""
    assert isinstance(config.method, BlurIntegratedGradients)
    most = config.method.max_sigma

    def path(value: Any, baseline: Any, nodes: Any) -> tuple[Any, Any]:
        return _fading(value, tf.cast(nodes, value.dtype), most)

    return Method(levels(config), complete=True, factor=None, integrand=Integrand(path, weighted_sum))


def _fading(value: Any, nodes: Any, most: float) -> tuple[Any, Any]:
    """The points and ∂point/∂α of [slots, *shape] at α, [slots, nodes]; both [slots · nodes, *shape]."""
    sizes = [*value.shape[1:3], 1, 1][:2]
    rows, columns = (tf.constant(cosines(size), value.dtype) for size in sizes)
    rest = int(tf.TensorShape(value.shape[3:]).num_elements() or 1)
    spectrum = tf.einsum("ai,sijr,bj->srab", rows, tf.reshape(value, [-1, *sizes, rest]), columns)
    octaves = math.log1p(most)
    sigma = tf.maximum(tf.math.expm1(octaves * (1 - nodes)), LEAST_SIGMA)
    faded = {size: _faded(size, sigma, most) for size in set(sizes)}
    (high, high_slope), (wide, wide_slope) = (faded[size] for size in sizes)

    def image(weights: Any) -> Any:
        # one product with all that is [b] last, and one with each [a, j]: einsum moves axes about, for more than either
        weighted = tf.reshape(spectrum[:, tf.newaxis] * weights[:, :, tf.newaxis], [-1, sizes[1]])
        found = tf.matmul(rows, tf.reshape(tf.matmul(weighted, columns), [-1, *sizes]), transpose_a=True)
        found = found if rest == 1 else tf.transpose(tf.reshape(found, [-1, rest, *sizes]), [0, 2, 3, 1])
        return tf.reshape(found, [-1, *value.shape[1:]])

    falls = -octaves * (1 + sigma)[..., tf.newaxis]
    slope = _outer(falls * high_slope, wide) + _outer(high, falls * wide_slope)
    return image(_outer(high, wide)), image(slope)


def _faded(size: int, sigma: Any, most: float) -> tuple[Any, Any]:
    """What a blur leaves of each cosine along an axis, and its derivative by σ: [slots, nodes, size] each."""
    away = tf.range(-reach(most), reach(most) + 1, dtype=tf.int32)
    distance, wave = tf.cast(away, sigma.dtype), tf.constant(waves(size, most), sigma.dtype)
    sigma = sigma[..., tf.newaxis]
    weights = tf.exp(-0.5 * (distance / sigma) ** 2)
    slopes = weights * distance**2 / sigma**3
    total, total_slope = (tf.reduce_sum(value, axis=-1, keepdims=True) for value in (weights, slopes))
    left = tf.matmul(weights, wave) / total
    return left, (tf.matmul(slopes, wave) - left * total_slope) / total


def _outer(rows: Any, columns: Any) -> Any:
    return rows[..., :, tf.newaxis] * columns[..., tf.newaxis, :]
