"""Methods of one gradient for each of a row's draws: noisy copies of it, or its baselines.

A slot of the kernel holds draws of one row: what becomes of them is summed where the gradients are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from transforms.attribution.baseline_config import count
from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.integrand import Integrand, Path, Points, gradients_of, weighted_sum
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import Level, Quadrature


def at_inputs(config: AttributionConfig, path: Path) -> Method:
    """Gradients at the row, or at its noisy copies; without completeness."""
    draws, mean = (config.noise.draws, config.noise.kind == "smoothgrad") if config.noise else (1, True)
    return Method(_levels(draws), complete=False, factor=None, integrand=_integrand(path, not mean), drawn="input")


def at_baselines(config: AttributionConfig, path: Path) -> Method:
    """Gradients at a row's baselines; without completeness."""
    draws = count(config.baseline)
    return Method(_levels(draws), complete=False, factor=None, integrand=_integrand(path, draws > 1), drawn="baseline")


def between_ends(config: AttributionConfig) -> Method:
    """Gradients between a row and each of its baselines, at an α that is drawn, times x − x′."""
    integrand = _integrand(between, moments=True)
    return Method(_levels(count(config.baseline)), complete=True, factor=None, integrand=integrand, drawn="between")


def itself(_value: Any, drawn: Any, _nodes: Any) -> tuple[Any, None]:
    """The draws."""
    return _points(drawn), None


def times_itself(_value: Any, drawn: Any, _nodes: Any) -> tuple[Any, Any]:
    """The draws, which the gradient there is multiplied with."""
    return _points(drawn), _points(drawn)


def times_difference(value: Any, drawn: Any, _nodes: Any) -> tuple[Any, Any]:
    """The draws, and how far the row is from each."""
    return _points(drawn), _points(tf.expand_dims(value, 1) - drawn)


def between(value: Any, drawn: Any, nodes: Any) -> tuple[Any, Any]:
    """x′ + α(x − x′) for each x′, and x − x′."""
    step = tf.reshape(nodes, tf.concat([tf.shape(nodes), tf.ones([value.shape.rank - 1], tf.int32)], 0))
    way = tf.expand_dims(value, 1) - drawn
    return _points(drawn + tf.cast(step, value.dtype) * way), _points(way)


def _points(values: Any) -> Any:
    """[slots, nodes, *shape] → [slots · nodes, *shape]."""
    return tf.reshape(values, [-1, *values.shape[2:]])


def _levels(draws: int) -> tuple[Level, ...]:
    # summed, and divided in float64: 1 / draws would be rounded, and a variance is a small difference
    return (Level(Quadrature(np.zeros(draws), np.ones(draws)), 0.0, draws),)


def _integrand(path: Path, moments: bool) -> Integrand:
    return Integrand(path, weighted_moments if moments else weighted_sum, drawn=True, moments=moments)


def weighted_moments(points: Points, entry: Any) -> list[Any]:
    """Σ weight · v and Σ weight · v² of v = ∂F (⊙ tangent), in float64."""
    gradients = gradients_of(points, entry)
    along = [value if way is None else value * way for value, way in zip(gradients, points.tangents, strict=True)]
    return [_moments(value, points) for value in along]


def _moments(values: Any, points: Points) -> Any:
    """[slots · nodes, *shape] → [slots, 2, *shape]."""
    weights, double = tf.cast(points.weights, values.dtype), tf.float64
    flat = tf.reshape(values, tf.concat([tf.shape(weights), [-1]], 0))
    total, weight = tf.einsum("sn,snf->sf", weights, flat), tf.reduce_sum(weights, axis=1, keepdims=True)
    # a variance is the small difference of both: squares are taken of the distance to the slot's mean, which is put
    # back in float64
    distance = tf.math.squared_difference(flat, (total / weight)[:, tf.newaxis])
    squares = tf.cast(tf.einsum("sn,snf->sf", weights, distance), double)
    squares += tf.cast(total, double) ** 2 / tf.cast(weight, double)
    found = tf.stack([tf.cast(total, double), squares], axis=1)
    return tf.reshape(found, tf.concat([tf.shape(found)[:2], tf.shape(values)[1:]], 0))
