"""How far the maps of a row lie apart: rank correlation, cosine, relative L1 distance, drift.

Maps come flat: the values of all rows one after another, with the row of each, so that rows may have their own lengths.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.records.values import Doubles

Rows = npt.NDArray[np.int64]
NAMES = ("spearman", "cosine", "relative_l1", "drift")


@dataclasses.dataclass(frozen=True, eq=False)
class FlatPairs:
    """Two maps of each of some rows, value by value.

    Attributes:
        a, b: float64 [values].
        rows: of each value, int64 [values].
        features: what each value is counted to, int64 [values].
        count: rows, with those that have no value.
    """

    a: Doubles
    b: Doubles
    rows: Rows
    features: Rows
    count: int

    def sums(self, values: Doubles) -> Doubles:
        """Of each row, float64 [rows]."""
        return np.bincount(self.rows, values, self.count).astype(np.float64)

    def shares(self, size: int) -> tuple[Doubles, Doubles]:
        """Of each row, what part of Σ|A| each feature has: twice float64 [rows, size]; of a map of zeros, 0."""
        return tuple(self._shares(values, size) for values in (self.a, self.b))  # type: ignore[return-value]

    def _shares(self, values: Doubles, size: int) -> Doubles:
        found = np.bincount(self.rows * size + self.features, np.abs(values), self.count * size)
        by_row = found.astype(np.float64).reshape(self.count, size)
        return _ratio(by_row, self.sums(np.abs(values))[:, np.newaxis], 0.0)


def measure(pairs: FlatPairs) -> dict[str, Doubles]:
    """By name, float64 [rows]; NaN where a row has none.

    - `spearman`: Pearson's correlation of the ranks of the values, equal ones with their mean rank; none where all
      values of a map are equal.
    - `cosine`: A·B / (‖A‖₂ ‖B‖₂); none where a map is zero throughout.
    - `relative_l1`: Σ|B − A| / Σ|A|; none where only A is zero throughout.
    - `drift`: ½ Σ |B/Σ|B| − A/Σ|A||, the total variation distance of the two maps, each scaled to Σ|A| = 1: 0 for the
      same map up to a positive factor, 1 where no feature has the same sign in both, or one map only is zero.
    """
    a, b = pairs.a, pairs.b
    size_a, size_b, apart = pairs.sums(np.abs(a)), pairs.sums(np.abs(b)), pairs.sums(np.abs(b - a))
    return {
        "spearman": _correlation(_ranks(a, pairs.rows), _ranks(b, pairs.rows), pairs),
        "cosine": _cosine(a, b, pairs),
        "relative_l1": np.where(apart == 0, 0.0, _ratio(apart, size_a, np.nan)),
        "drift": _drift(pairs, size_a, size_b),
    }


def _drift(pairs: FlatPairs, size_a: Doubles, size_b: Doubles) -> Doubles:
    scaled = [_ratio(values, size[pairs.rows], 0.0) for values, size in ((pairs.a, size_a), (pairs.b, size_b))]
    apart = pairs.sums(np.abs(scaled[1] - scaled[0])) / 2
    return np.where((size_a == 0) != (size_b == 0), 1.0, np.minimum(apart, 1.0))


def _cosine(a: Doubles, b: Doubles, pairs: FlatPairs) -> Doubles:
    """Of maps scaled by their largest value, whose squares neither vanish nor overflow."""
    a, b = (_ratio(values, _largest(values, pairs)[pairs.rows], 0.0) for values in (a, b))
    squares = pairs.sums(a * a) * pairs.sums(b * b)
    return np.clip(_ratio(pairs.sums(a * b), np.sqrt(squares), np.nan), -1.0, 1.0)


def _correlation(a: Doubles, b: Doubles, pairs: FlatPairs) -> Doubles:
    counts = np.maximum(np.bincount(pairs.rows, minlength=pairs.count), 1)
    a, b = (values - (pairs.sums(values) / counts)[pairs.rows] for values in (a, b))
    squares = pairs.sums(a * a) * pairs.sums(b * b)
    return np.clip(_ratio(pairs.sums(a * b), np.sqrt(squares), np.nan), -1.0, 1.0)


def _ranks(values: Doubles, rows: Rows) -> Doubles:
    """The rank of each value among those of its row, from 0; equal ones have their mean."""
    if not len(values):
        return np.zeros(0)
    order = np.lexsort((values, rows))
    ordered, row = values[order], rows[order]
    begins = np.r_[True, (ordered[1:] != ordered[:-1]) | (row[1:] != row[:-1])]
    ties = np.cumsum(begins) - 1
    within = np.arange(len(values)) - np.searchsorted(row, row)
    found = np.empty(len(values))
    found[order] = (np.bincount(ties, within) / np.bincount(ties))[ties]
    return found


def _largest(values: Doubles, pairs: FlatPairs) -> Doubles:
    found = np.zeros(pairs.count)
    np.maximum.at(found, pairs.rows, np.abs(values))
    return found


def _ratio(above: Doubles, below: Doubles, otherwise: float) -> Doubles:
    """A quotient, and something else where there is none."""
    zero = below == 0
    return np.asarray(np.where(zero, otherwise, above / np.where(zero, 1.0, below)))
