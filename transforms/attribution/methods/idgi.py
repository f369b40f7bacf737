"""IDGI: what F rises between two points of the straight path, shared out by the squares of the gradient at the first.

Σ (F(xⱼ₊₁) − F(xⱼ)) ∂F(xⱼ)² / |∂F(xⱼ)|². It sums to F(x) − F(x′) with any number of points, so that delta says nothing
of how good it is, except what F rises where its gradient is 0: that belongs to no feature, and is missing. Source:
Yang, Wang, Bilgic, "IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients", CVPR 2023.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from transforms.attribution.config import AttributionConfig
from transforms.attribution.methods.integrand import Integrand, Points, gradients_of, straight, sum_by_slot
from transforms.attribution.methods.method import Method
from transforms.attribution.methods.rules import doubling


def method(config: AttributionConfig) -> Method:
    """The method as configured; for `steps: auto`, each level of so many steps is computed anew."""
    integrand = Integrand(straight, _shared_out, overlap=1)
    return Method(doubling(config), complete=True, factor=None, integrand=integrand)


def _shared_out(points: Points, entry: Any) -> list[Any]:
    """Each point of a slot but the last has the next one beside it: slots overlap by one point."""
    reached = tf.reshape(tf.reduce_sum(tf.where(entry > 0, points.outputs, 0), axis=1), tf.shape(points.nodes))
    rise = tf.pad(reached[:, 1:] - reached[:, :-1], [[0, 0], [0, 1]])
    gradients = gradients_of(points, entry)
    # scaled to at most 1 first: the square of a small gradient is 0 in float32
    most = tf.reduce_max([tf.reduce_max(tf.abs(_flat(value)), axis=1) for value in gradients], axis=0)
    scaled = [tf.math.divide_no_nan(value, _like(most, value)) for value in gradients]
    size = tf.add_n([tf.reduce_sum(_flat(value) ** 2, axis=1) for value in scaled])
    share = tf.math.divide_no_nan(tf.reshape(rise, [-1]), size)
    return [sum_by_slot(_like(share, value) * value**2, points.nodes) for value in scaled]


def _flat(value: Any) -> Any:
    """[points, *shape] → [points, features]."""
    return tf.reshape(value, [tf.shape(value)[0], -1])


def _like(numbers: Any, value: Any) -> Any:
    """[points] → [points, 1, ...], to multiply [points, *shape] with."""
    return tf.reshape(numbers, tf.concat([[-1], tf.ones([value.shape.rank - 1], tf.int32)], 0))
