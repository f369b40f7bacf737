"""`Aggregates`: the second look at a run's rows; everything that the tables of an audit say, mergeable in any order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_plan import NOTABLE, AuditPlan
from transforms.auditing.laid_out import LaidOut, SlicedRows
from transforms.auditing.map_sums import MapSums, distances
from transforms.auditing.measures import LOGARITHMIC, MeasureSums
from transforms.auditing.moments import Doubles
from transforms.auditing.notable_rows import NotableRows
from transforms.auditing.part_columns import LABEL, PREDICTED, Mask
from transforms.auditing.row_hashes import row_hashes


class Aggregates:
    """Of some rows of a run.

    Args:
        plan: the same for all rows of the run.
    """

    def __init__(self, plan: AuditPlan) -> None:
        self.plan, count = plan, len(plan.slices)
        self.measures = MeasureSums(plan.measures, count)
        self.maps = {one.column.input: MapSums(one, count) for one in plan.maps}
        self.notable = NotableRows(count, plan.notable)
        self.confusion, self.repeated = Counter[tuple[str, str]](), Counter[tuple[str, int | None]]()

    def add(self, found: LaidOut) -> None:
        """Add rows of a part."""
        rows, mapped = found.rows, found.mapped
        self.measures.add(rows.table, rows.grouping)
        self._count(rows)
        self._repeat(rows.table)
        for one, maps in zip(self.plan.maps, found.maps, strict=True):
            self.maps[one.column.input].add(mapped, maps, found.scale)
        distance = _spread(distances(self.plan.maps, mapped, found.maps), found.kept)
        chosen = [code for kind, code in zip(rows.columns, rows.codes, strict=True) if kind in NOTABLE]
        self.notable.add(rows.table, [_untrusted(rows.table, found.kept), distance, -distance], chosen)

    def merge(self, other: Aggregates) -> None:
        """Add what another one added."""
        self.measures.merge(other.measures)
        for name, sums in self.maps.items():
            sums.merge(other.maps[name])
        self.notable.merge(other.notable)
        self.confusion += other.confusion
        self.repeated += other.repeated

    def _count(self, rows: SlicedRows) -> None:
        kinds, grouping = list(rows.columns), rows.grouping
        if LABEL in kinds and PREDICTED in kinds and len(grouping.cell):
            slices = grouping.slices_of_cells()
            pairs = (slices[kinds.index(kind)].tolist() for kind in (LABEL, PREDICTED))
            for row, column, count in zip(*pairs, grouping.rows_of_cells().tolist(), strict=True):
                if column >= 0:
                    self.confusion[self.plan.slices[row][1], self.plan.slices[column][1]] += count

    def _repeat(self, table: pa.Table) -> None:
        if len(self.plan.repeated):
            again = np.flatnonzero(np.isin(row_hashes(table), self.plan.repeated))
            rows = table.select(["row_id", "target"]).take(pa.array(again))
            self.repeated.update(zip(rows["row_id"].to_pylist(), rows["target"].to_pylist(), strict=True))


def _untrusted(table: pa.Table, kept: Mask) -> Doubles:
    """The larger of relative delta and error estimate; infinite where values are no numbers, [rows]."""
    found = [np.nan_to_num(table[name].to_numpy().astype(np.float64), nan=0.0) for name in LOGARITHMIC]
    return np.where(kept, np.maximum(*found), np.inf)


def _spread(values: Doubles, kept: Mask) -> Doubles:
    """Of the rows that were kept, for all; NaN for the others."""
    found = np.full(len(kept), np.nan)
    found[kept] = values
    return found
