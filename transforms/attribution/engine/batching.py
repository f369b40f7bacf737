"""How many gradients one call computes: as asked for, or found while the work is done; fewer once memory ran out."""

from __future__ import annotations

import contextlib
import logging
import statistics
import threading
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from transforms.attribution.engine.memory import free_memory_bytes, peak_memory_bytes

_LOG = logging.getLogger(__name__)

MAX_POINTS = 8192
# A size is left for the double when it computed for so long, over at least so many calls after the first.
WINDOW_S, WINDOW_CALLS, SLOW_WINDOW_S = 0.3, 3, 1.0
# A size is better only by so much: a machine's own rate moves by more than that from one second to the next.
GAIN = 1.03
# Sizes tried beyond the best; then these and the best are measured so many times more, in turn, and each one's median
# counts: what else the process does in a window moves a rate by a tenth, up or down.
PATIENCE, ROUNDS = 3, 4
# Of the memory that is free, what doubling once more may take: other workers double on the same machine.
MEMORY_SHARE = 0.25
OUT_OF_MEMORY = (tf.errors.OpError, MemoryError)
_FACES = ("Out of memory while trying to allocate", "Dst tensor is not initialized")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether TensorFlow, XLA, a copy to the device or numpy says in its own way that memory is short."""
    if isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError)):
        return True
    return isinstance(error, tf.errors.OpError) and any(face in str(error) for face in _FACES)


class Batching:
    """The size of the next call, for one model, shape and device; used by all threads that feed the device.

    Attributes:
        points: gradients in one call.
        ended: calls so far, whatever came of them.

    Args:
        points: to start with.
        tuned: whether to double them while that is faster.
    """

    def __init__(self, points: int, tuned: bool) -> None:
        self.points, self.ended, self._out_of_memory = points, 0, 0
        self._tuned, self._rates, self._again = tuned, dict[int, list[float]](), list[int]()
        self._lock, self._active = threading.Lock(), 0
        self._since = self._idle_from = time.perf_counter()
        self._restart()

    @contextlib.contextmanager
    def call(self, points: int) -> Iterator[None]:
        """Around one call: measures it. A call of half the size or less says nothing about `self.points`."""
        with self._lock:
            if self._active == 0:
                self._since += time.perf_counter() - self._idle_from
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self.ended += 1
                self._active -= 1
                self._idle_from = time.perf_counter()
                if self._tuned:
                    self._count(points)

    def ran_out(self, points: int, error: BaseException) -> None:
        """A call of so many points did not fit: halve them for all calls to come.

        Raises:
            the error, when it says something else.
        """
        if not is_out_of_memory(error):
            raise error
        with self._lock:
            self._out_of_memory += 1
            self.points, self._tuned = min(self.points, max(1, points // 2)), False
        _LOG.warning("out of memory at %d points a call: %d from now on", points, self.points)

    def take_out_of_memory(self) -> int:
        """How many calls did not fit since this was last asked."""
        with self._lock:
            count, self._out_of_memory = self._out_of_memory, 0
        return count

    def _restart(self) -> None:
        self._done, self._calls, self._peak = 0, -1, peak_memory_bytes()
        self._since = self._idle_from = time.perf_counter()

    def _count(self, points: int) -> None:
        if not self.points // 2 < points <= self.points:
            self._restart()
            return
        self._calls += 1
        if self._calls == 0:  # the first of its size warms up
            self._since = time.perf_counter()
            return
        self._done += points
        seconds = time.perf_counter() - self._since
        if seconds > SLOW_WINDOW_S or (seconds > WINDOW_S and self._calls >= WINDOW_CALLS):
            self._decide(self._done / seconds)

    def _decide(self, rate: float) -> None:
        windows = self._rates.setdefault(self.points, [])
        windows.append(rate)
        new = len(windows) == 1
        # once sizes are measured again, those that are not are out of the race
        medians = {size: statistics.median(own) for size, own in self._rates.items() if len(own) >= len(windows)}
        best = min(size for size, median in medians.items() if median > max(medians.values()) / GAIN)
        if new and self.points < best * 2**PATIENCE and self.points * 2 <= MAX_POINTS and self._double_fits():
            self.points *= 2
        else:
            if new:
                self._again = ROUNDS * [size for size in self._rates if size * 2**PATIENCE >= self.points]
            self._tuned = bool(self._again)
            self.points = self._again.pop(0) if self._again else best
        if not self._tuned:
            _LOG.info("%d points a call: %.0f gradients/s", best, medians[best])
        self._restart()

    def _double_fits(self) -> bool:
        return 2 * (peak_memory_bytes() - self._peak) <= MEMORY_SHARE * free_memory_bytes()


def first_points(values: int) -> int:
    """Points that fit into any memory: about 1 MB of them, between 4 and 64.

    Args:
        values: of one example, over all inputs.
    """
    return int(min(64, max(4, 2 ** np.floor(np.log2(2**18 / max(values, 1))))))
