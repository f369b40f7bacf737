"""The rows of one unit of a comparison: read from the parts of both runs, joined, compared, written."""

from __future__ import annotations

import dataclasses
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.comparing.compare_rows import Compared, compare_rows
from transforms.comparing.compatible import shared_columns
from transforms.comparing.features import features_of
from transforms.comparing.pairing import pair
from transforms.comparing.slices import slice_columns
from transforms.comparing.tally import Tally
from transforms.comparing.units import Unit
from transforms.records.maps import MapColumn, carried_columns
from transforms.runs.part_rows import rows_between, rows_where
from transforms.storage.place import Place, open_place

# Of both maps, that are compared at a time.
CHUNK_VALUES = 2**20
ROWS = "rows"


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two runs: its directory, and the schema of its parts."""

    root: str
    schema: pa.Schema


@dataclasses.dataclass(frozen=True)
class ComparisonJob:
    """All that a worker needs to know.

    Attributes:
        root: where the comparison is written to.
        folder: the names of its files begin with this.
        least_change: of an importance, relative, that counts.
        about: of the two runs, for the summary.
    """

    a: Side
    b: Side
    root: str
    folder: str
    least_change: float
    about: Mapping[str, Any]

    @cached_property
    def how(self) -> Compared:
        """How rows are compared; raises UsageError: E_COMPARE_COLUMNS."""
        columns = shared_columns(self.a.schema, self.b.schema)
        slices = slice_columns(self.a.schema, carried_columns(self.a.schema))
        return Compared(columns, slices, features_of([column for column, _ in columns]))

    def wanted(self, side: int) -> list[str]:
        """What is read of the parts of the first (0) or the second run (1)."""
        schema = (self.a, self.b)[side].schema
        columns: list[MapColumn] = [both[side] for both in self.how.columns]
        maps = [name for column in columns for name in column.columns]
        plain = ["row_id", "source_row", "target", "output", "predicted", "status"]
        kept = list(self.how.slices.values()) if side == 0 else []
        return [name for name in [*plain, *kept, *maps] if name in schema.names]

    def name(self, file: str) -> str:
        """Of a file of the comparison."""
        return self.folder + file


def compare_unit(unit: Unit, job: ComparisonJob) -> Tally:
    """Compare the rows of a unit, and write a row for each pair."""
    a, b = _read(unit, job, 0), _read(unit, job, 1)
    pairs = pair(a, b)
    alone = Counter(only_a=pairs.only_a, only_b=pairs.only_b, other_target=pairs.other_target)
    tally = Tally(alone)
    if not len(pairs.a):
        return tally
    out = open_place(job.root)
    with out.scratch() as scratch:
        with pq.ParquetWriter(scratch / ROWS, _schema(a, b, job), compression="zstd", write_page_checksum=True) as file:
            for first, stop in _chunks(a, b, len(pairs.a)):
                sides = a.take(pa.array(pairs.a[first:stop])), b.take(pa.array(pairs.b[first:stop]))
                rows, some = compare_rows(*sides, job.how)
                file.write_table(rows)
                tally += some
        out.publish(scratch / ROWS, job.name(f"{ROWS}/part-{unit.number:05d}.parquet"))
    return tally


def _read(unit: Unit, job: ComparisonJob, number: int) -> pa.Table:
    side, wanted = (job.a, job.b)[number], job.wanted(number)
    place, tables = open_place(side.root), list[pa.Table]()
    for name in (unit.a, unit.b)[number]:
        for table in _rows(place, name, unit, wanted):
            status = table.schema.get_field_index("status")
            tables.append(table.set_column(status, "status", table["status"].cast(pa.string())))
    if not tables:
        empty = pa.schema([side.schema.field(name) for name in wanted]).empty_table()
        return empty.set_column(wanted.index("status"), "status", pa.array([], pa.string()))
    return pa.concat_tables(tables).unify_dictionaries()


def _rows(place: Place, name: str, unit: Unit, wanted: Sequence[str]) -> Iterator[pa.Table]:
    if unit.rows is not None:
        start, stop = unit.rows
        return rows_between(place, name, "source_row", (start, stop - 1), wanted)
    return rows_where(place, name, "row_id", lambda ids: _in_bucket(ids, unit), wanted)


def _in_bucket(ids: pa.ChunkedArray, unit: Unit) -> pa.Array:
    hashes = np.array([zlib.crc32(name.encode()) for name in ids.to_pylist()], np.int64)
    return pa.array(hashes % unit.buckets == unit.bucket)


def _schema(a: pa.Table, b: pa.Table, job: ComparisonJob) -> pa.Schema:
    return compare_rows(a.slice(0, 0), b.slice(0, 0), job.how)[0].schema


def _chunks(a: pa.Table, b: pa.Table, pairs: int) -> Iterator[tuple[int, int]]:
    """Ranges of pairs, of about so many values each."""
    bytes_per_pair = sum(table.nbytes / max(1, table.num_rows) for table in (a, b))
    most = max(1, int(4 * CHUNK_VALUES / max(1.0, bytes_per_pair)))
    return ((first, min(first + most, pairs)) for first in range(0, pairs, most))
