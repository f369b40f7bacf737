"""A part: the output file of one shard. Its schema, its writer, and what its footer tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.errors import AttribeamError
from transforms.records.config import OutputConfig

Values = npt.NDArray[Any]
SCHEMA_VERSION = 1
STATUSES = ("ok", "unconverged", "flat", "nonfinite")
FIXED: dict[str, pa.DataType] = {
    "row_id": pa.string(),
    "source_file": pa.string(),
    "source_row": pa.int64(),
    "target": pa.int64(),
    "target_rank": pa.int32(),
    "output": pa.float32(),
    "baseline_output": pa.float32(),
    "delta": pa.float32(),
    "relative_delta": pa.float32(),
    "error_estimate": pa.float32(),
    "steps": pa.int32(),
    "blind_share": pa.float32(),
    "baseline_spread": pa.float32(),
    "status": pa.dictionary(pa.int8(), pa.string()),
}
PREFIX, ATTRIBUTION = "attribeam.", "attribution_"
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
    """What a part holds, counted from its columns."""

    rows: int
    gradients: int
    by_status: Mapping[str, int]


def reduced_shape(shape: Sequence[int], axes: Sequence[int | Literal["channels"]]) -> tuple[int, ...]:
    """The shape of an attribution summed over `axes`; a single number is written as [1]."""
    dropped = _axes(len(shape), axes)
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped) or (1,)


def part_schema(
    shapes: Mapping[str, tuple[int, ...]],
    output: OutputConfig,
    carried: Mapping[str, pa.DataType],
    ranked: bool,
    about: Provenance,
) -> pa.Schema:
    """The columns of a part, in the order in which they are written.

    Args:
        shapes: of each explained input, without the batch dimension.
        carried: the label and the kept columns.
        ranked: whether a row has several targets, so that each says which it is.
    """
    value = pa.float16() if output.dtype == "float16" else pa.float32()
    tensors = {
        ATTRIBUTION + name: pa.fixed_shape_tensor(value, reduced_shape(shape, output.reduce.get(name, ())))
        for name, shape in shapes.items()
    }
    names = [(name, kind) for name, kind in FIXED.items() if ranked or name != "target_rank"]
    return pa.schema([*names[:3], *carried.items(), *names[3:], *tensors.items()], metadata=about.metadata())


def attribution_array(values: Values, field: pa.Field, axes: Sequence[int | Literal["channels"]]) -> pa.Array:
    """Attributions [rows, *shape] as a column, summed over `axes` in float64."""
    dropped = tuple(axis + 1 for axis in _axes(values.ndim - 1, axes))
    with np.errstate(over="ignore", invalid="ignore"):
        summed = values.sum(axis=dropped, dtype=np.float64) if dropped else values
        stored = summed.reshape(len(values), *field.type.shape).astype(field.type.value_type.to_pandas_dtype())
    storage = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), int(np.prod(field.type.shape)))
    return pa.ExtensionArray.from_storage(field.type, storage)


def read_footer(file: BinaryIO, name: str) -> tuple[dict[str, str], int]:
    """The `attribeam.*` metadata (without the prefix) of a part or quarantine file, and its number of rows.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    try:
        parquet = pq.ParquetFile(file)
        raw = parquet.schema_arrow.metadata or {}
        plain = {key.decode(): value.decode() for key, value in raw.items()}
    except _DAMAGE as error:
        raise damaged(name, "its footer cannot be read") from error
    found = {key.removeprefix(PREFIX): value for key, value in plain.items() if key.startswith(PREFIX)}
    return found, parquet.metadata.num_rows


def check_pages(file: BinaryIO, name: str) -> None:
    """Read every page of a part or quarantine file against its checksum.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    try:
        pq.ParquetFile(file, page_checksum_verification=True).read(use_threads=False)
    except _DAMAGE as error:
        raise damaged(name, "a page of it cannot be read, or its checksum is wrong") from error


def read_totals(file: BinaryIO, name: str) -> Totals:
    """Read a whole part, every page against its checksum, and count what it holds.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    rows, gradients, by_status = 0, 0, dict.fromkeys(STATUSES, 0)
    try:
        parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, use_threads=False)
            rows += table.num_rows
            gradients += pc.sum(table["steps"]).as_py() or 0
            for entry in table["status"].cast(pa.string()).value_counts().to_pylist():
                by_status[entry["values"]] += entry["counts"]
    except (*_DAMAGE, KeyError) as error:
        raise damaged(name, "a page of it cannot be read, or its checksum is wrong") from error
    return Totals(rows, gradients, by_status)


def damaged(name: str, what: str) -> AttribeamError:
    """The error for an output file that is not as it was written."""
    return AttribeamError(
        "E_PART_DAMAGED", f"{name}: {what}; run the same command again: the part is moved aside and computed anew"
    )


def _axes(rank: int, axes: Sequence[int | Literal["channels"]]) -> set[int]:
    return {rank - 1 if axis == "channels" else axis % rank for axis in axes} if rank else set()
