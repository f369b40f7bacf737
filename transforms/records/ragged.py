"""Rows of different lengths: kept one after another, and filled up to a length where a model wants them in a block."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Lengths = npt.NDArray[np.int64]
SHORTEST = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Ragged:
    """Rows of different lengths.

    Attributes:
        values: the steps of all rows, one row after another, [Σ lengths, *shape].
        lengths: steps of each row, int64 [rows].
    """

    values: Values
    lengths: Lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, rows: npt.NDArray[Any]) -> Ragged:
        """Some rows, by mask or by position."""
        lengths = self.lengths[rows]
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        return Ragged(self.values[np.arange(lengths.sum()) + shifts], lengths)

    def padded(self, length: int, pad: float) -> Values:
        """Every row filled up at its end, [rows, length, *shape]."""
        block = np.full((len(self), length, *self.values.shape[1:]), pad, self.values.dtype)
        block[np.arange(length) < self.lengths[:, np.newaxis]] = self.values
        return block


def padded_lengths(most: int) -> npt.NDArray[np.int64]:
    """The lengths that rows are filled up to: 16, 24, 32, 48, 64, … and `most`, which none exceeds.

    Few, for each is a program of its own; and near enough to each other that at most a third of a row is padding,
    unless it has fewer than 16 steps.
    """
    powers = SHORTEST * 2 ** np.arange(max(1, most).bit_length())
    ladder = np.sort(np.concatenate([powers, powers // 2 * 3]))
    return np.append(ladder[ladder < most], most)


def padded_length(lengths: Lengths, most: int) -> Lengths:
    """The least of the `padded_lengths` that each length, of at most `most`, fits into."""
    ladder = padded_lengths(most)
    return ladder[np.searchsorted(ladder, lengths)]
