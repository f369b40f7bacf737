"""The compiled functions: F of a batch, and what is summed of its gradients at points on paths, mostly straight ones.

The batch dimension is left open, so each function is traced once, whatever the size of a call. Nodes, weights and
targets are data: any rule runs through the same program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.methods.integrand import STRAIGHT, Integrand, Points, sum_by_slot
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput

Values = npt.NDArray[Any]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Paths:
    """What one call computes: slots, each a piece of one row's path with some nodes on it.

    The points of a slot share its input and its baseline, and their gradients are summed at once: nothing is gathered
    or scattered point by point.

    Attributes:
        inputs: each input of the head, [slots, *shape].
        baselines: of each explained input of the head, [slots, *shape], or of each node [slots, nodes, *shape].
        target: int32 [slots, targets].
        nodes: [slots, nodes], where on its path a point lies, 0 at the baseline and 1 at the input.
        weights: [slots, nodes], how much its gradient counts; 0 for padding.
        drawn: each node has a baseline of its own.
    """

    inputs: Sequence[Values]
    baselines: Sequence[Values]
    target: Values
    nodes: Values
    weights: Values
    drawn: bool = False

    @property
    def points(self) -> int:
        """Gradients computed."""
        return self.nodes.size

    def slots(self, chosen: slice) -> Paths:
        """Some of the slots."""
        return self._each(lambda value: value[chosen])

    def of_nodes(self, chosen: slice) -> Paths:
        """All slots, with some of their nodes."""
        starts = [value[:, chosen] for value in self.baselines] if self.drawn else self.baselines
        nodes, weights = self.nodes[:, chosen], self.weights[:, chosen]
        return dataclasses.replace(self, baselines=starts, nodes=nodes, weights=weights)

    def at_zeros(self) -> Paths:
        """As many points, all of them 0."""
        inputs, starts = ([np.zeros_like(value) for value in values] for values in (self.inputs, self.baselines))
        return dataclasses.replace(self, inputs=inputs, baselines=starts)

    def padded(self, slots: int) -> Paths:
        """Up to `slots` slots; those added are copies of the last."""
        return self._each(lambda value: round_up(value, slots))

    def _each(self, change: Callable[[Values], Values]) -> Paths:
        inputs, starts = (list(map(change, values)) for values in (self.inputs, self.baselines))
        target, nodes, weights = map(change, (self.target, self.nodes, self.weights))
        return Paths(inputs, starts, target, nodes, weights, self.drawn)


class Kernel:
    """The programs of one model, for one shape of its inputs.

    Args:
        model: what is explained.
        shapes: of each model input, without the batch dimension.
        targets: entries of the output that are explained for each row.
        compiled: by XLA; for accelerators.
        integrand: what is summed over the points of a slot.
    """

    def __init__(
        self, model: Model, shapes: Sequence[Shape], targets: int, compiled: bool, integrand: Integrand = STRAIGHT
    ) -> None:
        self.model, self.stem, self._inlined = model, model.stem, model.inlined()
        self.integrand = integrand
        self.heads: tuple[ModelInput, ...] = model.stem.heads if model.stem else model.inputs
        self.explained = tuple(spec for spec in self.heads if spec.explained)
        self._real = model.real_dtype
        given = [_spec(model.batch, shape, spec) for shape, spec in zip(shapes, model.inputs, strict=True)]
        hoisted = model.stem.tensors if model.stem else {}
        paths = [
            _spec(None, spec.shape if spec.name in hoisted else shape, spec)
            for shape, spec in zip(shapes, self.heads, strict=True)
        ]
        starts = [
            _spec(None, (None, *path.shape[1:]), spec) if integrand.drawn else path
            for path, spec in zip(paths, self.heads, strict=True)
            if spec.explained
        ]
        points, target = tf.TensorSpec((None, None), self._real), tf.TensorSpec((None, targets), tf.int32)

        def program(function: Any, *signature: Any) -> Any:
            return tf.function(function, input_signature=signature, autograph=False, jit_compile=compiled or None)

        self._forward = program(self._project, given)
        self._gradients = program(self._weighted_gradients, paths, starts, target, points, points)
        self._transpose = program(self._pull_back, starts)

    def forward(self, inputs: Sequence[Values]) -> tuple[list[Values], Values]:
        """What the head takes, one [rows, *shape] for each of its inputs, and F, [rows, classes]."""
        heads, outputs = self._forward([tf.convert_to_tensor(value) for value in inputs])
        return [value.numpy() for value in heads] if self.stem else list(inputs), outputs.numpy()

    def gradients(self, paths: Paths) -> list[Values]:
        """What the integrand gives of each slot: Σ weight · ∂F_target/∂z over its nodes, or the like.

        Returns:
            [slots, targets, *shape] for every explained z, or with moments [slots, targets, 2, *shape], and last
            Σ weight · F_target, [slots, targets].
        """
        sums = self._gradients(
            [tf.convert_to_tensor(value) for value in paths.inputs],
            [tf.convert_to_tensor(value) for value in paths.baselines],
            tf.convert_to_tensor(paths.target, tf.int32),
            tf.convert_to_tensor(paths.nodes, self._real),
            tf.convert_to_tensor(paths.weights, self._real),
        )
        return [value.numpy() for value in sums]

    def pull_back(self, gradients: Sequence[Values]) -> list[Values]:
        """∂F/∂z, [rows, *shape] for every explained input of the head, → ∂F/∂x of the model's inputs."""
        if not self.stem:
            return list(gradients)
        fed = [
            tf.convert_to_tensor(value, spec.point_dtype) for value, spec in zip(gradients, self.explained, strict=True)
        ]
        return [value.numpy() for value in self._transpose(fed)]

    def traces(self) -> int:
        """How often TensorFlow traced a program: 1 for each that was used."""
        programs = (self._forward, self._gradients, self._transpose)
        return sum(int(program.experimental_get_tracing_count()) for program in programs)

    def _project(self, inputs: list[Any]) -> Any:
        stem = self._inlined.stem
        heads = stem.project(inputs) if stem else inputs
        return heads if stem else [], self._inlined.head(heads)

    def _pull_back(self, gradients: list[Any]) -> Any:
        return self._inlined.stem.pull_back(gradients) if self._inlined.stem else gradients

    def _weighted_gradients(
        self, inputs: list[Any], baselines: list[Any], target: Any, nodes: Any, weights: Any
    ) -> list[Any]:
        starts, count = iter(baselines), tf.shape(nodes)[1]
        fed, explained, tangents = [], [], []
        for value, spec in zip(inputs, self.heads, strict=True):
            if spec.explained:
                points, tangent = self.integrand.path(value, next(starts), nodes)
                fed.append(points)
                explained.append(points)
                tangents.append(tangent)
            else:
                fed.append(tf.repeat(value, count, axis=0))
        outputs = self._inlined.head([self._of_fixed_batch(value) for value in fed])
        there = Points(explained, tangents, outputs, nodes, weights)
        sums = []
        for target_entry in tf.unstack(tf.repeat(target, count, axis=0), axis=1):
            entry = tf.one_hot(target_entry, outputs.shape[1], dtype=outputs.dtype)
            seen = tf.gather(outputs, target_entry, batch_dims=1) * tf.reshape(tf.cast(weights, outputs.dtype), [-1])
            sums.append([*self.integrand.combine(there, entry), sum_by_slot(seen, nodes)])
        return [tf.stack(of_input, axis=1) for of_input in zip(*sums, strict=True)]

    def _of_fixed_batch(self, points: Any) -> Any:
        return tf.ensure_shape(points, [self.model.batch, *points.shape[1:]]) if self.model.batch else points


def round_up(rows: Values, size: int) -> Values:
    """The rows, followed by copies of the last one up to `size`: padding that no new value comes from."""
    missing = size - len(rows)
    return rows if not missing else np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _spec(batch: int | None, shape: Sequence[int | None], spec: ModelInput) -> Any:
    return tf.TensorSpec((batch, *shape), spec.point_dtype)
