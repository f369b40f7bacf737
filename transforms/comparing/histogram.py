"""Counts of values in equal bins: merged exactly, and quantiles of them within the width of a bin."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.records.values import Doubles

BINS = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Values in [low, high].

    Attributes:
        counts: int64 [bins].
        total: their sum.
        least, largest: of them.
    """

    low: float
    high: float
    counts: npt.NDArray[np.int64]
    total: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Doubles, low: float, high: float) -> Histogram:
        """Of the values [rows] that are numbers."""
        known = values[~np.isnan(values)]
        counts, _ = np.histogram(known, BINS, (low, high))
        ends = float(known.min(initial=high)), float(known.max(initial=low))
        return cls(low, high, counts.astype(np.int64), float(known.sum()), *ends)

    def __add__(self, other: Histogram) -> Histogram:
        """Of the values of both."""
        ends = min(self.least, other.least), max(self.largest, other.largest)
        return Histogram(self.low, self.high, self.counts + other.counts, self.total + other.total, *ends)

    @property
    def rows(self) -> int:
        """How many values there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float | None:
        """Of the values; None of none."""
        return self.total / self.rows if self.rows else None

    def quantile(self, share: float) -> float | None:
        """The middle of the bin that holds the value which at least this share of all do not exceed; None of none."""
        if not self.rows:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), share * self.rows))
        middle = self.low + (place + 0.5) * (self.high - self.low) / BINS
        return min(max(middle, self.least), self.largest)
