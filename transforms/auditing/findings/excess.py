"""How much more of the map a part has in the rows of one value than in all others of the slice."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.auditing.findings.parts import OTHER, SliceParts
from transforms.auditing.findings.statistics import (
    MIN_ROWS,
    Doubles,
    Interval,
    Moments,
    difference_interval,
    student_quantile,
)

# Three degrees of freedom: with fewer, the interval spans everything
LEAST_OTHERS = 4


@dataclasses.dataclass(frozen=True)
class Excess:
    """Share in the rows of a value less that in the others.

    Attributes:
        shares: what it is of.
        others: of the rows of all other values, [values, parts].
        interval: of the difference.
    """

    shares: SliceParts
    others: Moments
    interval: Interval

    def hits(self, least: float, times: float) -> npt.NDArray[np.int64]:
        """Where a part has surely `least` more of the map here, and `times` what it has in the others: [hits, 2]."""
        mean = self.shares.moments.mean
        with np.errstate(invalid="ignore"):
            sure = (self.interval.low >= least) & (mean >= times * self.others.mean)
        return np.argwhere(sure & self._told())

    def unlike_others(self, alpha: float) -> npt.NDArray[np.bool_]:
        """Where a value is beyond what one more of its kind may have, going by how the others differ among themselves.

        The upper end of the prediction interval for one value more, [values, parts]; of fewer than five values no
        spread can be told, and nothing is unlike.
        """
        mean, usual = self.shares.moments.mean, self._told() & (self.shares.moments.rows >= MIN_ROWS)
        others = Moments(usual.astype(np.float64), mean, np.zeros_like(mean)).others()
        few = others.rows < LEAST_OTHERS
        reach = student_quantile(np.where(few, LEAST_OTHERS, others.rows) - 1, alpha / max(self.shares.tests, 1))
        end = others.mean + reach * np.sqrt(others.variance * (1 + 1 / others.rows))
        return ~few & (mean > end)

    def differences(self, least: float) -> npt.NDArray[np.int64]:
        """Where the share is surely `least` more or less: [hits, 2]."""
        with np.errstate(invalid="ignore"):
            return np.argwhere((self.nearer() >= least) & self._told())

    def nearer(self) -> Doubles:
        """The end of each interval that is nearer to 0, as a distance; below 0 where 0 lies within."""
        return np.fmax(self.interval.low, -self.interval.high)

    def _told(self) -> npt.NDArray[np.bool_]:
        return np.array([[value != OTHER] for value in self.shares.values], dtype=bool)


def excess(shares: SliceParts, alpha: float) -> Excess:
    """Of each value and part; `alpha` is shared by all that was tested."""
    moments = shares.moments
    others = moments.others()
    interval = difference_interval(moments.as_shares(), others.as_shares(), alpha / max(shares.tests, 1))
    return Excess(shares, others, interval)
