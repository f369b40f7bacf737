"""What a call of the kernel sums over the points of a slot: where they lie, and how their gradients combine.

In TensorFlow: it is a part of the compiled program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Of one explained input: x and x′, [slots, *shape], and α, [slots, nodes] → the points, and what the gradients there
# are multiplied with: ∂point/∂α, where it is not x − x′ all along; [slots · nodes, *shape] each, slot by slot.
Path = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Points:
    """What a combination is made from.

    Attributes:
        explained: the points of each explained input, [slots · nodes, *shape].
        tangents: what the gradients of each are multiplied with, or None.
        outputs: F there, [slots · nodes, classes].
        nodes, weights: [slots, nodes].
    """

    explained: Sequence[Any]
    tangents: Sequence[Any]
    outputs: Any
    nodes: Any
    weights: Any


@dataclasses.dataclass(frozen=True)
class Integrand:
    """How the points of a slot become one value for each feature.

    Attributes:
        path: where the points lie.
        combine: of the points, and the one-hot entry of the output, [slots · nodes, classes] → for every explained
            input, [slots, *shape], or with `moments` [slots, 2, *shape].
        overlap: nodes that a slot shares with the one before it on the same path.
        linear: straight, and linear in the gradients: an affine part of the model may be taken out of it.
        drawn: each point has a start of its own, and `path` takes x′ as [slots, nodes, *shape].
        moments: beside the mean of what the points give, the mean of its squares.
    """

    path: Path
    combine: Callable[[Points, Any], list[Any]]
    overlap: int = 0
    linear: bool = False
    drawn: bool = False
    moments: bool = False


def straight(value: Any, baseline: Any, nodes: Any) -> tuple[Any, None]:
    """x′ + α(x − x′)."""
    shape = value.shape[1:]
    step = tf.reshape(tf.cast(nodes, value.dtype), tf.concat([tf.shape(nodes), [1] * len(shape)], 0))
    points = tf.expand_dims(baseline, 1) + step * tf.expand_dims(value - baseline, 1)
    return tf.reshape(points, [-1, *shape]), None


def weighted_sum(points: Points, entry: Any) -> list[Any]:
    """Σ weight · ∂F (⊙ tangent)."""
    # weighted where they are still one number a point, and not once they have the size of the input
    seed = entry * tf.reshape(tf.cast(points.weights, entry.dtype), [-1, 1])
    gradients = gradients_of(points, seed)
    along = [value if way is None else value * way for value, way in zip(gradients, points.tangents, strict=True)]
    return [sum_by_slot(value, points.nodes) for value in along]


def gradients_of(points: Points, seed: Any) -> list[Any]:
    """∂(outputs · seed) at every point, for each explained input."""
    found: list[Any] = tf.gradients(points.outputs, points.explained, seed, unconnected_gradients="zero")
    return found


def sum_by_slot(values: Any, nodes: Any) -> Any:
    """[slots · nodes, *shape] → [slots, *shape]."""
    # Not a product with a matrix of weights: there, 0 × NaN would carry one path's NaN into all the others.
    slots = tf.concat([tf.shape(nodes), values.shape[1:]], 0)
    return tf.reduce_sum(tf.reshape(values, slots), axis=1)


STRAIGHT = Integrand(straight, weighted_sum, linear=True)
