"""The raw rate: gradients of a Keras model in a process of its own, idle but for them, with TensorFlow's own settings.

One fixed batch, over and over, in a `tf.function`, at the best of several sizes: nothing is read, summed or written.
"""

from __future__ import annotations

import multiprocessing
import pathlib
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from types import TracebackType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

SECONDS = 3.0


class Raw:
    """A process that holds the model; a context manager.

    Args:
        model: path of a .keras file.
        rows: path of a .npy file, float32 [rows, *shape].
        sizes: of the batches that are tried.

    Attributes:
        size: the best of them.
    """

    def __init__(self, model: pathlib.Path, rows: pathlib.Path, sizes: Sequence[int]) -> None:
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.size: int = self._process.submit(_load, str(model), str(rows), tuple(sizes)).result()

    def rate(self) -> float:
        """Gradients a second, measured now."""
        return self._process.submit(_rate, self.size).result()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.shutdown()


# of the process, which lives as long as the pool
_HELD: dict[str, Any] = {}


def _load(model: str, rows: str, sizes: Sequence[int]) -> int:
    loaded = keras.models.load_model(model)

    @tf.function(autograph=False, reduce_retracing=True)
    def gradient(points: Any, chosen: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(points)
            output = tf.gather(loaded(points, training=False), chosen, axis=1, batch_dims=1)
        return tape.gradient(output, points)

    _HELD.update(gradient=gradient, rows=np.load(rows))
    # the better of two passes: what else the machine does makes a size slower, never faster
    passes = [[_rate(size) for size in sizes] for _ in range(2)]
    return sizes[int(np.argmax(np.max(passes, axis=0)))]


def _rate(size: int) -> float:
    gradient, rows = _HELD["gradient"], _HELD["rows"]
    batch, target = tf.constant(np.resize(rows, (size, *rows.shape[1:]))), tf.zeros(size, tf.int32)
    gradient(batch, target)
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        gradient(batch, target)
        calls += 1
    return calls * size / (time.perf_counter() - started)
