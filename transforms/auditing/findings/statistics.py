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
        """The same with two rows more in each group, one of 0 and one of 1: Agresti and Coull do so for proportions.

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
    """What |t| exceeds with the chance `alpha`, within 1e-3 relative, from 3 degrees of freedom on.

    Source: Hill, "Algorithm 396: Student's t-quantiles", Communications of the ACM 13, 1970.
    """
    n, z = freedom, NormalDist().inv_cdf(alpha / 2)
    a = 1 / (n - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * np.sqrt(a * np.pi / 2) * n
    y = (d * alpha) ** (2 / n)
    e = (((0.05 * d * z - 5) * z - 7) * z - 2) * z + b + np.where(n < 5, c + 0.3 * (n - 4.5) * (z + 0.6), c)
    x = (((((0.4 * z**2 + 6.3) * z**2 + 36) * z**2 + 94.5) / e - z**2 - 3) / b + 1) * z
    middle = np.expm1(a * x**2)
    tail = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1)
    found: Doubles = np.sqrt(n * np.where(y > 0.05 + a, middle, tail / (n + 2) + 1 / y))
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
