"""Writes parts, and the quarantine files beside them."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.records.columns import ATTRIBUTION
from transforms.records.examples import Refusal
from transforms.records.part import Provenance

ROW_GROUP_BYTES = 16 * 2**20
QUARANTINE = pa.schema(
    [
        ("row_id", pa.string()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("code", pa.string()),
        ("message", pa.string()),
    ]
)


class PartWriter:
    """Writes a part with zstd and page checksums, in row groups of about 16 MiB.

    Leaving the `with` block by an exception leaves a file without a footer, which nobody can take for a short part.

    Args:
        schema: asked for when the first rows are written: its metadata may tell what was found out until then.
    """

    def __init__(self, path: pathlib.Path, schema: Callable[[], pa.Schema]) -> None:
        self._sink = path.open("wb")
        self._writer: pq.ParquetWriter | None = None
        self._schema, self._waiting = schema, list[pa.RecordBatch]()

    def write(self, rows: pa.RecordBatch) -> None:
        """Append rows."""
        self._waiting.append(rows)
        if sum(batch.nbytes for batch in self._waiting) >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        writer = self._opened()
        if self._waiting:
            table = pa.Table.from_batches(self._waiting)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            self._waiting = []

    def _opened(self) -> pq.ParquetWriter:
        if self._writer is None:
            schema = self._schema()
            attributions = [name for name in schema.names if name.startswith(ATTRIBUTION)]
            single = [name for name in attributions if schema.field(name).type.value_type == pa.float32()]
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression="zstd",
                write_page_checksum=True,
                use_dictionary=["status", "source_file"],
                # floats compress better byte by byte, and faster; the least and the largest of them tell nothing
                use_byte_stream_split=[f"{name}.list.element" for name in single],
                write_statistics=[name for name in schema.names if name not in attributions],
            )
        return self._writer

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
            self._opened().close()
        elif self._writer is not None:
            # pyarrow's own writer would write a footer even now, and its destructor too
            self._writer.is_open = False
        self._sink.close()


def quarantined(refusals: Sequence[Refusal], file: str) -> pa.RecordBatch:
    """The refused rows of one source, in its order, as they are written."""
    ordered = sorted(refusals, key=lambda refusal: refusal.source_row)
    columns = {
        "row_id": [refusal.row_id for refusal in ordered],
        "source_file": [file] * len(ordered),
        "source_row": [refusal.source_row for refusal in ordered],
        "code": [refusal.fault.code for refusal in ordered],
        "message": [refusal.fault.message for refusal in ordered],
    }
    return pa.RecordBatch.from_pydict(columns, QUARANTINE)


def write_quarantine(path: pathlib.Path, rows: pa.RecordBatch, about: Provenance) -> None:
    """The refused rows of one shard."""
    table = pa.Table.from_batches([rows]).replace_schema_metadata(about.metadata())
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
