"""`Aggregates`: the second look at a run's rows; everything that the tables of an audit say, mergeable in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_plan import NOTABLE, AuditPlan
from transforms.auditing.grouping import Grouping, blocks, slice_codes
from transforms.auditing.map_sums import MapSums, distances
from transforms.auditing.measures import LOGARITHMIC, MeasureSums
from transforms.auditing.moments import Doubles
from transforms.auditing.notable_rows import NotableRows
from transforms.auditing.part_columns import LABEL, PREDICTED, Floats, Mask
from transforms.auditing.row_hashes import row_hashes
from transforms.auditing.slicing import Coded, slice_columns
from transforms.auditing.survey import chunks, class_of_rows, finite


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
        self._index, self._other = plan.index, plan.other

    def add(self, table: pa.Table) -> None:
        """Add rows of a part."""
        size = max([1, *(one.size for one in self.plan.maps)])
        for rows in chunks(len(table), size, self.plan.chunk_values):
            self._add(table.slice(rows.start, rows.stop - rows.start))

    def merge(self, other: Aggregates) -> None:
        """Add what another one added."""
        self.measures.merge(other.measures)
        for name, sums in self.maps.items():
            sums.merge(other.maps[name])
        self.notable.merge(other.notable)
        self.confusion += other.confusion
        self.repeated += other.repeated

    def _add(self, table: pa.Table) -> None:
        sliced = slice_columns(table, self.plan.columns, self.plan.classes)
        codes = slice_codes(sliced, self._index, self._other)
        grouping = Grouping.of(codes)
        self.measures.add(table, grouping)
        self._count(list(sliced), grouping)
        self._repeat(table)
        kept = finite(table)
        if kept.all():
            maps, far = self._add_maps(table, grouping, sliced), None
        else:
            some = {kind: Coded(column.values, column.codes[kept]) for kind, column in sliced.items()}
            inner = Grouping.of([code[kept] for code in codes])
            maps, far = self._add_maps(table.filter(pa.array(kept)), inner, some), kept
        distance = maps if far is None else _spread(maps, far)
        chosen = [code for kind, code in zip(sliced, codes, strict=True) if kind in NOTABLE]
        self.notable.add(table, [_untrusted(table, kept), distance, -distance], chosen)

    def _add_maps(self, table: pa.Table, grouping: Grouping, sliced: Mapping[str, Coded]) -> Doubles:
        """The distance of each row to its class."""
        dense = [one.column.dense(table, one.size) for one in self.plan.maps]
        ordered = [grouping.columns(values) for values, _ in dense]
        scale = grouping.restored(_scale(ordered, len(table)))
        for one, maps, columns in zip(self.plan.maps, dense, ordered, strict=True):
            self.maps[one.column.input].add(table, maps, columns, scale, grouping)
        return distances(self.plan.maps, [values for values, _ in dense], ordered, class_of_rows(sliced), grouping)

    def _count(self, kinds: list[str], grouping: Grouping) -> None:
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


def _scale(maps: Sequence[Floats], rows: int) -> Doubles:
    """1 / Σ|A| of each row over all its maps [positions, rows]; 0 where that is 0, [rows]."""
    total = np.zeros(rows)
    for values in maps:
        for some in blocks(values) if rows else ():
            total += np.abs(values[some]).sum(axis=0, dtype=np.float64)
    return np.divide(1, total, out=np.zeros(rows), where=total > 0)


def _untrusted(table: pa.Table, kept: Mask) -> Doubles:
    """The larger of relative delta and error estimate; infinite where values are no numbers, [rows]."""
    found = [np.nan_to_num(table[name].to_numpy().astype(np.float64), nan=0.0) for name in LOGARITHMIC]
    return np.where(kept, np.maximum(*found), np.inf)


def _spread(values: Doubles, kept: Mask) -> Doubles:
    """Of the rows that were kept, for all; NaN for the others."""
    found = np.full(len(kept), np.nan)
    found[kept] = values
    return found
