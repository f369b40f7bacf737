"""The engine feeds one kernel: calls stay full across batches, and more than one is always under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import numpy.typing as npt

from transforms.attribution.kernel import Kernel, round_up
from transforms.attribution.rules import Quadrature
from transforms.attribution.work import Call, Work, next_call, pending, tile

# While one call is in an operation that cannot use every core, or brings its sums back, another one computes; and
# while both do, whoever reads the stream decodes the next rows and writes the last.
CALLS_IN_FLIGHT = 2


class Engine:
    """Explains works in the order in which they are put in.

    Results are added in the order of the calls, whichever ends first: the sums do not depend on the timing.

    Args:
        kernel: what computes.
        rule: of every path.
        pool: runs the calls, with `CALLS_IN_FLIGHT` threads.
    """

    def __init__(self, kernel: Kernel, rule: Quadrature, pool: Executor) -> None:
        self.kernel = kernel
        self._tiles, self._pool = tile(rule, kernel.tiling.nodes), pool
        self._works, self._in_flight = deque[Work](), deque[tuple[Call, Future[list[npt.NDArray[Any]]]]]()

    def put(self, work: Work) -> None:
        """Start every call that is full."""
        self._works.append(work)
        while pending(self._works) >= self.kernel.tiling.slots:
            self._start()

    def finished(self) -> Iterator[Work]:
        """The works that are done, from the first on."""
        while self._works and self._works[0].done:
            yield self._works.popleft()

    def drain(self) -> Iterator[Work]:
        """All that is left, though the last call may not be full."""
        while pending(self._works):
            self._start()
        while self._in_flight:
            self._collect()
            yield from self.finished()

    def _start(self) -> None:
        if len(self._in_flight) == CALLS_IN_FLIGHT:
            self._collect()
        call = next_call(self._works, self._tiles, self.kernel.tiling.slots)
        self._in_flight.append((call, self._pool.submit(self._compute, call)))

    def _collect(self) -> None:
        call, sums = self._in_flight.popleft()
        call.add(sums.result())

    def _compute(self, call: Call) -> list[npt.NDArray[Any]]:
        slots = self.kernel.tiling.slots
        inputs = [round_up(value, slots) for value in call.inputs]
        starts = [round_up(value, slots) for value in call.baselines]
        target, nodes, weights = (round_up(value, slots) for value in (call.target, call.nodes, call.weights))
        return self.kernel.gradients(inputs, starts, target, nodes, weights)
