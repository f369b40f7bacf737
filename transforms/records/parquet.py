"""Parquet: rows of a file in streaming batches, every page checked against its checksum."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from weakref import WeakValueDictionary

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AttribeamError, UsageError, quoted

BUFFER_BYTES = 2**20
_TAIL_BYTES = 8  # uint32 length of the metadata, then the magic
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
_REASON_CHARACTERS = 200
_REMEDY = "copy or write the file again"
# Of the files that are open, by their digest. Parsed, the footer of thousands of row groups takes megabytes: the shards
# of a file share one.
_FOOTERS = WeakValueDictionary[str, pq.FileMetaData]()


def index(file: BinaryIO, name: str) -> tuple[int, str, pa.Schema]:
    """Rows of the file, sha256 (hex) over its size and its footer, and its schema.

    Raises:
        UsageError: E_PARQUET_INVALID.
    """
    opened, digest = _open(file, name, UsageError)
    metadata = opened.metadata
    rows, held = metadata.num_rows, [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    # no checksum covers the footer
    if sum(held) != rows or min(held, default=0) < 0:
        found = f"{name} has {rows} rows by its footer, but {sum(held)} in its row groups"
        raise UsageError("E_PARQUET_INVALID", f"{found}: it is damaged; {_REMEDY}")
    return rows, digest, opened.schema_arrow


def schema(file: BinaryIO, name: str) -> dict[str, str]:
    """Column -> its Arrow type as text.

    Raises:
        UsageError: E_PARQUET_INVALID.
    """
    return {field.name: str(field.type) for field in _open(file, name, UsageError)[0].schema_arrow}


def read(
    file: BinaryIO, name: str, columns: Sequence[str], rows: range, batch_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Streams (first row, batch) over these rows, opening only the row groups that hold them.

    Raises:
        UsageError: E_COLUMN_MISSING.
        AttribeamError: E_PARQUET_INVALID, a damaged footer or page, or fewer rows than were planned.
    """
    next_row = rows.start
    opened, _ = _open(file, name, AttribeamError)
    wanted = checked_columns(opened.schema_arrow.names, name, columns)
    try:
        for first_row, batch in _batches(opened, wanted, rows, batch_rows):
            next_row = first_row + batch.num_rows
            yield first_row, batch
    except _DAMAGE as error:
        where = f"{name} rows {next_row} to {rows.stop - 1}"
        raise AttribeamError("E_PARQUET_INVALID", f"{where} cannot be read: {_reason(error)}; {_REMEDY}") from error
    if next_row < rows.stop:
        found = f"{name} ends at row {next_row}, but rows up to {rows.stop} were planned"
        raise AttribeamError("E_PARQUET_INVALID", f"{found}: the file has changed; plan again in a new output path")


def _open(file: BinaryIO, name: str, kind: type[AttribeamError]) -> tuple[pq.ParquetFile, str]:
    """The file, and sha256 (hex) over its size and its footer."""
    options = {"page_checksum_verification": True, "pre_buffer": False, "buffer_size": BUFFER_BYTES}
    try:
        digest = _digest(file)
        file.seek(0)
        opened = pq.ParquetFile(file, metadata=_FOOTERS.get(digest), **options)
        opened.schema_arrow.names  # noqa: B018 -- damage in names shows here and nowhere earlier
        _FOOTERS[digest] = opened.metadata
    except _DAMAGE as error:
        raise kind(
            "E_PARQUET_INVALID", f"{name} is no Parquet file, or damaged: {_reason(error)}; {_REMEDY}"
        ) from error
    return opened, digest


def _reason(error: Exception) -> str:
    """What pyarrow says, short enough to leave room for the remedy."""
    return str(error)[:_REASON_CHARACTERS]


def _digest(file: BinaryIO) -> str:
    # what is shorter than it says is for pyarrow to refuse
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    metadata_bytes = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - _TAIL_BYTES - metadata_bytes))
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    digest.update(file.read(metadata_bytes + _TAIL_BYTES))
    return digest.hexdigest()


def checked_columns(present: Sequence[str], name: str, wanted: Sequence[str]) -> list[str]:
    """The wanted columns, each once; `name` is what should have them, for the message.

    Raises:
        UsageError: E_COLUMN_MISSING, with the nearest; E_PARQUET_INVALID for two of one name.
    """
    columns = list(dict.fromkeys(wanted))
    for column in columns:
        if column not in present:
            raise UsageError("E_COLUMN_MISSING", _missing(present, name, column))
        if present.count(column) > 1:
            found = f"{name} has {present.count(column)} columns named {quoted(column)}"
            raise UsageError("E_PARQUET_INVALID", f"{found}; rename them, so that one is meant")
    return columns


def _missing(present: Sequence[str], name: str, column: str) -> str:
    near = difflib.get_close_matches(column, present, n=3, cutoff=0.5) or list(present[:5])
    hint = ", ".join(quoted(other) for other in near) or "no columns at all"
    return f"{name} has no column {quoted(column)}; nearest: {hint}; correct the name under input"


def _batches(
    opened: pq.ParquetFile, columns: list[str], rows: range, batch_rows: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    for group, first_row, stop in _overlapping(opened.metadata, rows):
        row = first_row
        for batch in opened.iter_batches(batch_rows, row_groups=[group], columns=columns, use_threads=False):
            low, high = max(rows.start - row, 0), min(rows.stop - row, batch.num_rows)
            if low < high:
                # `a` also brings a column named `a.b`: Parquet takes the dot for a path
                yield row + low, batch.slice(low, high - low).select(columns)
            row += batch.num_rows
            if row >= rows.stop:
                return
        # checksums cover a page, not its header: a damaged header can drop rows and shift all that follow
        if row != stop:
            raise pa.ArrowInvalid(f"row group {group} holds {row - first_row} rows, its footer says {stop - first_row}")


def _overlapping(metadata: pq.FileMetaData, rows: range) -> Iterator[tuple[int, int, int]]:
    """Number, first row and stop row of each row group that holds some of the rows."""
    row = 0
    for group in range(metadata.num_row_groups):
        stop = row + metadata.row_group(group).num_rows
        if row < rows.stop and stop > rows.start:
            yield group, row, stop
        row = stop
