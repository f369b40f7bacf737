"""A quantile sketch of many columns at once: counts in buckets between floats that share their leading bits.

The buckets are those of DDSketch (https://arxiv.org/abs/1908.10693) with the logarithm replaced by the float32's own
bits: 2^bits to an octave, over the octaves below the column's largest magnitude, for each sign, and one for what is
smaller. Counts add, so that merging is exact and in any order. A quantile is off by at most `relative_error` of itself,
or where it is smaller than the largest magnitude by the octaves, by what is so small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.auditing.grouping import Array, Grouping
from transforms.auditing.part_columns import Floats, Mask

MANTISSA = 23
Doubles = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Buckets:
    """Of some columns.

    Attributes:
        bits: 2^bits buckets to an octave.
        octaves: below the largest magnitude.
        least: the key of each column's first bucket beside zero, [columns].
    """

    bits: int
    octaves: int
    least: npt.NDArray[np.int32]

    @classmethod
    def below(cls, largest: Floats, bits: int, octaves: int) -> Buckets:
        """For columns whose largest magnitudes are known, float32 [columns]."""
        exponents = np.ascontiguousarray(largest, np.float32).view(np.int32) >> MANTISSA
        least = ((exponents + 1) << bits) - (octaves << bits)
        return cls(bits, octaves, np.maximum(least, 1).astype(np.int32))

    @property
    def half(self) -> int:
        """Buckets of one sign."""
        return self.octaves << self.bits

    @property
    def count(self) -> int:
        """Buckets of a column: the negative ones, zero, the positive ones; they rise."""
        return 2 * self.half + 1

    @property
    def relative_error(self) -> float:
        """The largest distance of a value from the middle of its bucket, relative to the value."""
        return 1.0 / ((2 << self.bits) + 1)

    def positions(self, values: Floats) -> npt.NDArray[np.int32]:
        """float32 [rows, columns] → the bucket of each."""
        bits = np.ascontiguousarray(values).view(np.int32)
        sign = bits >> 31
        key = (bits & np.int32(0x7FFFFFFF)) >> np.int32(MANTISSA - self.bits)
        key -= self.least - np.int32(1)
        np.clip(key, 0, self.half, out=key)
        key ^= sign
        key -= sign
        return np.asarray(key + np.int32(self.half))

    def edges(self) -> tuple[Doubles, Doubles]:
        """The magnitudes between which each bucket of one sign is, each [columns, half]."""
        keys = self.least[:, np.newaxis].astype(np.int64) + np.arange(self.half + 1)
        keys = np.minimum(keys, 255 << self.bits) << (MANTISSA - self.bits)
        edges = keys.astype(np.int32).view(np.float32).astype(np.float64)
        return edges[:, :-1], edges[:, 1:]


class Sketch:
    """The counts of some columns by slice.

    Args:
        buckets: of the columns.
        slices: how many slices there are.
    """

    def __init__(self, buckets: Buckets, slices: int) -> None:
        self.buckets = buckets
        self.counts = np.zeros((slices, len(buckets.least), buckets.count), np.int64)

    def add(self, values: Floats, valid: Mask | None, grouping: Grouping) -> None:
        """Count float32 [rows, columns], in the order of the grouping's cells."""
        columns, count = len(self.buckets.least), self.buckets.count
        places = self.buckets.positions(values) + np.arange(columns) * count
        size, folds = columns * count, grouping.folds
        # by one kind after another: a table of all cells would be far larger than the values are many
        for kind, coarser in grouping.derived():
            fold = folds[kind]
            number = np.full(len(self.counts) + 1, -1)
            number[fold.slices] = np.arange(len(fold.slices))
            of_row = number[fold.of_cell][grouping.cell][:, np.newaxis]
            counted = of_row >= 0 if valid is None else (of_row >= 0) & valid
            chosen = places + of_row * size
            flat = chosen.ravel() if counted.all() else chosen[np.broadcast_to(counted, chosen.shape)]
            own = np.bincount(flat, minlength=len(fold.slices) * size).reshape(len(fold.slices), columns, count)
            self.counts[fold.slices] += own
            first = fold.order[fold.starts]
            for other in coarser:
                into = folds[other].of_cell[first]
                for place, part in zip(into.tolist(), own, strict=True):
                    if place >= 0:
                        self.counts[place] += part

    def merge(self, other: Sketch) -> None:
        """Count what another one counted."""
        self.counts += other.counts

    def quantiles(self, shares: Sequence[float]) -> Doubles:
        """The values below or at which those shares of the rows are, [shares, slices, columns]; NaN without rows.

        Of n values the one that has floor(share × (n − 1)) others before it (`method="lower"` of numpy.quantile).
        """
        rising, middles = np.cumsum(self.counts, axis=2), self._middles()
        total = rising[:, :, -1]
        found = np.full((len(shares), *total.shape), np.nan)
        for share, values in zip(shares, found, strict=True):
            rank = np.floor(share * (total - 1))
            place = np.minimum((rising <= rank[:, :, np.newaxis]).sum(axis=2), self.buckets.count - 1)
            values[:] = np.where(total > 0, middles[np.arange(len(middles)), place], np.nan)
        return found

    def _middles(self) -> Array:
        low, high = self.buckets.edges()
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = np.where(low + high > 0, 2 * low * high / (low + high), 0.0)
        return np.concatenate([-middle[:, ::-1], np.zeros((len(low), 1)), middle], axis=1)
