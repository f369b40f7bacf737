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

from transforms.auditing.grouping import Array, Grouping, blocks
from transforms.auditing.part_columns import Floats, Mask
from transforms.auditing.slicing import Codes

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

    def positions(self, values: Floats, columns: slice) -> npt.NDArray[np.int32]:
        """float32 [columns, rows], of some of the columns → the bucket of each."""
        bits = np.ascontiguousarray(values).view(np.int32)
        sign = bits >> 31
        key = (bits & np.int32(0x7FFFFFFF)) >> np.int32(MANTISSA - self.bits)
        key -= self.least[columns, np.newaxis] - np.int32(1)
        np.maximum(key, 0, out=key)
        np.minimum(key, self.half, out=key)
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
        """Count float32 [columns, rows], in the order of the grouping's cells."""
        if not values.size:
            return
        # a table of all cells would be far larger than the values are many
        joined = grouping.joined(values.shape[1] // (2 * self.buckets.count))
        for some in blocks(values):
            places = self.buckets.positions(values[some], some).astype(np.intp)
            places += np.arange(len(places))[:, np.newaxis] * self.buckets.count
            for of_row, kinds in joined:
                own = self._counted(places, None if valid is None else valid[some], of_row)
                for fold, coarser, ranks in kinds:
                    part = np.zeros((len(fold.slices), *own.shape[1:]), np.int64)
                    _put(part, ranks, own)
                    self.counts[fold.slices, some] += part
                    for other in coarser:
                        _put(self.counts[:, some], other.of_cell, part)

    def _counted(self, places: Array, valid: Mask | None, of_row: Codes) -> Array:
        """[columns, rows] of buckets → [groups of rows, columns, buckets]."""
        shape = int(of_row.max()) + 1, len(places), self.buckets.count
        size = shape[1] * shape[2]
        chosen = places + of_row * size
        flat = chosen.ravel() if valid is None else chosen[valid]
        return np.bincount(flat, minlength=shape[0] * size).reshape(shape)

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


def _put(counts: Array, slices: Codes, own: Array) -> None:
    """Add the counts of each slice where they belong; −1: nowhere."""
    for place, part in zip(slices.tolist(), own, strict=True):
        if place >= 0:
            counts[place] += part
