"""Counts, sums and extremes of many columns by slice, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.auditing.grouping import Array, Grouping, blocks
from transforms.auditing.part_columns import Mask

Doubles = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]]


class Moments:
    """By slice and column: how many values, their mean, mean magnitude, variance, least and largest.

    Values are summed less a constant near their mean, the same one in all parts, so that a variance that is small
    beside the mean keeps its digits, and sums of parts just add up.

    Args:
        shift: that constant, float64 [columns].
        slices: how many there are.
    """

    def __init__(self, shift: Doubles, slices: int) -> None:
        shape = slices, len(shift)
        self.shift = shift
        self.rows = np.zeros(shape, np.int64)
        self._sum, self._square, self._size = np.zeros((3, *shape))
        self.least, self.largest = np.full(shape, np.inf), np.full(shape, -np.inf)

    def add(self, values: Values, valid: Mask | None, grouping: Grouping) -> None:
        """Add [columns, rows], in the order of the grouping's cells; those that are not valid are 0."""
        if not values.size:
            return
        self._count(values, valid, grouping)
        size, total, square = np.empty((3, len(values), len(grouping.starts)))
        for some in blocks(values):
            exact = values[some].astype(np.float64)
            size[some] = grouping.by_cell(np.add, np.abs(exact))
            exact -= self.shift[some, np.newaxis]
            if valid is not None:
                exact *= valid[some]
            total[some] = grouping.by_cell(np.add, exact)
            square[some] = grouping.by_cell(np.add, np.square(exact, out=exact))
        for mine, found in ((self._size, size), (self._sum, total), (self._square, square)):
            grouping.into(mine, np.add, found)
        for extreme, ufunc, none in ((self.least, np.minimum, np.inf), (self.largest, np.maximum, -np.inf)):
            own = values if valid is None else np.where(valid, values, values.dtype.type(none))
            grouping.into(extreme, ufunc, grouping.by_cell(ufunc, own))

    def _count(self, values: Values, valid: Mask | None, grouping: Grouping) -> None:
        alike = grouping.rows_of_cells()[np.newaxis]  # where all are valid, each column has as many
        counts = alike if valid is None else grouping.by_cell(np.add, valid, np.int64)
        grouping.into(self.rows, np.add, counts)

    def merge(self, other: Moments) -> None:
        """Add what another one added."""
        self.rows += other.rows
        self._sum += other._sum
        self._square += other._square
        self._size += other._size
        np.minimum(self.least, other.least, out=self.least)
        np.maximum(self.largest, other.largest, out=self.largest)

    @property
    def mean(self) -> Doubles:
        """NaN without rows; [slices, columns], as the others."""
        return np.asarray(self.shift + ratio(self._sum, self.rows))

    @property
    def mean_abs(self) -> Doubles:
        """Of the magnitudes."""
        return ratio(self._size, self.rows)

    @property
    def variance(self) -> Doubles:
        """Of the sample; NaN with fewer than two rows."""
        return sample_variance(self._sum, self._square, self.rows)


def sample_variance(total: Doubles, square: Doubles, counts: Array) -> Doubles:
    """Out of sums of values and of their squares; NaN with fewer than two values."""
    return np.asarray(np.maximum(ratio(square - total * ratio(total, counts), counts - 1), 0))


def ratio(values: Doubles, counts: Array) -> Doubles:
    """NaN where there is nothing to divide by."""
    return np.asarray(np.divide(values, counts, out=np.full(values.shape, np.nan), where=counts > 0))
