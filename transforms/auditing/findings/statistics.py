"""Intervals of means and shares, from the mean, the variance and the number of rows that a table holds.

An interval is given at `alpha`, the chance that it misses. Many are tested at once, so each gets its part of the chance
(Bonferroni): then all of them hold together, which Holm's steps would give for decisions, but not for intervals.
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

# Below, the mean of skewed values is not yet near normal: nothing is said of so few rows
MIN_ROWS = 30


class Interval(NamedTuple):
    """Both ends; NaN where there are too few rows to say."""

    low: Doubles
    high: Doubles


@dataclasses.dataclass(frozen=True)
class Moments:
    """Of some groups of rows, arrays of one shape or such as broadcast to one.

    Attributes:
        rows: their number.
        mean: of their values.
        variance: the sample's, divisor rows − 1.
    """

    rows: Doubles
    mean: Doubles
    variance: Doubles

    def __getitem__(self, chosen: Any) -> Moments:
        return Moments(self.rows[chosen], self.mean[chosen], self.variance[chosen])

    def together(self) -> Moments:
        """All groups along the first axis as one."""
        return _of_sums(*(part.sum(axis=0) for part in self._sums()))

    def others(self) -> Moments:
        """For each group along the first axis, all the others as one."""
        return _of_sums(*(part.sum(axis=0) - part for part in self._sums()))

    def as_shares(self) -> Moments:
        """The same with two rows more in each group, one of 0 and one of 1, as Agresti and Coull have it for proportions.

        A few rows that happen to have one share would else have an interval without width.
        """
        rows, sums, squares = self._sums()
        return _of_sums(rows + 2, sums + 1, squares + 1)

    def error(self) -> Doubles:
        """The variance of the mean."""
        return np.asarray(self.variance / self.rows)

    def _sums(self) -> tuple[Doubles, Doubles, Doubles]:
        spread = np.where(self.rows > 1, self.variance, 0.0) * (self.rows - 1)
        rows = np.broadcast_to(self.rows, np.broadcast_shapes(self.rows.shape, self.mean.shape))
        return rows, rows * self.mean, spread + rows * self.mean**2


def mean_interval(moments: Moments, alpha: float) -> Interval:
    """Of each mean, by Student's t."""
    return around(moments.mean, moments.error(), moments.rows, alpha)


def difference_interval(first: Moments, second: Moments, alpha: float) -> Interval:
    """Of first mean − second mean, the variances being different (Welch); with the smaller group's degrees of freedom,
    which are fewer than Welch's."""
    rows = np.minimum(first.rows, second.rows)
    return around(first.mean - second.mean, first.error() + second.error(), rows, alpha)


def around(value: Doubles, error: Doubles, rows: Doubles, alpha: float) -> Interval:
    """value ± t √error, where `error` is the variance of `value` and t has rows − 1 degrees of freedom."""
    enough = rows >= MIN_ROWS
    reach = student_quantile(np.where(enough, rows, MIN_ROWS) - 1, alpha) * np.sqrt(error)
    return Interval(np.where(enough, value - reach, np.nan), np.where(enough, value + reach, np.nan))


def student_quantile(freedom: Doubles, alpha: float) -> Doubles:
    """What |t| exceeds with the chance `alpha`, within 1e-3 relative from 29 degrees of freedom on, for alpha ≥ 1e-8.

    Source: Abramowitz, Stegun, "Handbook of Mathematical Functions", 26.7.5.
    """
    z = -NormalDist().inv_cdf(alpha / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    found: Doubles = z + sum(term / freedom**power for power, term in enumerate(terms, 1))
    return found


def proportion_interval(hits: Doubles, rows: Doubles, alpha: float) -> Interval:
    """Of hits / rows (Wilson, JASA 1927); it has a width even where no row, or every row, is a hit."""
    z2 = NormalDist().inv_cdf(alpha / 2) ** 2
    centre = (hits + z2 / 2) / (rows + z2)
    reach = np.sqrt(z2 * (hits * (rows - hits) / rows + z2 / 4)) / (rows + z2)
    return Interval(np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1))


def _of_sums(rows: Doubles, sums: Doubles, squares: Doubles) -> Moments:
    """From the number, the sum and the sum of squares; NaN of no row."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums / rows
        # rounding can leave less than nothing where all values are one
        variance = np.maximum(squares - rows * mean**2, 0.0) / (rows - 1)
    return Moments(rows, mean, variance)
