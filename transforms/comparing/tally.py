"""What is known of some pairs of rows, added up: counts, distributions, importances by slice, the rows moved most."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from transforms.comparing.histogram import Histogram
from transforms.comparing.significance import PairedMoments
from transforms.comparing.slices import Slice, fold
from transforms.records.values import Doubles

# Rows that moved most which are kept.
MOVED = 100


@dataclasses.dataclass(frozen=True, eq=False)
class SliceTally:
    """Of one slice.

    Attributes:
        rows: pairs, with those that cannot be measured.
        shares: each feature's part of Σ|A| of a row, in the one run and in the other.
        drift: of the rows; the first of the two values is 0.
        outputs: F(x) in the one run and in the other.
        predicted, predicted_changed: rows of which both predictions are known; of those, that have two different ones.
        status_changed: rows with two different statuses.
    """

    rows: int
    shares: PairedMoments
    drift: PairedMoments
    outputs: PairedMoments
    predicted: int
    predicted_changed: int
    status_changed: int

    def __add__(self, other: SliceTally) -> SliceTally:
        """Of the rows of both."""
        return SliceTally(
            self.rows + other.rows,
            self.shares + other.shares,
            self.drift + other.drift,
            self.outputs + other.outputs,
            self.predicted + other.predicted,
            self.predicted_changed + other.predicted_changed,
            self.status_changed + other.status_changed,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Tally:
    """Of all pairs.

    Attributes:
        counts: `pairs`, `measured`, `only_a`, `only_b`, `other_target`, `other_length`, `nonfinite`.
        statuses: how many pairs have these two.
        histograms: by measure; of `relative_l1` r, r / (1 + r).
        moved: the `MOVED` rows with the largest drift; None before the first row.
    """

    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    statuses: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    histograms: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    slices: Mapping[Slice, SliceTally] = dataclasses.field(default_factory=dict)
    moved: pa.Table | None = None

    def __add__(self, other: Tally) -> Tally:
        """Of the pairs of both."""
        histograms = dict(self.histograms)
        for name, histogram in other.histograms.items():
            histograms[name] = histograms[name] + histogram if name in histograms else histogram
        tables = [table for table in (self.moved, other.moved) if table is not None]
        return Tally(
            self.counts + other.counts,
            self.statuses + other.statuses,
            histograms,
            fold([*self.slices.items(), *other.slices.items()]),
            most_moved(pa.concat_tables(tables)) if tables else None,
        )


def most_moved(rows: pa.Table) -> pa.Table:
    """The rows with the largest drift, of equal ones those whose ids come first."""
    known = rows.filter(rows["drift"].is_valid())
    return known.sort_by([("drift", "descending"), ("row_id", "ascending"), ("target", "ascending")]).slice(0, MOVED)


def histograms(measured: Mapping[str, Doubles]) -> dict[str, Histogram]:
    """Of the measures of some rows, by name."""
    distance = measured["relative_l1"]
    return {
        "spearman": Histogram.of(measured["spearman"], -1, 1),
        "cosine": Histogram.of(measured["cosine"], -1, 1),
        "relative_l1": Histogram.of(np.where(np.isnan(distance), np.nan, distance / (1 + distance)), 0, 1),
        "drift": Histogram.of(measured["drift"], 0, 1),
    }
