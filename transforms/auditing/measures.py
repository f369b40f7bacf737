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


def measures(table: pa.Table) -> tuple[Floats, Mask]:
    """float32 [rows, measures], 0 where there is no number, and where there is one."""
    columns = [table[name].cast(pa.float32(), safe=False).to_numpy() for name in MEASURES]
    found = np.stack(columns, axis=1) if len(table) else np.zeros((0, len(MEASURES)), np.float32)
    valid = np.isfinite(found)
    return np.where(valid, found, np.float32(0)), valid


class Ranges:
    """The least and largest of each measure over all rows."""

    def __init__(self) -> None:
        self.least = np.full(len(MEASURES), np.inf, np.float32)
        self.largest = np.full(len(MEASURES), -np.inf, np.float32)

    def add(self, values: Floats, valid: Mask) -> None:
        """Look at rows [rows, measures]."""
        self.least = np.minimum(self.least, np.where(valid, values, np.float32(np.inf)).min(axis=0, initial=np.inf))
        self.largest = np.maximum(
            self.largest, np.where(valid, values, np.float32(-np.inf)).max(axis=0, initial=-np.inf)
        )

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
        values, valid = (grouping.sorted(part) for part in measures(table))
        self.moments.add(values, valid, grouping)
        self.sketch.add(values[:, : len(SKETCHED)], valid[:, : len(SKETCHED)], grouping)
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
        grouping.into(self.rows, np.add, np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1))

    def _bin(self, values: Floats, valid: Mask, grouping: Grouping) -> None:
        chosen = [MEASURES.index(name) for name in LINEAR]
        low, width = self.plan.least, np.maximum(self.plan.largest - self.plan.least, np.finfo(np.float64).tiny)
        places = np.clip((values[:, chosen] - low) / width * BINS, 0, BINS - 1).astype(np.int64)
        places += BINS * (np.arange(len(LINEAR)) + len(LINEAR) * grouping.cell[:, np.newaxis])
        cells = len(grouping.starts)
        counts = np.bincount(places[valid[:, chosen]], minlength=cells * len(LINEAR) * BINS)
        grouping.into(self.bins, np.add, counts.reshape(cells, len(LINEAR), BINS))


def _statuses(table: pa.Table) -> npt.NDArray[np.int64]:
    found = pc.index_in(table["status"].cast(pa.string()), pa.array(STATUSES))
    return np.asarray(found.to_numpy()).astype(np.int64)
