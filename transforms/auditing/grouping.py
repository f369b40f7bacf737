"""Sums over slices: rows are summed once by the combination of values that they have, then combinations by slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.auditing.slicing import Coded, Codes, Slice, cells

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class _Fold:
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
    folds: tuple[_Fold, ...]

    @classmethod
    def everything(cls, rows: int) -> Grouping:
        """All rows in slice 0."""
        first = np.zeros(min(rows, 1), np.int64)
        return cls(None, first, np.zeros(rows, np.int64), (_Fold(first, first, first, first),))

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
        """[rows, ...] in the order of the cells."""
        return values if self.order is None else values[self.order]

    def by_cell(self, ufunc: np.ufunc, values: Array, dtype: Any = None) -> Array:
        """[rows, ...] in the order of the cells → [cells, ...]."""
        return np.asarray(ufunc.reduceat(values, self.starts, axis=0, dtype=dtype))

    def slices_of_cells(self) -> list[Codes]:
        """By kind of slice, the slice of each cell; −1: none."""
        return [fold.of_cell for fold in self.folds]

    def rows_of_cells(self) -> Codes:
        """How many rows each cell has."""
        return np.asarray(np.diff(self.starts, append=len(self.cell)))

    def derived(self) -> list[tuple[int, list[int]]]:
        """Kinds of slices that have to be counted, and by each the kinds whose counts are sums of its own: each of its
        slices, which all rows are in, lies in one of theirs."""
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
        return found

    def into(self, slices: Array, ufunc: np.ufunc, by_cell: Array) -> None:
        """Add [cells, ...] to [slices, ...], by that function."""
        if not len(by_cell):
            return
        for fold in self.folds:
            if len(fold.starts):
                found = ufunc.reduceat(by_cell[fold.order], fold.starts, axis=0)
                slices[fold.slices] = ufunc(slices[fold.slices], found)


def slice_codes(columns: Mapping[str, Coded], index: Mapping[Slice, int], other: Mapping[str, int]) -> list[Codes]:
    """By kind, the slice of each row; −1: none.

    Args:
        index: of the slices, which each is.
        other: by kind, the slice of the values that are none of those.
    """
    found = []
    for kind, column in columns.items():
        slices = [index.get((kind, value), other.get(kind, -1)) for value in column.values]
        found.append(np.array([*slices, -1])[column.codes])
    return found


def _fold(column: Codes) -> _Fold:
    order = np.argsort(column, kind="stable")
    order = order[column[order] >= 0]
    starts = _starts(column[order])
    return _Fold(order, starts, column[order][starts], column)


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
