"""`_plan.parquet`: every shard of a run, one after another; written once, then read in pieces."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AttribeamError
from transforms.records.examples import Layout
from transforms.records.source import FileSummary, RowRange
from transforms.runs.shard import InputFile, Shard
from transforms.storage.manifest import PLAN, to_json
from transforms.storage.place import Place

# Shards of a row group: whoever wants one of them reads so many.
GROUP_SHARDS = 4096
# Shards that are handed to a worker to look up at once.
PIECE_SHARDS = 256
PLACE = ("start", "stop", "offset", "offset_row")
COLUMNS = pa.schema(
    [
        ("number", pa.int64()),
        ("path", pa.string()),
        ("name", pa.string()),
        ("format", pa.string()),
        ("codec", pa.string()),
        *((name, pa.int64()) for name in PLACE),
        ("input_digest", pa.string()),
        ("file_rows", pa.int64()),
        ("file_bytes", pa.int64()),
    ]
)
FINGERPRINT, CARRIED, LENGTHS = b"attribeam.fingerprint", b"attribeam.carried", b"attribeam.lengths"
_DAMAGE = (pa.ArrowException, OSError, KeyError, ValueError, TypeError, RecursionError)


def pieces(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The numbers of some shards, as many together as a worker looks up at once."""
    return (numbers[first : first + PIECE_SHARDS] for first in range(0, len(numbers), PIECE_SHARDS))


def piece_of(number: int) -> int:
    """Which of all shards' `pieces` a shard is in."""
    return number // PIECE_SHARDS


def write_plan(place: Place, fingerprint: str, planned: Iterable[tuple[Shard, InputFile]], layout: Layout) -> None:
    """Publish the plan: a row a shard, in their order, with all that is needed to know its file without opening it.

    Args:
        planned: each with the file that it is a piece of; held a row group at a time.
        layout: of which the types of the carried columns and the usual lengths are kept.
    """
    types = base64.b64encode(pa.schema(list(layout.carried.items())).serialize())
    metadata = {FINGERPRINT: fingerprint, CARRIED: types, LENGTHS: to_json(layout.lengths)}
    schema, rows = COLUMNS.with_metadata(metadata), (_row(shard, file) for shard, file in planned)
    with place.scratch() as scratch:
        with pq.ParquetWriter(scratch / "plan", schema, compression="zstd", write_page_checksum=True) as writer:
            while group := list(itertools.islice(rows, GROUP_SHARDS)):
                columns = zip(zip(*group, strict=True), schema, strict=True)
                arrays = [pa.array(values, field.type) for values, field in columns]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
        place.publish(scratch / "plan", PLAN)


def fingerprint_of(place: Place) -> str | None:
    """The run that the plan in a directory is of; None where there is none.

    Raises:
        AttribeamError: E_PLAN_DAMAGED.
    """
    if not place.exists(PLAN):
        return None
    with _opened(place) as plan:
        return str(plan.schema_arrow.metadata[FINGERPRINT].decode())


def read_shards(place: Place, fingerprint: str, numbers: Sequence[int]) -> list[Shard]:
    """The shards of these numbers, which rise.

    Raises:
        AttribeamError: E_PLAN_DAMAGED, also for the plan of another run.
    """
    with _opened(place) as plan:
        if plan.schema_arrow.metadata[FINGERPRINT].decode() != fingerprint:
            raise ValueError("the plan of another run")
        ends = np.cumsum([plan.metadata.row_group(group).num_rows for group in range(plan.num_row_groups)])
        groups = np.unique(np.searchsorted(ends, numbers, side="right"))
        table = _whole(plan.read_row_groups(groups.tolist(), use_threads=False))
        places = np.searchsorted(table["number"].to_numpy(), numbers)
        shards = [_shard(row) for row in table.take(places).to_pylist()]
        if [shard.number for shard in shards] != list(numbers):
            raise ValueError("not every shard is there")
        return shards


def read_sizes(place: Place) -> npt.NDArray[np.int64]:
    """Rows of every shard, [shards].

    Raises:
        AttribeamError: E_PLAN_DAMAGED.
    """
    with _opened(place) as plan:
        table = _whole(plan.read(["start", "stop"]))
        sizes: npt.NDArray[np.int64] = table["stop"].to_numpy() - table["start"].to_numpy()
        return sizes


def read_layout(place: Place) -> tuple[dict[str, pa.DataType], dict[str, int]]:
    """The types of the carried columns, and the usual lengths of inputs whose length varies.

    Raises:
        AttribeamError: E_PLAN_DAMAGED.
    """
    with _opened(place) as plan:
        metadata = plan.schema_arrow.metadata
        carried = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata[CARRIED])))
        lengths = json.loads(metadata[LENGTHS])
        if not isinstance(lengths, dict) or not all(type(length) is int for length in lengths.values()):
            raise ValueError("no lengths")
        return {field.name: field.type for field in carried}, lengths


def finished_files(place: Place, done: npt.NDArray[np.bool_]) -> dict[str, InputFile]:
    """By path, the input files whose every shard is done.

    Args:
        done: bool [shards].

    Raises:
        AttribeamError: E_PLAN_DAMAGED.
    """
    files, unfinished = dict[str, InputFile](), set[str]()
    wanted = [name for name in COLUMNS.names if name not in PLACE]
    with _opened(place) as plan:
        for batch in plan.iter_batches(GROUP_SHARDS, columns=wanted, use_threads=False):
            for row in _whole(batch).to_pylist():
                if not done[row["number"]]:
                    unfinished.add(row["path"])
                elif row["path"] not in files:
                    files[row["path"]] = _file(row)
    for path in unfinished & files.keys():
        del files[path]
    return files


@contextlib.contextmanager
def _opened(place: Place) -> Iterator[pq.ParquetFile]:
    try:
        with place.open(PLAN) as file:
            plan = pq.ParquetFile(file, page_checksum_verification=True)
            if not plan.schema_arrow.equals(COLUMNS) or plan.schema_arrow.metadata is None:
                raise ValueError("other columns")
            yield plan
    except _DAMAGE as error:
        raise AttribeamError(
            "E_PLAN_DAMAGED",
            f"{place.root}/{PLAN} cannot be read, or is not that of this run; move the directory away and run again",
        ) from error


def _whole(rows: Any) -> Any:
    """The table or batch, in which there is no null."""
    if any(column.null_count for column in rows.columns):
        raise ValueError("a null")
    return rows


def _row(shard: Shard, file: InputFile) -> tuple[Any, ...]:
    names = shard.number, shard.path, shard.name, shard.format, shard.codec
    rows = shard.rows.start, shard.rows.stop, shard.rows.offset, shard.rows.offset_row
    return (*names, *rows, shard.input_digest, file.summary.rows, file.size)


def _shard(row: Mapping[str, Any]) -> Shard:
    named = {key: row[key] for key in ("number", "path", "name", "format", "codec", "input_digest")}
    return Shard(rows=RowRange(*(row[key] for key in PLACE)), **named)


def _file(row: Mapping[str, Any]) -> InputFile:
    once: Any = {key: sys.intern(row[key]) for key in ("format", "codec")}  # not one of each for every file
    summary = FileSummary(row["name"], once["format"], row["file_rows"], row["input_digest"], (), once["codec"])
    return InputFile(row["path"], row["name"], row["file_bytes"], summary)
