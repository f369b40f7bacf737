"""F at any points of a row: forward passes only, in calls of bounded size."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from transforms.attribution.engine.device import Turn
from transforms.attribution.engine.kernel import round_up
from transforms.attribution.model.model import Model

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
CALL_BYTES = 16 * 2**20
MAX_POINTS = 512


class Outputs:
    """The model's forward pass, traced once.

    Args:
        accelerated: whether a GPU computes: then one call at a time, in float32.
    """

    def __init__(self, model: Model, accelerated: bool) -> None:
        self._model = model
        self._turn: AbstractContextManager[Any] = Turn(False) if accelerated else contextlib.nullcontext()
        signature = [tf.TensorSpec((model.batch, *spec.shape), spec.point_dtype) for spec in model.inputs]
        self._forward = tf.function(lambda values: model.outputs(values), input_signature=[signature], autograph=False)

    def at(self, points: Mapping[str, Values], target: int | None) -> Doubles:
        """F at each point, float64 [points].

        Args:
            points: by model input, [points, *shape], or [1, *shape] for all of them.
            target: entry of the output; None for a model with one.
        """
        given = [points[spec.name].astype(spec.point_dtype, copy=False) for spec in self._model.inputs]
        count = max(len(value) for value in given)
        every = [np.broadcast_to(value, (count, *value.shape[1:])) for value in given]
        size = self._model.batch or _points_of_call(every)
        pieces = [self._call([value[first : first + size] for value in every]) for first in range(0, count, size)]
        return np.concatenate(pieces)[:, target or 0].astype(np.float64)

    def _call(self, points: list[Values]) -> Values:
        size = len(points[0])
        padded = [round_up(value, self._model.batch or size) for value in points]
        with self._turn:
            table = self._forward([tf.convert_to_tensor(value) for value in padded]).numpy()
        return np.asarray(table[:size])


def _points_of_call(values: list[Values]) -> int:
    point_bytes = sum(int(np.prod(value.shape[1:])) * value.itemsize for value in values)
    return min(MAX_POINTS, max(1, CALL_BYTES // max(1, point_bytes)))
