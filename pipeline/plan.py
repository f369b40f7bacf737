"""From a configuration to a plan: which files, which shards, which columns, and the fingerprint of it all."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import JobConfig
from transforms.attribution.model.user_code import source_digest
from transforms.class_names import read_class_names
from transforms.errors import AttribeamError, UsageError
from transforms.records import part
from transforms.records.columns import AttributionColumns
from transforms.records.examples import Layout
from transforms.records.source import FileSummary, RowRange, index_file
from transforms.shard import Shard
from transforms.storage.listing import file_bytes, list_files, open_file
from transforms.storage.manifest import PLAN, to_json
from transforms.storage.place import Place
from transforms.storage.url import is_url

# a row's columns beside its attributions: ids, numbers, status
ROW_OVERHEAD_BYTES = 64
# a run of few rows still has several shards, so that it can be watched, shared out and resumed; a shard of few rows
# would spend its time on the ragged last batch
WANTED_SHARDS, MIN_SHARD_ROWS = 32, 256
COLUMNS = pa.schema(
    [
        ("number", pa.int64()),
        ("path", pa.string()),
        ("name", pa.string()),
        ("format", pa.string()),
        ("codec", pa.string()),
        ("start", pa.int64()),
        ("stop", pa.int64()),
        ("offset", pa.int64()),
        ("offset_row", pa.int64()),
        ("input_digest", pa.string()),
        ("file_rows", pa.int64()),
        ("file_bytes", pa.int64()),
    ]
)


CARRIED, LENGTHS = b"attribeam.carried", b"attribeam.lengths"


@dataclasses.dataclass(frozen=True)
class InputFile:
    """One file of the dataset; `name` is what the output calls it."""

    path: str
    name: str
    size: int
    summary: FileSummary


@dataclasses.dataclass(frozen=True)
class RecordedPlan:
    """What `_plan.parquet` holds: the shards, their files by path, the types of the carried columns, usual lengths."""

    shards: Sequence[Shard]
    files: Mapping[str, InputFile]
    carried: Mapping[str, pa.DataType]
    lengths: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Known:
    """What need not be found out again when a run is resumed.

    Attributes:
        files: by path, input files whose every shard has a part.
        carried: types of the carried columns; None when the run is new.
        lengths: the usual ones of inputs whose length varies; empty when the run is new.
    """

    files: Mapping[str, InputFile] = dataclasses.field(default_factory=dict)
    carried: Mapping[str, pa.DataType] | None = None
    lengths: Mapping[str, int] = dataclasses.field(default_factory=dict)


def index_input(config: JobConfig, root: pathlib.Path, known: Mapping[str, InputFile]) -> list[InputFile]:
    """Every input file, counted and digested, in the order of the dataset.

    Args:
        root: folder that file names are written relative to.
        known: by path, files that are not opened again as long as their size is the same.

    Raises:
        UsageError: E_INPUT_NOT_FOUND, E_INPUT_ROWS, and what `index_file` raises.
    """
    files = [_indexed(path, config, root, known.get(path)) for path in list_files(config.input.files)]
    rows = sum(file.summary.rows for file in files)
    if config.input.rows is not None and rows != config.input.rows:
        counts = ", ".join(f"{file.name}: {file.summary.rows}" for file in files[:5])
        raise UsageError(
            "E_INPUT_ROWS",
            f"input.rows says {config.input.rows} rows, but the files hold {rows} ({counts}); a file that was cut"
            " between two records looks whole: restore it, or correct input.rows",
        )
    return files


def _indexed(path: str, config: JobConfig, root: pathlib.Path, known: InputFile | None) -> InputFile:
    size = file_bytes(path)
    if known is not None and known.size == size:
        return known
    name = source_name(path, root)
    with open_file(path) as file:
        return InputFile(path, name, size, index_file(file, name, config.input.format))


def source_name(path: str, root: pathlib.Path) -> str:
    """How the output names an input file: relative to the configuration's folder where that is possible, so that the
    name does not change with the machine."""
    if is_url(path) or not pathlib.Path(path).is_relative_to(root):
        return path
    return pathlib.Path(path).relative_to(root).as_posix()


def rows_per_shard(rows: int, row_bytes: int, shard_bytes: int) -> int:
    """As many rows as `shard_bytes` hold, but no more than an even share of the wanted number of shards."""
    even = max(MIN_SHARD_ROWS, -(-rows // WANTED_SHARDS))
    return max(1, min(even, shard_bytes // max(1, row_bytes)))


def output_row_bytes(attributions: Sequence[AttributionColumns]) -> int:
    """Bytes of one output row before compression."""
    return ROW_OVERHEAD_BYTES + sum(columns.row_bytes for columns in attributions)


def make_shards(files: Sequence[InputFile], shard_rows: int) -> list[Shard]:
    """Every row of every file in exactly one shard, in order; a compressed TFRecord file is one shard."""
    shards: list[Shard] = []
    for file in files:
        rows = file.summary.rows
        # a compressed stream can only be read from its beginning: each further shard would read it again
        pieces = -(-rows // (shard_rows if file.summary.codec == "none" else max(1, rows)))
        borders = [rows * piece // pieces for piece in range(pieces + 1)] if pieces else []
        for start, stop in itertools.pairwise(borders):
            summary, number = file.summary, len(shards)
            place = summary.range(start, stop)
            shards.append(Shard(number, file.path, file.name, summary.format, summary.codec, place, summary.digest))
    return shards


def deciding_values(config: JobConfig, model_digest: str, files: Sequence[InputFile]) -> dict[str, Any]:
    """Everything that decides the output's values, by dotted key; paths do not, contents do.

    A user's function counts with the file of its module, which must be imported already.

    Raises:
        UsageError: E_TARGET_CLASSES, E_CODE_MISSING.
    """
    plain = config.model_dump(mode="json")
    listing = [[file.name, file.summary.rows, file.summary.digest] for file in files]
    kept = {
        "model": {key: value for key, value in plain["model"].items() if key != "path"},
        "input": {key: plain["input"][key] for key in ("id", "features", "label", "keep")},
        "attribution": plain["attribution"],
        "output": {key: value for key, value in plain["output"].items() if key != "path"},
    }
    flat = _flat(kept)
    flat["model.digest"] = model_digest
    flat["model.classes"] = read_class_names(config.model.classes)
    flat |= {f"code.{reference}": source_digest(reference) for reference in config.attribution.code}
    flat["input.listing"] = hashlib.sha256(to_json(listing)).hexdigest()
    flat |= {f"limits.{key}": plain["limits"][key] for key in ("record_bytes", "sequence_length")}
    flat["schema_version"] = part.SCHEMA_VERSION
    return flat


def fingerprint(values: Mapping[str, Any]) -> str:
    """sha256 of `deciding_values`."""
    return hashlib.sha256(to_json(values)).hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def write_plan(place: Place, shards: Sequence[Shard], files: Sequence[InputFile], layout: Layout) -> None:
    """`_plan.parquet`: a row per shard, with all that is needed to know its file without opening it."""
    by_path = {file.path: file for file in files}
    types = base64.b64encode(pa.schema(list(layout.carried.items())).serialize())
    metadata = {CARRIED: types, LENGTHS: to_json(layout.lengths)}
    rows = [
        {
            **{field: getattr(shard, field) for field in ("number", "path", "name", "format", "codec", "input_digest")},
            **dataclasses.asdict(shard.rows),
            "file_rows": by_path[shard.path].summary.rows,
            "file_bytes": by_path[shard.path].size,
        }
        for shard in shards
    ]
    with place.scratch() as scratch:
        table = pa.Table.from_pylist(rows, COLUMNS.with_metadata(metadata))
        pq.write_table(table, scratch / "plan", compression="zstd", write_page_checksum=True)
        place.publish(scratch / "plan", PLAN)


def read_plan(place: Place) -> RecordedPlan:
    """What `_plan.parquet` holds.

    Raises:
        AttribeamError: E_PLAN_DAMAGED.
    """
    try:
        with place.open(PLAN) as file:
            table = pq.read_table(file, page_checksum_verification=True)
        rows = table.select(COLUMNS.names).to_pylist()
        carried = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(table.schema.metadata[CARRIED])))
        lengths = json.loads(table.schema.metadata[LENGTHS])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise AttribeamError(
            "E_PLAN_DAMAGED", f"{place.root}/{PLAN} cannot be read; move the directory away and run again"
        ) from error
    types = {field.name: field.type for field in carried}
    return RecordedPlan([_shard(row) for row in rows], {row["path"]: _file(row) for row in rows}, types, lengths)


def _shard(row: Mapping[str, Any]) -> Shard:
    place = RowRange(*(row[key] for key in ("start", "stop", "offset", "offset_row")))
    named = {key: row[key] for key in ("number", "path", "name", "format", "codec", "input_digest")}
    return Shard(rows=place, **named)


def _file(row: Mapping[str, Any]) -> InputFile:
    summary = FileSummary(row["name"], row["format"], row["file_rows"], row["input_digest"], (), row["codec"])
    return InputFile(row["path"], row["name"], row["file_bytes"], summary)
