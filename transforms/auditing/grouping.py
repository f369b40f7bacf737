"""Sums over slices: rows are summed once by the combination of values that they have, then combinations by slice.

What is summed stands column by column, so that the rows of a combination are next to each other in memory.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.auditing.slicing import Coded, Codes, Slice, cells

Array = npt.NDArray[Any]
# Values that are computed on together: in float64 they fit into the cache of one core.
BLOCK_VALUES = 2**16


@dataclasses.dataclass(frozen=True)
class Fold:
    """How cells are put together into the slices of one kind.

    Attributes:
        order: cells, those of a slice together.
        starts: where each slice's begin.
        slices: which they are.
        of_cell: the slice of each cell; −1: none.
    """

    order: Codes
    starts: Codes
    slices: Codes
    of_cell: Codes

    def add(self, slices: Array, ufunc: np.ufunc, by_cell: Array) -> Array:
        """Add [columns, cells] to [slices, columns], by that function; returns what was added, [columns, slices]."""
        found = ufunc.reduceat(by_cell[:, self.order], self.starts, axis=1)
        slices[self.slices] = ufunc(slices[self.slices], found.T)
        return np.asarray(found)


@dataclasses.dataclass(frozen=True)
class Grouping:
    """Which rows are in which slices.

    Attributes:
        order: rows, those of a cell together; None: as they are.
        starts: where each cell's begin.
        cell: of each row, in that order.
        folds: one for each kind of slice.
    """

    order: Codes | None
    starts: Codes
    cell: Codes
    folds: tuple[Fold, ...]

    @classmethod
    def everything(cls, rows: int) -> Grouping:
        """All rows in slice 0."""
        first = np.zeros(min(rows, 1), np.int64)
        return cls(None, first, np.zeros(rows, np.int64), (Fold(first, first, first, first),))

    @classmethod
    def of(cls, codes: Sequence[Codes]) -> Grouping:
        """By kind of slice, the slice of each row; −1: none of them."""
        if not len(codes[0]):
            return cls.everything(0)
        which, values = cells(codes)
        order = np.argsort(which, kind="stable")
        cell = which[order]
        return cls(order, _starts(cell), cell, tuple(_fold(column) for column in values.T))

    def sorted(self, values: Array) -> Array:
        """[..., rows] in the order of the cells."""
        return values if self.order is None else values.take(self.order, axis=-1)

    def restored(self, values: Array) -> Array:
        """The inverse of `sorted`, [rows]."""
        if self.order is None:
            return values
        found = np.empty_like(values)
        found[self.order] = values
        return found

    def columns(self, values: Array) -> Array:
        """[rows, columns] → [columns, rows] in the order of the cells."""
        found = np.empty(values.shape[::-1], values.dtype)
        for some in pieces(len(values), max(256, BLOCK_VALUES // 2 // max(1, values.shape[1]))):
            found[:, some] = (values[some] if self.order is None else values.take(self.order[some], axis=0)).T
        return found

    def by_cell(self, ufunc: np.ufunc, values: Array, dtype: Any = None) -> Array:
        """[columns, rows] in the order of the cells → [columns, cells]."""
        return np.asarray(ufunc.reduceat(values, self.starts, axis=1, dtype=dtype))

    def slices_of_cells(self) -> list[Codes]:
        """By kind of slice, the slice of each cell; −1: none."""
        return [fold.of_cell for fold in self.folds]

    def rows_of_cells(self) -> Codes:
        """How many rows each cell has."""
        return np.asarray(np.diff(self.starts, append=len(self.cell)))

    @functools.cached_property
    def derived(self) -> list[tuple[Fold, list[Fold]]]:
        """Kinds of slices that have to be counted, and by each the kinds whose counts are sums of its own, as folds of
        its slices: each of them, which all rows are in, lies in one of theirs."""
        kinds = sorted(range(len(self.folds)), key=lambda kind: -len(self.folds[kind].starts))
        found: list[tuple[int, list[int]]] = []
        for kind in kinds:
            own = self.folds[kind].of_cell
            for finer, others in found:
                if _within(self.folds[finer].of_cell, own):
                    others.append(kind)
                    break
            else:
                found.append((kind, []))
        chains = [(self.folds[finer], others) for finer, others in found if len(self.folds[finer].starts)]
        return [
            (fold, [_fold(self.folds[other].of_cell[fold.order[fold.starts]]) for other in others])
            for fold, others in chains
        ]

    def joined(self, most: int) -> list[tuple[Codes, list[tuple[Fold, list[Fold], Codes]]]]:
        """The kinds of `derived`, some together, as long as they have at most so many combinations of slices: which
        combination each row has, and for each of the kinds which of its fold's slices each combination is in; −1: none.
        """
        together: list[tuple[int, list[tuple[Fold, list[Fold]]]]] = []
        for one in self.derived:
            size = len(one[0].slices) + 1
            place = next((place for place, (known, _) in enumerate(together) if known * size <= most), None)
            if place is None:
                together.append((size, [one]))
            else:
                together[place] = together[place][0] * size, [*together[place][1], one]
        found = []
        for _, kinds in together:
            which, slices = cells([fold.of_cell for fold, _ in kinds])
            ranks = [
                np.where(own < 0, -1, np.searchsorted(fold.slices, own))
                for (fold, _), own in zip(kinds, slices.T, strict=True)
            ]
            found.append((which[self.cell], [(*kind, rank) for kind, rank in zip(kinds, ranks, strict=True)]))
        return found

    def into(self, slices: Array, ufunc: np.ufunc, by_cell: Array) -> None:
        """Add [columns, cells] to [slices, columns], by that function."""
        for fold, coarser in self.derived if by_cell.size else ():
            found = fold.add(slices, ufunc, by_cell)
            for other in coarser:
                if len(other.starts):
                    other.add(slices, ufunc, found)


def pieces(count: int, step: int) -> Iterator[slice]:
    """0 … count in pieces of at most so many."""
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def blocks(values: Array) -> Iterator[slice]:
    """The columns of [columns, rows], as many at a time as are computed on together."""
    return pieces(len(values), max(1, BLOCK_VALUES // max(1, values.shape[1])))


def slice_codes(columns: Mapping[str, Coded], index: Mapping[Slice, int], other: Mapping[str, int]) -> list[Codes]:
    """By kind, the slice of each row; −1: none.

    Args:
        index: of the slices, which each is.
        other: by kind, the slice of the values that are none of those.
    """
    found = []
    for kind, column in columns.items():
        slices = [index.get((kind, value), other.get(kind, -1)) for value in column.values]
        found.append(np.array([*slices, -1]).take(column.codes))
    return found


def _fold(column: Codes) -> Fold:
    order = np.argsort(column, kind="stable")
    order = order[column[order] >= 0]
    starts = _starts(column[order])
    return Fold(order, starts, column[order][starts], column)


def _within(finer: Codes, coarser: Codes) -> bool:
    """Whether what is in a slice of the one is all in one slice of the other, and every cell is in one of the finer."""
    if (finer < 0).any():
        return False
    first = np.zeros(int(finer.max(initial=0)) + 1, np.int64)
    first[finer] = coarser
    return bool((first[finer] == coarser).all())


def _starts(rising: Codes) -> Codes:
    """Where each value of a rising array is first."""
    return np.flatnonzero(np.diff(rising, prepend=-1)).astype(np.int64)
