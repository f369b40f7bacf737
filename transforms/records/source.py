"""One input file, whatever its format: recognised, indexed at launch, and read in batches of raw columns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import pyarrow as pa

from transforms.errors import AttribeamError, Fault, UsageError, quoted
from transforms.records import parquet, tf_examples, tfrecord
from transforms.records.byte_stream import ByteStream
from transforms.records.config import Format
from transforms.records.feature import Feature, check_column

HEAD_BYTES = tfrecord.HEADER_BYTES
_PARQUET_NAME = re.compile(r"\.(parquet|pq)$", re.IGNORECASE)
# TensorFlow's own shard names put the number after the suffix: train.tfrecord-00003-of-00010
_TFRECORD_NAME = re.compile(r"\.(tfrecords?|tfrec)(-\d+-of-\d+)?(\.(gz|gzip|zlib))?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows [start, stop) of a file. TFRecord: reading begins at byte `offset`, at record `offset_row` <= start."""

    start: int
    stop: int
    offset: int = 0
    offset_row: int = 0


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What indexing one input file at launch found.

    Attributes:
        rows: records in the file.
        digest: sha256, hex, over the file's size and evidence of its content: the Parquet footer, or each TFRecord
            header with its payload's checksum.
        offsets: byte offset of each `tfrecord.INDEX_STRIDE`-th record of an uncompressed TFRecord file, else empty.
        codec: `none`, `gzip` or `zlib`; always `none` for Parquet, which compresses inside.
    """

    name: str
    format: Format
    rows: int
    digest: str
    offsets: tuple[int, ...] = ()
    codec: str = "none"

    def range(self, start: int, stop: int) -> RowRange:
        """Rows [start, stop) with the nearest known place to begin reading at."""
        if not self.offsets:
            return RowRange(start, stop)
        mark = min(start // tfrecord.INDEX_STRIDE, len(self.offsets) - 1)
        return RowRange(start, stop, self.offsets[mark], mark * tfrecord.INDEX_STRIDE)


@dataclass(frozen=True)
class Source:
    """Which file is read, and how: enough for a worker that has no FileSummary."""

    name: str
    format: Format
    codec: str = "none"


@dataclass(frozen=True)
class Selection:
    """Which part of a file is read: columns, rows, and the limits on one batch and one record."""

    columns: tuple[str, ...]
    rows: RowRange
    batch_rows: int
    max_record_bytes: int = 256 * 2**20


@dataclass(frozen=True)
class RawBatch:
    """Up to `batch_rows` neighbouring rows as they are stored, from row `first_row` of the file.

    Attributes:
        table: the selected columns in the order of the selection.
        faults: offset in `table` -> why that record could not be read. Its columns are null, except after
            E_FEATURE_DTYPE, where only the column at fault is (so that a row can still be named by its id).
    """

    first_row: int
    table: pa.RecordBatch
    faults: dict[int, Fault] = field(default_factory=dict)


def detect_format(name: str, head: bytes, wanted: Format | None) -> Format:
    """The format of a file: what the user says, else by its name, else by its first `HEAD_BYTES` bytes.

    Raises:
        UsageError: E_FORMAT_UNKNOWN.
    """
    if wanted is not None:
        return wanted
    if _PARQUET_NAME.search(name) or (head.startswith(b"PAR1") and not _TFRECORD_NAME.search(name)):
        return "parquet"
    if _TFRECORD_NAME.search(name) or tfrecord.looks_like(head):
        return "tfrecord"
    raise UsageError(
        "E_FORMAT_UNKNOWN",
        f"{name} begins with {quoted(head)}, which is neither Parquet nor TFRecord; set input.format, or leave the "
        "file out of input.files",
    )


@dataclass(frozen=True)
class Required:
    """Columns that every Parquet file must have, those of `features` of a useful type.

    A TFRecord has no schema: every record names its own features, so that only reading all of them could tell; there,
    a row without a feature or with another kind is a row's fault.
    """

    features: Sequence[Feature] = ()
    others: Sequence[str] = ()

    def check(self, schema: pa.Schema, name: str) -> None:
        """Refuses a file of this name for its schema.

        Raises:
            UsageError: E_PARQUET_INVALID, E_COLUMN_MISSING, E_FEATURE_DTYPE, E_FEATURE_SHAPE.
        """
        wanted = [*(feature.column for feature in self.features), *self.others]
        parquet.checked_columns(schema.names, name, wanted)
        for feature in self.features:
            check_column(schema.field(feature.column).type, feature, name)


def index_file(file: BinaryIO, name: str, wanted: Format | None, required: Required = Required()) -> FileSummary:
    """Counts and fingerprints the records of a seekable file without keeping or parsing them.

    Raises:
        UsageError: E_FILE_EMPTY, E_FORMAT_UNKNOWN, E_PARQUET_INVALID, E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH,
            E_TFRECORD_COMPRESSION, and what `Required.check` raises.
    """
    if file.seek(0, os.SEEK_END) == 0:
        raise UsageError("E_FILE_EMPTY", f"{name} has 0 bytes: its writer did not finish; write it again or remove it")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if detect_format(name, head, wanted) == "parquet":
        rows, digest, schema = parquet.index(file, name)
        required.check(schema, name)
        return FileSummary(name, "parquet", rows, digest)
    codec = tfrecord.detect_codec(name, head)
    rows, digest, offsets = tfrecord.index(file, name, codec)
    return FileSummary(name, "tfrecord", rows, digest, offsets, codec)


def read_rows(file: BinaryIO, source: Source, selection: Selection) -> Iterator[RawBatch]:
    """Streams the selected rows, in order, in batches of at most `batch_rows` (never empty) rows.

    Raises:
        UsageError: E_COLUMN_MISSING (Parquet; a TFRecord feature that no row has gives a column of nulls).
        AttribeamError: E_PARQUET_INVALID, E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION: the file
            is damaged, or no longer the one that was indexed.
    """
    read = _read_parquet if source.format == "parquet" else _read_tfrecord
    return read(file, source, selection)


def schema_of(file: BinaryIO, name: str, format: Format, codec: str) -> dict[str, str]:
    """Column -> its type as text: Arrow's words for Parquet, `float_list[784]` of the first Example for TFRecord.

    Raises:
        UsageError: E_PARQUET_INVALID, E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION, or the first
            record's E_RECORD_CRC, E_RECORD_PARSE, E_RECORD_BYTES when no record can be read.
    """
    if format == "parquet":
        return parquet.schema(file, name)
    records = tfrecord.records(ByteStream(file, name, codec, UsageError), 0, tf_examples.MAX_BATCH_BYTES)
    return tf_examples.schema(records, name)


def _read_parquet(file: BinaryIO, source: Source, selection: Selection) -> Iterator[RawBatch]:
    rows = range(selection.rows.start, selection.rows.stop)
    for first_row, table in parquet.read(file, source.name, selection.columns, rows, selection.batch_rows):
        yield RawBatch(first_row, table)


def _read_tfrecord(file: BinaryIO, source: Source, selection: Selection) -> Iterator[RawBatch]:
    rows, first_known = selection.rows, 0
    stream = ByteStream(file, source.name, source.codec, AttribeamError)
    if source.codec == "none":
        stream.start(rows.offset)
        first_known = rows.offset_row
    tfrecord.pass_over(stream, first_known, rows.start)
    row = rows.start
    records = tfrecord.planned_records(stream, range(rows.start, rows.stop), selection.max_record_bytes)
    for table, faults in tf_examples.batches(records, selection.columns, selection.batch_rows):
        yield RawBatch(row, table, faults)
        row += table.num_rows
