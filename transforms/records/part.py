"""A part: the output file of one shard. Its schema, its writer, and what its footer tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.errors import AttribeamError
from transforms.records.columns import AttributionColumns

SCHEMA_VERSION = 2
STATUSES = ("ok", "unconverged", "flat", "nonfinite")
FIXED: dict[str, pa.DataType] = {
    "row_id": pa.string(),
    "source_file": pa.string(),
    "source_row": pa.int64(),
    "target": pa.int64(),
    "target_rank": pa.int32(),
    "predicted": pa.int64(),
    "output": pa.float32(),
    "baseline_output": pa.float32(),
    "delta": pa.float32(),
    "relative_delta": pa.float32(),
    "error_estimate": pa.float32(),
    "steps": pa.int32(),
    "blind_share": pa.float32(),
    "baseline_spread": pa.float32(),
    "rounding": pa.float32(),
    "status": pa.dictionary(pa.int8(), pa.string()),
}
PREFIX = "attribeam."
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a file's key-value metadata says of it, each under `attribeam.<name>`.

    Attributes:
        rows: of the shard's input; those that are not in the part are in its quarantine file.
        targets: rows of the part for each row of the input.
        batch_size: points the gradients were computed in.
        device: what computed it.
    """

    fingerprint: str
    shard: int
    input_digest: str
    rows: int
    targets: int
    batch_size: int
    device: str

    def metadata(self) -> dict[str, str]:
        """As written."""
        return {PREFIX + name: str(value) for name, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class Totals:
    """What a part holds, counted from its columns.

    Attributes:
        rounding: what rounding to float16 changed of a row, the largest over the rows and their sum; (0, 0) in float32.
        source_rows: of the input, which row each is of, int64 [rows].
    """

    rows: int
    gradients: int
    by_status: Mapping[str, int]
    rounding: tuple[float, float]
    source_rows: npt.NDArray[np.int64] = dataclasses.field(compare=False)


def part_schema(
    attributions: Sequence[AttributionColumns],
    carried: Mapping[str, pa.DataType],
    ranked: bool,
    about: Provenance | None = None,
) -> pa.Schema:
    """The columns of a part, in the order in which they are written.

    Args:
        attributions: how each explained input's are written.
        carried: the label and the kept columns.
        ranked: whether a row has several targets, so that each says which it is.
    """
    rounded = any(columns.dtype == "float16" for columns in attributions)
    left_out = {name for name, written in (("target_rank", ranked), ("rounding", rounded)) if not written}
    names = [(name, kind) for name, kind in FIXED.items() if name not in left_out]
    fields = [field for columns in attributions for field in columns.fields()]
    return pa.schema([*names[:3], *carried.items(), *names[3:], *fields], metadata=about and about.metadata())


def read_footer(file: BinaryIO, name: str) -> tuple[dict[str, str], int]:
    """The `attribeam.*` metadata (without the prefix) of a part or quarantine file, and its number of rows.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    parquet, found = _opened(file, name)
    return found, parquet.metadata.num_rows


def check_footer(footer: tuple[dict[str, str], int], about: Provenance, rows: int, name: str) -> None:
    """Refuse a part that is not the planned one; the device and batch of another attempt may differ.

    Args:
        footer: as `read_footer` gives it.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    metadata, found = footer
    for key in ("fingerprint", "shard", "input_digest", "rows", "targets"):
        if metadata.get(key) != str(getattr(about, key)):
            raise damaged(name, f"its footer says {key}={metadata.get(key)!r}, not {getattr(about, key)!r}")
    if found != rows:
        raise damaged(name, f"it has {found} rows, not {rows}")


def _opened(file: BinaryIO, name: str) -> tuple[pq.ParquetFile, dict[str, str]]:
    try:
        # a run's parts name one source each; its name is read once for all rows
        options = {"page_checksum_verification": True, "pre_buffer": False, "read_dictionary": ["source_file"]}
        parquet = pq.ParquetFile(file, **options)
        raw = parquet.schema_arrow.metadata or {}
        plain = {key.decode(): value.decode() for key, value in raw.items()}
    except (*_DAMAGE, KeyError) as error:
        raise damaged(name, "its footer cannot be read") from error
    return parquet, {key.removeprefix(PREFIX): value for key, value in plain.items() if key.startswith(PREFIX)}


def read_refused(file: BinaryIO, name: str) -> list[tuple[int, str]]:
    """Read a whole quarantine file, every page against its checksum: of each row, its place in the input and its code.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
        return list(zip(_source_rows(table).tolist(), table["code"].to_pylist(), strict=True))
    except (*_DAMAGE, KeyError) as error:
        raise damaged(name, "a page of it cannot be read, or its checksum is wrong") from error


def read_totals(file: BinaryIO, name: str) -> tuple[dict[str, str], Totals]:
    """Read a whole part, every page against its checksum: its metadata, as `read_footer`'s, and what it holds.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    gradients, by_status, rounding = 0, dict.fromkeys(STATUSES, 0), (0.0, 0.0)
    sources = [np.empty(0, np.int64)]
    parquet, about = _opened(file, name)
    try:
        for rows in _little_by_little(parquet):
            sources.append(_source_rows(rows))
            gradients += pc.sum(rows["steps"]).as_py() or 0
            for entry in rows["status"].value_counts().to_pylist():
                by_status[entry["values"]] += entry["counts"]
            if "rounding" in rows.schema.names:
                lost = rows["rounding"].drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
                rounding = max(rounding[0], lost.max(initial=0)), rounding[1] + lost.sum()
    except (*_DAMAGE, KeyError) as error:
        raise damaged(name, "a page of it cannot be read, or its checksum is wrong") from error
    source_rows = np.concatenate(sources)
    return about, Totals(len(source_rows), gradients, by_status, (float(rounding[0]), float(rounding[1])), source_rows)


def _little_by_little(parquet: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """All rows, in eighths of a row group: of whole ones, the decoded values would be most of what a shard holds."""
    for group in range(parquet.num_row_groups):
        rows = -(-parquet.metadata.row_group(group).num_rows // 8)
        yield from parquet.iter_batches(max(1, rows), row_groups=[group], use_threads=False)


def _source_rows(table: pa.Table | pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Int64 [rows]; -1, which is none, where it does not say."""
    found: npt.NDArray[np.int64] = table["source_row"].cast(pa.int64()).fill_null(-1).to_numpy()
    return found


def damaged(name: str, what: str) -> AttribeamError:
    """The error for an output file that is not as it was written."""
    return AttribeamError(
        "E_PART_DAMAGED", f"{name}: {what}; run the same command again: the part is moved aside and computed anew"
    )
