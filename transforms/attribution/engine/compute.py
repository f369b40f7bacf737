"""The kernel's programs over any number of rows: in calls that fit, padded, and halved where one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.batching import OUT_OF_MEMORY, Batching
from transforms.attribution.engine.kernel import Kernel, Paths, Shape, round_up
from transforms.attribution.engine.refusals import REFUSED, Refusals, no_faults
from transforms.attribution.engine.work import stacked
from transforms.attribution.explanation import LOST, Faults
from transforms.attribution.model.layers import Layer
from transforms.errors import Fault

Values = npt.NDArray[Any]
# Rows of a call that must always be full: few, for a batch or a level of it leaves that many to pad
ROWS = 64
Program = Callable[[list[Values]], list[Values]]
Run = Callable[[], list[Values]]
# What a call gives; why its only row is lost; None where it is to be done again in halves
Found = list[Values] | Fault | None


class Compute:
    """One kernel at the batch size of the day.

    Each method also tells which rows were lost, and why: those that do not even fit alone, and those whose values the
    model refuses. What it computes of them is NaN.

    Attributes:
        exact: every call has all its points, so that a row's bits do not depend on what else is computed; otherwise
            a call that cannot be filled is padded by an eighth at most: few shapes, for which operations keep plans.

    Args:
        turn: held during each call: a `Turn` of the accelerator; anything for the CPU, which takes several at once.
        refusals: of the model, for all shapes.
    """

    def __init__(
        self,
        kernel: Kernel,
        batching: Batching,
        exact: bool,
        turn: AbstractContextManager[Any],
        refusals: Refusals,
    ) -> None:
        self.kernel, self.batching, self._refusals = kernel, batching, refusals
        self.exact, self._turn = exact or bool(kernel.model.batch), turn

    def forward(self, inputs: Sequence[Values]) -> tuple[list[Values], Values, Faults]:
        """What the head takes, one [rows, *shape] for each of its inputs; F, [rows, classes]; faults, [rows]."""

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
        *heads, table, faults = self._by_rows("forward", program, inputs, [*blanks, table])
        return heads, table, faults

    def project(self, layer: Layer, sources: Sequence[Values], shape: Shape) -> tuple[Values, Faults]:
        """The value of a layer, [rows, *shape], where the model's own inputs are `sources`; faults, [rows]."""
        blank = _blank(shape, layer.dtype)
        value, faults = self._by_rows("project", lambda rows: [layer.values(rows)], sources, [blank])
        return value, faults

    def pull_back(self, gradients: Sequence[Values]) -> tuple[list[Values], Faults]:
        """As the kernel's; faults, [rows]."""
        if not self.kernel.stem:
            return list(gradients), no_faults(len(gradients[0]))
        blanks = [
            _blank(value.shape[1:] if None in spec.shape else spec.shape, spec.point_dtype)
            for spec, value in zip(self.kernel.model.explained, gradients, strict=True)
        ]
        *values, faults = self._by_rows("pull_back", self.kernel.pull_back, gradients, blanks)
        return values, faults

    def gradients(self, paths: Paths) -> tuple[list[Values], Faults]:
        """As the kernel's, over all slots; faults, [slots]."""
        pieces, todo, faults = [], [slice(0, len(paths.target))], no_faults(len(paths.target))
        nodes = paths.nodes.shape[1]
        while todo:
            part = todo.pop()
            slots, most = part.stop - part.start, max(1, self.batching.points // nodes)
            some = paths.slots(part)
            found = self._slots(some, most) if slots <= most else None
            if found is None:
                todo += _halved(part, most)
            elif isinstance(found, Fault):
                faults[part] = found
                pieces.append(self._lost_slot(some))
            else:
                pieces.append(found)
        return [stacked(values) for values in zip(*pieces, strict=True)], faults

    def _slots(self, paths: Paths, most: int) -> Found:
        return self._one_slot(paths) if len(paths.target) == most == 1 else self._attempt(paths, most)

    def _one_slot(self, paths: Paths) -> list[Values] | Fault:
        """The sums of one slot, in halves of its nodes where it does not fit."""
        count, overlap = paths.nodes.shape[1], self.kernel.integrand.overlap
        least = count == 1 + overlap
        if (count <= self.batching.points or least) and (found := self._attempt(paths, 1)) is not None:
            return found
        if least:
            return LOST
        middle = -(-(count - overlap) // 2)
        total = list[Values]()
        for part in (slice(middle, count), slice(0, middle + overlap)):
            found = self._one_slot(paths.of_nodes(part))
            if isinstance(found, Fault):
                return found
            total = [one + other for one, other in zip(total, found, strict=True)] if total else found
        return total

    def _lost_slot(self, paths: Paths) -> list[Values]:
        """As the kernel's gradients of one slot, but NaN."""
        shape, moments = (1, paths.target.shape[1]), (2,) if self.kernel.integrand.moments else ()
        pairs = zip(paths.inputs, self.kernel.heads, strict=True)
        blanks = [np.full((*shape, *moments, *value.shape[1:]), np.nan) for value, spec in pairs if spec.explained]
        return [*blanks, np.full(shape, np.nan)]

    def _attempt(self, paths: Paths, most: int) -> Found:
        """The sums of slots that should fit, at most `most`."""
        slots = len(paths.target)
        padded = paths.padded(self._padding(slots, most))

        def run(fed: Paths) -> list[Values]:
            with self._turn, self.batching.call(fed.points):
                return [value[:slots] for value in self.kernel.gradients(fed)]

        runs = (lambda: run(padded)), (lambda: run(padded.at_zeros()))
        return self._call("gradients", slots == 1, padded.points, *runs)

    def _by_rows(self, name: str, program: Program, values: Sequence[Values], blanks: Sequence[Values]) -> list[Any]:
        """Every output of a program over rows, that of a lost row being a blank, and last why rows are lost."""
        rows = len(values[0])
        pieces, todo, faults = list[Sequence[Values]](), [slice(0, rows)], no_faults(rows)
        while todo:
            part, most = todo.pop(), self._rows_of_call()
            size = part.stop - part.start
            padded = self._padding(size, most)
            fed = [value[part] for value in values]
            found = self._attempt_rows(name, program, fed, padded) if size <= most else None
            if found is None and size == padded == 1:
                found = LOST
            if found is None:
                todo += _halved(part, most)
            elif isinstance(found, Fault):
                faults[part] = found
                pieces.append(blanks)
            else:
                pieces.append(found)
        return [*(np.concatenate(values) for values in zip(*pieces, strict=True)), faults]

    def _attempt_rows(self, name: str, program: Program, values: Sequence[Values], padded: int) -> Found:
        size = len(values[0])

        def run(fed: Sequence[Values]) -> list[Values]:
            with self._turn:
                return [value[:size] for value in program([round_up(value, padded) for value in fed])]

        runs = (lambda: run(values)), (lambda: run([np.zeros_like(value) for value in values]))
        return self._call(name, size == 1, padded, *runs)

    def _call(self, name: str, alone: bool, points: int, run: Run, zeros: Run) -> Found:
        try:
            found = run()
        except REFUSED as error:
            return self._refusals.fault(name, error, zeros) if alone else None
        except OUT_OF_MEMORY as error:
            self._ran_out(points, error)
            return None
        self._refusals.computed(name)
        return found

    def _rows_of_call(self) -> int:
        fixed = self.exact and not self.kernel.model.batch
        return min(ROWS, self.batching.points) if fixed else self.batching.points

    def _ran_out(self, points: int, error: BaseException) -> None:
        if self.kernel.model.batch:
            raise error  # the model takes no other number
        self.batching.ran_out(points, error)

    def _padding(self, size: int, most: int) -> int:
        step = 1 << max(1, (size - 1).bit_length() - 4)
        return max(size, most if self.exact else min(most, -(-size // step) * step))


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
