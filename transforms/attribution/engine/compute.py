"""The kernel's programs over any number of rows: in calls that fit, padded, and halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.batching import OUT_OF_MEMORY, Batching
from transforms.attribution.engine.kernel import Kernel, Paths, Shape, round_up
from transforms.attribution.engine.work import stacked
from transforms.attribution.model.layers import Layer

Values = npt.NDArray[Any]
# Rows of a call that must always be full: few, for a batch or a level of it leaves that many to pad
ROWS = 64
Mask = npt.NDArray[np.bool_]


class Compute:
    """One kernel at the batch size of the day.

    Each method also tells which rows were lost: those that do not even fit alone. Their values are NaN.

    Args:
        exact: every call has all its points, so that a row's bits do not depend on what else is computed; otherwise
            a call that cannot be filled is padded by an eighth at most: few shapes, for which operations keep plans.
        turn: held during each call: a `Turn` of the accelerator; anything for the CPU, which takes several at once.
    """

    def __init__(self, kernel: Kernel, batching: Batching, exact: bool, turn: AbstractContextManager[Any]) -> None:
        self.kernel, self.batching = kernel, batching
        self._exact, self._turn = exact or bool(kernel.model.batch), turn

    def forward(self, inputs: Sequence[Values]) -> tuple[list[Values], Values, Mask]:
        """What the head takes, one [rows, *shape] for each of its inputs; F, [rows, classes]; lost, [rows]."""

        def program(values: list[Values]) -> list[Values]:
            heads, table = self.kernel.forward(values)
            return [*heads, table]

        specs = self.kernel.heads
        # an input that is not hoisted may be of any size
        shapes = [
            value.shape[1:] if None in spec.shape else spec.shape for spec, value in zip(specs, inputs, strict=True)
        ]
        blanks = [_blank(shape, spec.point_dtype) for shape, spec in zip(shapes, specs, strict=True)]
        table = _blank((self.kernel.model.classes,), np.dtype(np.float32))
        *heads, table, lost = self._by_rows(program, inputs, [*blanks, table])
        return heads, table, lost

    def project(self, layer: Layer, sources: Sequence[Values], shape: Shape) -> tuple[Values, Mask]:
        """The value of a layer, [rows, *shape], where the model's own inputs are `sources`; lost, [rows]."""
        blank = _blank(shape, layer.dtype)
        value, lost = self._by_rows(lambda rows: [layer.values(rows)], sources, [blank])
        return value, lost

    def pull_back(self, gradients: Sequence[Values]) -> tuple[list[Values], Mask]:
        """As the kernel's; lost, [rows]."""
        if not self.kernel.stem:
            return list(gradients), np.zeros(len(gradients[0]), dtype=bool)
        blanks = [
            _blank(value.shape[1:] if None in spec.shape else spec.shape, spec.point_dtype)
            for spec, value in zip(self.kernel.model.explained, gradients, strict=True)
        ]
        *values, lost = self._by_rows(self.kernel.pull_back, gradients, blanks)
        return values, lost

    def gradients(self, paths: Paths) -> tuple[list[Values], Mask]:
        """As the kernel's, over all slots; lost, [slots]."""
        pieces, todo = [], [slice(0, len(paths.target))]
        nodes = paths.nodes.shape[1]
        while todo:
            part = todo.pop()
            slots, most = part.stop - part.start, max(1, self.batching.points // nodes)
            if slots == most == 1:
                pieces.append(self._one_slot(paths.slots(part)))
            elif slots > most or (found := self._attempt(paths.slots(part), most)) is None:
                todo += _halved(part, most)
            else:
                pieces.append((found, np.zeros(slots, dtype=bool)))
        sums = [stacked(values) for values in zip(*(values for values, _ in pieces), strict=True)]
        return sums, np.concatenate([lost for _, lost in pieces])

    def _one_slot(self, paths: Paths) -> tuple[list[Values], Mask]:
        count, overlap = paths.nodes.shape[1], self.kernel.integrand.overlap
        least = count == 1 + overlap
        if (count <= self.batching.points or least) and (found := self._attempt(paths, 1)) is not None:
            return found, np.zeros(1, dtype=bool)
        if least:
            return self._no_sums(paths), np.ones(1, dtype=bool)
        middle = -(-(count - overlap) // 2)
        parts = slice(middle, count), slice(0, middle + overlap)
        halves = [self._one_slot(paths.of_nodes(part)) for part in parts]
        sums = [sum(values) for values in zip(*(values for values, _ in halves), strict=True)]
        return sums, halves[0][1] | halves[1][1]

    def _no_sums(self, paths: Paths) -> list[Values]:
        """As the kernel's gradients of one slot, but NaN."""
        shape, moments = (1, paths.target.shape[1]), (2,) if self.kernel.integrand.moments else ()
        pairs = zip(paths.inputs, self.kernel.heads, strict=True)
        blanks = [np.full((*shape, *moments, *value.shape[1:]), np.nan) for value, spec in pairs if spec.explained]
        return [*blanks, np.full(shape, np.nan)]

    def _attempt(self, paths: Paths, most: int) -> list[Values] | None:
        """The sums of slots that should fit, at most `most`; None when they do not."""
        slots = len(paths.target)
        padded = paths.padded(self._padding(slots, most))
        try:
            with self._turn, self.batching.call(padded.points):
                return [value[:slots] for value in self.kernel.gradients(padded)]
        except OUT_OF_MEMORY as error:
            self._ran_out(padded.points, error)
            return None

    def _by_rows(
        self, program: Callable[[list[Values]], list[Values]], values: Sequence[Values], blanks: Sequence[Values]
    ) -> list[Any]:
        """Every output of a program over rows, that of a lost row being a blank, and last which rows are lost."""
        rows = len(values[0])
        pieces, todo, lost = list[Sequence[Values]](), [slice(0, rows)], np.zeros(rows, dtype=bool)
        while todo:
            part, most = todo.pop(), self._rows_of_call()
            size = part.stop - part.start
            padded = self._padding(size, most)
            if size <= most and (found := self._attempt_rows(program, values, part, padded)) is not None:
                pieces.append(found)
            elif size == padded == 1:
                lost[part] = True
                pieces.append(blanks)
            else:
                todo += _halved(part, most)
        return [*(np.concatenate(values) for values in zip(*pieces, strict=True)), lost]

    def _attempt_rows(
        self, program: Callable[[list[Values]], list[Values]], values: Sequence[Values], part: slice, padded: int
    ) -> list[Values] | None:
        try:
            with self._turn:
                found = program([round_up(value[part], padded) for value in values])
        except OUT_OF_MEMORY as error:
            self._ran_out(padded, error)
            return None
        return [value[: part.stop - part.start] for value in found]

    def _rows_of_call(self) -> int:
        fixed = self._exact and not self.kernel.model.batch
        return min(ROWS, self.batching.points) if fixed else self.batching.points

    def _ran_out(self, points: int, error: BaseException) -> None:
        if self.kernel.model.batch:
            raise error  # the model takes no other number
        self.batching.ran_out(points, error)

    def _padding(self, size: int, most: int) -> int:
        step = 1 << max(1, (size - 1).bit_length() - 4)
        return max(size, most if self._exact else min(most, -(-size // step) * step))


def _halved(part: slice, most: int) -> list[slice]:
    """The part in two, the first last: full calls where there are more rows than a call takes.

    A single row stays as it is: it was padded, and the next call is smaller.
    """
    size = part.stop - part.start
    middle = part.start + (most if size > most else -(-size // 2))
    return [piece for piece in (slice(middle, part.stop), slice(part.start, middle)) if piece.stop > piece.start]


def _blank(shape: Sequence[Any], dtype: np.dtype[Any]) -> Values:
    """What a lost row gets, [1, *shape]: NaN, where the type has it."""
    return np.full((1, *shape), np.nan if np.issubdtype(dtype, np.inexact) else 0, dtype)
