"""The engine feeds one kernel: calls stay full across batches and levels, and more than one is always under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.calls import Block, Call, next_call, tile
from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.device import CALLS_IN_FLIGHT, CALLS_READY
from transforms.attribution.engine.work import Mask, Rows, Work, span, stacked
from transforms.attribution.explanation import Faults
from transforms.attribution.methods.rules import Level

# With a stem, rows whose level is full wait for so many others, as long as there is enough else to compute: one way
# back through the stem for all costs less than many small ones.
SETTLED_ROWS = 256
# Of a full call, what a call takes at least of the little that several share: sharing less costs more than it balances
LEAST_SHARE = 8


class Engine:
    """Explains works in the order in which they are put in.

    A row goes from level to level until it has converged. Results are added in the order of the calls, whichever ends
    first: what is computed next does not depend on the timing.

    Args:
        compute: what computes.
        levels: of the rule; a fixed rule has one.
        nodes: in each slot.
        tolerance: at which a row has converged.
        pool: runs the calls.
    """

    def __init__(self, compute: Compute, levels: Sequence[Level], nodes: int, tolerance: float, pool: Executor) -> None:
        self.compute = compute
        self._levels, self._nodes, self._tolerance, self._pool = levels, nodes, tolerance, pool
        self._tiles = [tile(level.rule, nodes, compute.kernel.integrand.overlap) for level in levels]
        self._works, self._queue, self._full = deque[Work](), deque[Block](), list[Block]()
        self._in_flight = deque[tuple[Call, Future[tuple[list[npt.NDArray[Any]], Faults]]]]()

    def put(self, work: Work) -> None:
        """Start every call that is full."""
        self._works.append(work)
        self._enqueue(work, np.flatnonzero(~work.lost), 0)
        work.open -= int(work.lost.sum())
        self._start_full()

    def finished(self) -> Iterator[Work]:
        """The works that are done, from the first on."""
        while self._works and not self._works[0].open:
            yield self._works.popleft()

    def drain(self) -> Iterator[Work]:
        """All that is left. A call that is not full waits for what those under way may add to it."""
        while self._queue or self._in_flight or self._full:
            may_add = self._in_flight and (len(self._levels) > 1 or not self._queue)
            if self._waiting() >= self._slots():
                self._start_full()
            elif may_add:
                self._collect()
            elif self._full:
                self._settle()
            else:
                self._start_rest()
            yield from self.finished()
        yield from self.finished()

    def _slots(self) -> int:
        return max(1, self.compute.batching.points // self._nodes)

    def _waiting(self) -> int:
        return sum(block.left for block in self._queue)

    def _start_full(self) -> None:
        """Every call that is full. Where none is under way, several share what one of them would leave the others."""
        while (waiting := self._waiting()) >= (slots := self._slots()):
            if self.compute.exact or self._in_flight or waiting >= CALLS_IN_FLIGHT * slots:
                self._start(slots)
            else:
                self._start_rest()

    def _start_rest(self) -> None:
        """All that waits."""
        slots = self._slots()
        if not (self.compute.exact or self._in_flight):
            slots = max(-(-slots // LEAST_SHARE), -(-self._waiting() // CALLS_IN_FLIGHT))
        while self._queue:
            self._start(slots)

    def _start(self, slots: int) -> None:
        if len(self._in_flight) == CALLS_IN_FLIGHT + CALLS_READY:
            self._collect()
        call = next_call(self._queue, self._tiles, slots)
        self._in_flight.append((call, self._pool.submit(self.compute.gradients, call.paths)))

    def _collect(self) -> None:
        call, future = self._in_flight.popleft()
        (sums, faults), slot = future.result(), 0
        for part in call.segments:
            piece = slice(slot, slot + len(part.rows))
            full = part.work.add(part.rows, [value[piece] for value in sums], faults[piece])
            if len(full):
                self._full.append(Block(part.work, full, part.level, 0))
            slot = piece.stop
        enough = SETTLED_ROWS if self.compute.kernel.stem else 1
        if sum(len(block.rows) for block in self._full) >= enough:
            self._settle()

    def _settle(self) -> None:
        """The levels of some rows are full: pull all of them back at once; they are done, or go on to the next."""
        blocks, self._full = self._full, []
        gradients, faults = self.compute.pull_back(_sums(blocks))
        first = 0
        for block in blocks:
            count, targets = len(block.rows), block.work.chosen.target.shape[1]
            piece = slice(first, first + count * targets)
            shaped = [value[piece].reshape(count, targets, *value.shape[1:]) for value in gradients]
            block.work.lose(np.repeat(block.rows, targets), faults[piece])
            block.work.settle(block.rows, shaped, self._levels[block.level], first=block.level == 0)
            self._advance(block.work, block.rows, block.level)
            first = piece.stop

    def _advance(self, work: Work, rows: Rows, level: int) -> None:
        done = self._done(work, rows, level)
        work.open -= int(done.sum())
        self._enqueue(work, rows[~done], level + 1)

    def _done(self, work: Work, rows: Rows, level: int) -> Mask:
        if level == len(self._levels) - 1:
            return np.ones(len(rows), dtype=bool)
        if level == 0:  # nothing to compare with
            return work.lost[rows]
        done: Mask = work.lost[rows] | work.converged(rows, self._tolerance)
        return done

    def _enqueue(self, work: Work, rows: Rows, level: int) -> None:
        if len(rows):
            block = Block(work, rows, level, len(self._tiles[level].nodes))
            work.begin(rows, self._levels[level], block.slots)
            # rows under way come first: the sooner a work is done, the sooner its memory is free
            (self._queue.appendleft if level else self._queue.append)(block)


def _sums(blocks: Sequence[Block]) -> list[npt.NDArray[np.float64]]:
    """The sums of rows of several works: [rows · targets, *shape] for each explained input of the head."""
    parts = [
        [total[span(block.rows)].reshape(-1, *total.shape[2:]) for total in block.work.sums[:-1]] for block in blocks
    ]
    return [stacked(values) for values in zip(*parts, strict=True)]
