"""Rows laid out to be summed: which slices each is in, and the maps of those that are numbers column by column."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_plan import AuditPlan, MapPlan
from transforms.auditing.grouping import BLOCK_VALUES, Array, Grouping, blocks, pieces, slice_codes
from transforms.auditing.moments import Doubles, Values
from transforms.auditing.part_columns import Floats, Mask
from transforms.auditing.slicing import Coded, Codes, slice_columns
from transforms.auditing.survey import chunks, finite


@dataclasses.dataclass(frozen=True)
class SlicedRows:
    """Rows and the slices that they are in.

    Attributes:
        columns: by kind of slice, the values of the rows.
        codes: by kind, in that order, the slice of each row; −1: none.
        grouping: of the rows by their slices.
    """

    table: pa.Table
    columns: Mapping[str, Coded]
    codes: Sequence[Codes]
    grouping: Grouping

    @classmethod
    def of(cls, table: pa.Table, plan: AuditPlan) -> SlicedRows:
        """Of a part."""
        columns = slice_columns(table, plan.columns, plan.classes)
        codes = slice_codes(columns, plan.index, plan.other)
        return cls(table, columns, codes, Grouping.of(codes))

    def where(self, kept: Mask) -> SlicedRows:
        """Those of them, bool [rows]."""
        if kept.all():
            return self
        columns = {kind: Coded(column.values, column.codes[kept]) for kind, column in self.columns.items()}
        codes = [code[kept] for code in self.codes]
        return SlicedRows(self.table.filter(pa.array(kept)), columns, codes, Grouping.of(codes))


@dataclasses.dataclass(frozen=True)
class RowMaps:
    """The maps of one input of some rows, which a grouping orders.

    Attributes:
        values: [rows, positions].
        valid: which of them are the rows' own, in the shape of `columns`; None: all.
        columns: the values by column, in the order of the grouping's cells, [positions, rows].
        strong: magnitude that counts as strong in each row, in that order, [rows].
    """

    values: Floats
    valid: Mask | None
    columns: Floats
    strong: Array

    @classmethod
    def of(cls, rows: SlicedRows, plan: MapPlan) -> RowMaps:
        """Of rows whose maps are numbers."""
        values, valid = plan.column.dense(rows.table, plan.size)
        own = None if valid is None else rows.grouping.columns(valid)
        strong = rows.grouping.sorted(least_strong(values, plan.strongest))
        return cls(values, own, rows.grouping.columns(values), strong)


@dataclasses.dataclass(frozen=True)
class LaidOut:
    """Some rows of a part.

    Attributes:
        rows: all of them.
        kept: those whose maps are numbers, bool [rows].
        mapped: these alone.
        maps: of them, by input.
        scale: 1 / Σ|A| of each of them over all its maps; 0 where that is 0; in the order of their grouping's cells.
    """

    rows: SlicedRows
    kept: Mask
    mapped: SlicedRows
    maps: tuple[RowMaps, ...]
    scale: Doubles

    @classmethod
    def of(cls, table: pa.Table, plan: AuditPlan) -> LaidOut:
        """As a plan wants them looked at."""
        rows, kept = SlicedRows.of(table, plan), finite(table)
        mapped = rows.where(kept)
        maps = tuple(RowMaps.of(mapped, one) for one in plan.maps)
        return cls(rows, kept, mapped, maps, _scale([one.columns for one in maps], len(mapped.table)))


def laid_out(table: pa.Table, plan: AuditPlan) -> Iterator[LaidOut]:
    """A table's rows, as many at a time as are looked at together."""
    size = max([1, *(one.size for one in plan.maps)])
    for rows in chunks(len(table), size, plan.chunk_values):
        yield LaidOut.of(table.slice(rows.start, rows.stop - rows.start), plan)


def least_strong(values: Values, strongest: int) -> Array:
    """The magnitude of the last of the so many strongest of each row [rows, positions], above 0, [rows]."""
    found = np.full(len(values), np.inf, values.dtype)
    for some in pieces(len(values), max(1, BLOCK_VALUES // max(1, values.shape[1]))) if strongest else ():
        sizes = np.abs(values[some])
        sizes.partition(values.shape[1] - strongest, axis=1)
        found[some] = sizes[:, -strongest]
    return np.asarray(np.maximum(found, np.finfo(values.dtype).smallest_subnormal, out=found))


def _scale(maps: Sequence[Floats], rows: int) -> Doubles:
    total = np.zeros(rows)
    for values in maps:
        for some in blocks(values) if rows else ():
            total += np.abs(values[some]).sum(axis=0, dtype=np.float64)
    return np.divide(1, total, out=np.zeros(rows), where=total > 0)
