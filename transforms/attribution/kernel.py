"""The compiled functions: F of a batch, and the weighted sum of its gradients at points on straight paths.

Every shape is fixed, so each function is traced once. Nodes, weights and targets are data: any rule runs through the
same program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.model import Model

Values = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How one call is laid out: `slots` paths, each with `nodes` points on it.

    A path's points share its input and its baseline, and their gradients are summed at once: nothing is gathered or
    scattered point by point.
    """

    slots: int
    nodes: int

    @property
    def points(self) -> int:
        """Gradients computed in one call."""
        return self.slots * self.nodes


class Kernel:
    """The two programs of one model, for one shape of its inputs.

    Args:
        model: what is explained.
        shapes: of each model input, without the batch dimension.
        tiling: of a call.
    """

    def __init__(self, model: Model, shapes: Sequence[Shape], tiling: Tiling) -> None:
        self.tiling = tiling
        self._model, self._real = model, model.real_dtype
        typed = [(shape, spec.point_dtype) for shape, spec in zip(shapes, model.inputs, strict=True)]
        batch = [tf.TensorSpec((tiling.points, *shape), dtype) for shape, dtype in typed]
        paths = [tf.TensorSpec((tiling.slots, *shape), dtype) for shape, dtype in typed]
        starts = [path for path, spec in zip(paths, model.inputs, strict=True) if spec.explained]
        points = tf.TensorSpec((tiling.slots, tiling.nodes), self._real)
        target = tf.TensorSpec((tiling.slots,), tf.int32)
        self._forward = tf.function(model.outputs, input_signature=[batch], autograph=False)
        self._gradients = tf.function(
            self._weighted_gradients, input_signature=[paths, starts, target, points, points], autograph=False
        )

    def outputs(self, inputs: Sequence[Values]) -> Values:
        """F of one padded batch: [points, classes]."""
        result: Values = self._forward([tf.convert_to_tensor(value) for value in inputs]).numpy()
        return result

    def gradients(
        self, inputs: Sequence[Values], baselines: Sequence[Values], target: Values, nodes: Values, weights: Values
    ) -> list[Values]:
        """Σ weight · ∂F_target/∂input over the points of each path, one [slots, *shape] for every explained input.

        Args:
            inputs: each model input, [slots, *shape].
            baselines: of each explained input, [slots, *shape].
            target: int32 [slots].
            nodes: [slots, nodes], where on its path a point lies, 0 at the baseline and 1 at the input.
            weights: [slots, nodes], how much its gradient counts; 0 for padding.
        """
        sums = self._gradients(
            [tf.convert_to_tensor(value) for value in inputs],
            [tf.convert_to_tensor(value) for value in baselines],
            tf.convert_to_tensor(target),
            tf.convert_to_tensor(nodes, self._real),
            tf.convert_to_tensor(weights, self._real),
        )
        return [value.numpy() for value in sums]

    def traces(self) -> int:
        """How often TensorFlow traced a program: 1 for each that was used."""
        return int(self._forward.experimental_get_tracing_count() + self._gradients.experimental_get_tracing_count())

    def _weighted_gradients(
        self, inputs: list[Any], baselines: list[Any], target: Any, nodes: Any, weights: Any
    ) -> list[Any]:
        starts = iter(baselines)
        points, explained = [], []
        for value, spec in zip(inputs, self._model.inputs, strict=True):
            if spec.explained:
                points.append(self._on_paths(value, next(starts), nodes))
                explained.append(points[-1])
            else:
                points.append(tf.repeat(value, self.tiling.nodes, axis=0))
        with tf.GradientTape() as tape:
            tape.watch(explained)
            outputs = self._model.outputs(points)
            chosen = tf.gather(outputs, tf.repeat(target, self.tiling.nodes), axis=1, batch_dims=1)
        # weighted where they are still one number a point, and not once they have the size of the input
        seed = tf.reshape(tf.cast(weights, chosen.dtype), [-1])
        gradients = tape.gradient(chosen, explained, output_gradients=seed, unconnected_gradients="zero")
        return [self._sum_by_path(*pair) for pair in zip(gradients, explained, strict=True)]

    def _on_paths(self, value: Any, baseline: Any, nodes: Any) -> Any:
        """[slots, *shape] and [slots, nodes] → every point, [points, *shape], path by path."""
        shape = value.shape[1:]
        step = tf.reshape(tf.cast(nodes, value.dtype), [*nodes.shape, *[1] * len(shape)])
        points = tf.expand_dims(baseline, 1) + step * tf.expand_dims(value - baseline, 1)
        return tf.reshape(points, [self.tiling.points, *shape])

    def _sum_by_path(self, gradient: Any, points: Any) -> Any:
        # Not a product with a matrix of weights: there, 0 × NaN would carry one path's NaN into all the others.
        return tf.reduce_sum(tf.reshape(gradient, [self.tiling.slots, self.tiling.nodes, *points.shape[1:]]), axis=1)


def round_up(rows: Values, size: int) -> Values:
    """The rows, followed by copies of the last one up to `size`: padding that no new value comes from."""
    missing = size - len(rows)
    return rows if not missing else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
