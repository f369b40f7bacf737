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


@dataclasses.dataclass(frozen=True)
class Points:
    """What one call computes: `batch_size` points on the paths of at most `slots` rows.

    slot: int32 [batch_size], the row of a point, as an index below `slots`.
    node: [batch_size], where on its path a point lies, 0 at the baseline and 1 at the input.
    weight: [batch_size], how much its gradient counts; 0 for the padding.
    """

    slot: Values
    node: Values
    weight: Values


class Kernel:
    """The two programs of one model, for one shape of its inputs.

    Args:
        model: what is explained.
        shapes: of each model input, without the batch dimension.
        batch_size: points computed at once.
        slots: rows that the points of one call may belong to.
    """

    def __init__(self, model: Model, shapes: Sequence[tuple[int, ...]], batch_size: int, slots: int) -> None:
        self.batch_size, self.slots = batch_size, slots
        self._model = model
        dtypes = [spec.point_dtype for spec in model.inputs]
        self._real = model.real_dtype
        batch = [tf.TensorSpec((batch_size, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        rows = [tf.TensorSpec((slots, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
        explained = [spec for spec, kind in zip(rows, model.inputs, strict=True) if kind.explained]
        slot = tf.TensorSpec((batch_size,), tf.int32)
        point = tf.TensorSpec((batch_size,), self._real)
        self._forward = tf.function(model.outputs, input_signature=[batch], autograph=False)
        self._gradients = tf.function(
            self._weighted_gradients,
            input_signature=[rows, explained, tf.TensorSpec((slots,), tf.int32), slot, point, point],
            autograph=False,
        )

    def outputs(self, inputs: Sequence[Values]) -> Values:
        """F of one padded batch: [batch_size, classes]."""
        result: Values = self._forward([tf.convert_to_tensor(value) for value in inputs]).numpy()
        return result

    def gradients(
        self, inputs: Sequence[Values], baselines: Sequence[Values], target: Values, points: Points
    ) -> list[Values]:
        """Σ weight · ∂F_target/∂input over the points of each row, one [slots, *shape] for every explained input.

        Args:
            inputs: each model input, [slots, *shape].
            baselines: of each explained input, [slots, *shape].
            target: int32 [slots].
        """
        sums = self._gradients(
            [tf.convert_to_tensor(value) for value in inputs],
            [tf.convert_to_tensor(value) for value in baselines],
            tf.convert_to_tensor(target),
            tf.convert_to_tensor(points.slot),
            tf.convert_to_tensor(points.node, self._real),
            tf.convert_to_tensor(points.weight, self._real),
        )
        return [value.numpy() for value in sums]

    def traces(self) -> int:
        """How often TensorFlow traced a program: 1 for each that was used."""
        return int(self._forward.experimental_get_tracing_count() + self._gradients.experimental_get_tracing_count())

    def _weighted_gradients(
        self, rows: list[Any], baselines: list[Any], target: Any, slot: Any, node: Any, weight: Any
    ) -> list[Any]:
        starts = iter(baselines)
        points, path = [], []
        for value, spec in zip(rows, self._model.inputs, strict=True):
            if spec.explained:
                path.append(_on_path(value, next(starts), slot, node))
                points.append(path[-1])
            else:
                points.append(tf.gather(value, slot))
        with tf.GradientTape() as tape:
            tape.watch(path)
            outputs = self._model.outputs(points)
            chosen = tf.gather(outputs, tf.gather(target, slot), axis=1, batch_dims=1)
        # weighted where they are still one number a point, and not once they have the size of the input
        weighted = tape.gradient(
            chosen, path, output_gradients=tf.cast(weight, chosen.dtype), unconnected_gradients="zero"
        )
        # not a product with a matrix of weights: there, 0 × NaN would carry one row's NaN into all the others
        return [tf.math.unsorted_segment_sum(gradient, slot, self.slots) for gradient in weighted]


def _on_path(value: Any, baseline: Any, slot: Any, node: Any) -> Any:
    start, way = tf.gather(baseline, slot), tf.gather(value - baseline, slot)
    return start + _as_column(tf.cast(node, value.dtype), way) * way


def _as_column(vector: Any, like: Any) -> Any:
    return tf.reshape(vector, [-1, *[1] * (like.shape.rank - 1)])


def round_up(rows: Values, size: int) -> Values:
    """The rows, followed by copies of the last one up to `size`: padding that no new value comes from."""
    missing = size - len(rows)
    return rows if not missing else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])
