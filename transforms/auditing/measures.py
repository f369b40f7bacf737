"""What is said of each row beside its attributions: delta, error estimate, steps and the rest, by slice."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.auditing.grouping import Grouping
from transforms.auditing.moments import Moments
from transforms.auditing.part_columns import Floats, Mask
from transforms.auditing.sketch import Buckets, Sketch
from transforms.records.part import STATUSES

SKETCHED = ("relative_delta", "error_estimate", "steps")
MEASURES = (*SKETCHED, "blind_share", "output", "baseline_output", "delta")
LINEAR = ("steps", "blind_share", "output")
LOGARITHMIC = ("relative_delta", "error_estimate")
BINS = 40
# Relative deltas and estimates span more octaves than a map does.
OCTAVES = 40
Doubles = npt.NDArray[np.float64]


def measures(table: pa.Table) -> tuple[Floats, Mask | None]:
    """float32 [measures, rows], 0 where there is no number, and where there is one (None: everywhere)."""
    found = np.stack([table[name].cast(pa.float32(), safe=False).to_numpy() for name in MEASURES])
    valid = np.isfinite(found)
    return (found, None) if valid.all() else (np.where(valid, found, np.float32(0)), valid)


class Ranges:
    """The least and largest of each measure over all rows."""

    def __init__(self) -> None:
        self.least = np.full(len(MEASURES), np.inf, np.float32)
        self.largest = np.full(len(MEASURES), -np.inf, np.float32)

    def add(self, values: Floats, valid: Mask | None) -> None:
        """Look at rows [measures, rows]."""
        there = True if valid is None else valid
        self.least = np.minimum(self.least, values.min(axis=1, initial=np.inf, where=there))
        self.largest = np.maximum(self.largest, values.max(axis=1, initial=-np.inf, where=there))

    def merge(self, other: Ranges) -> None:
        """Look at what another one looked at."""
        self.least, self.largest = np.minimum(self.least, other.least), np.maximum(self.largest, other.largest)

    def magnitudes(self) -> Floats:
        """The largest of each measure without its sign; 0 where there is none."""
        found = np.maximum(np.abs(self.least), np.abs(self.largest))
        return np.where(np.isfinite(found), found, np.float32(0)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class MeasurePlan:
    """How the measures are counted.

    Attributes:
        least, largest: of each of `LINEAR`.
        buckets: of those of `SKETCHED`.
    """

    least: Doubles
    largest: Doubles
    buckets: Buckets

    @classmethod
    def of(cls, ranges: Ranges, bits: int) -> MeasurePlan:
        """Over the ranges that were found."""
        linear = [MEASURES.index(name) for name in LINEAR]
        ends = np.stack([ranges.least[linear], ranges.largest[linear]]).astype(np.float64)
        least, largest = np.where(np.isfinite(ends), ends, 0)
        return cls(least, largest, Buckets.below(ranges.magnitudes()[: len(SKETCHED)], bits, OCTAVES))

    @property
    def edges(self) -> Doubles:
        """Of the bins of each of `LINEAR`, [measures, BINS + 1]."""
        return np.linspace(self.least, self.largest, BINS + 1, axis=1)


class MeasureSums:
    """The measures of rows, by slice."""

    def __init__(self, plan: MeasurePlan, slices: int) -> None:
        self.plan, self.rows = plan, np.zeros((slices, 1 + len(STATUSES)), np.int64)
        self.moments = Moments(np.zeros(len(MEASURES)), slices)
        self.sketch = Sketch(plan.buckets, slices)
        self.bins = np.zeros((slices, len(LINEAR), BINS), np.int64)

    def add(self, table: pa.Table, grouping: Grouping) -> None:
        """Add a table's rows; the grouping is theirs."""
        found, known = measures(table)
        values, valid = grouping.sorted(found), None if known is None else grouping.sorted(known)
        self.moments.add(values, valid, grouping)
        self.sketch.add(values[: len(SKETCHED)], None if valid is None else valid[: len(SKETCHED)], grouping)
        self._count(grouping.sorted(_statuses(table)), grouping)
        self._bin(values, valid, grouping)

    def merge(self, other: MeasureSums) -> None:
        """Add what another one added."""
        self.rows += other.rows
        self.moments.merge(other.moments)
        self.sketch.merge(other.sketch)
        self.bins += other.bins

    def _count(self, statuses: npt.NDArray[np.int64], grouping: Grouping) -> None:
        cells, kinds = len(grouping.starts), len(STATUSES)
        counts = np.bincount(grouping.cell * kinds + statuses, minlength=cells * kinds).reshape(cells, kinds)
        grouping.into(self.rows, np.add, np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1).T)

    def _bin(self, values: Floats, valid: Mask | None, grouping: Grouping) -> None:
        for place, name in enumerate(LINEAR):
            row, low, cells = MEASURES.index(name), self.plan.least[place], len(grouping.starts)
            width = (self.plan.largest[place] - low) or 1.0  # all are alike: in the first bin
            bins = np.clip((values[row] - low) / width * BINS, 0, BINS - 1).astype(np.int64)
            bins += BINS * grouping.cell
            counts = np.bincount(bins if valid is None else bins[valid[row]], minlength=cells * BINS)
            grouping.into(self.bins[:, place], np.add, counts.reshape(cells, BINS).T)


def _statuses(table: pa.Table) -> npt.NDArray[np.int64]:
    found = pc.index_in(table["status"].cast(pa.string()), pa.array(STATUSES))
    return np.asarray(found.to_numpy()).astype(np.int64)
