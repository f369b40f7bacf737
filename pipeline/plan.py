"""From a configuration to a plan: which files, which shards, which columns, and the fingerprint of it all."""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import pyarrow as pa

from pipeline.config import JobConfig
from transforms.attribution.model.user_code import source_digest
from transforms.class_names import read_class_names
from transforms.errors import UsageError
from transforms.overlap import side_by_side
from transforms.records import part
from transforms.records.columns import AttributionColumns
from transforms.records.source import FileSummary, Required, index_file
from transforms.runs.shard import InputFile, Shard
from transforms.storage.listing import file_bytes, list_files, open_file
from transforms.storage.manifest import to_json

# a row's columns beside its attributions: ids, numbers, status
ROW_OVERHEAD_BYTES = 64
# a run of few rows still has several shards, so that it can be watched, shared out and resumed; a shard of few rows
# would spend its time on the ragged last batch
WANTED_SHARDS, MIN_SHARD_ROWS = 32, 256
# Input files looked at side by side: it is an object store's answers that are waited for
FILES_AT_ONCE, MAX_FILES_TOGETHER = 32, 64


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


def index_input(
    config: JobConfig, root: pathlib.Path, known: Mapping[str, InputFile], required: Required
) -> list[InputFile]:
    """Every input file, counted and digested, in the order of the dataset; many are opened at once.

    Args:
        root: folder that file names are written relative to.
        known: by path, files that are not opened again as long as their size is the same.
        required: of every file that is opened.

    Raises:
        UsageError: E_INPUT_NOT_FOUND, E_INPUT_ROWS, and what `index_file` raises.
    """

    def indexed(path: str) -> InputFile:
        size = file_bytes(path)
        if path in known and known[path].size == size:
            return known[path]
        name = source_name(path, root)
        with open_file(path) as file:
            summary = index_file(file, name, config.input.format, required)
        return InputFile(path, name, size, summary)

    paths = list_files(config.input.files)
    # a file that need not be opened is done with sooner than a thread is woken
    few = max(1, min(MAX_FILES_TOGETHER, len(paths) // FILES_AT_ONCE))
    groups = (paths[first : first + few] for first in range(0, len(paths), few))
    found = side_by_side(lambda group: [indexed(path) for path in group], groups, FILES_AT_ONCE)
    files = list(itertools.chain.from_iterable(found))
    rows = sum(file.summary.rows for file in files)
    if config.input.rows is not None and rows != config.input.rows:
        counts = ", ".join(f"{file.name}: {file.summary.rows}" for file in files[:5])
        raise UsageError(
            "E_INPUT_ROWS",
            f"input.rows says {config.input.rows} rows, but the files hold {rows} ({counts}); a file that was cut"
            " between two records looks whole: restore it, or correct input.rows",
        )
    return files


def source_name(path: str, root: pathlib.Path) -> str:
    """How the output names an input file: relative to the configuration's folder where that is possible, so that the
    name does not change with the machine."""
    # listed paths hold no `.` or `//`, and a Path for each would make a plan of very many files a fifth longer
    return path.removeprefix(f"{str(root).rstrip('/')}/")


def rows_per_shard(rows: int, row_bytes: int, shard_bytes: int) -> int:
    """As many rows as `shard_bytes` hold, but no more than an even share of the wanted number of shards."""
    even = max(MIN_SHARD_ROWS, -(-rows // WANTED_SHARDS))
    return max(1, min(even, shard_bytes // max(1, row_bytes)))


def output_row_bytes(attributions: Sequence[AttributionColumns]) -> int:
    """Bytes of one output row before compression."""
    return ROW_OVERHEAD_BYTES + sum(columns.row_bytes for columns in attributions)


class Shards(Sequence[Shard]):
    """Every row of every file in exactly one shard, in order, each made when it is asked for.

    A compressed TFRecord file is one shard: its stream can only be read from its beginning, and each further shard
    would read it again.

    Args:
        shard_rows: that a shard holds at most.

    Attributes:
        rows: of all together.
    """

    def __init__(self, files: Sequence[InputFile], shard_rows: int) -> None:
        self.rows = sum(file.summary.rows for file in files)
        self._files = files
        # of every file, the number of its first shard; then how many there are
        self._firsts = list(itertools.accumulate((_pieces(file.summary, shard_rows) for file in files), initial=0))

    def __len__(self) -> int:
        return self._firsts[-1]

    def __iter__(self) -> Iterator[Shard]:
        return (shard for shard, _ in self.with_files())

    @overload
    def __getitem__(self, number: int) -> Shard: ...
    @overload
    def __getitem__(self, number: slice) -> list[Shard]: ...
    def __getitem__(self, number: int | slice) -> Shard | list[Shard]:
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        number = range(len(self))[number]
        return self._made(number, bisect.bisect_right(self._firsts, number) - 1)

    def with_files(self) -> Iterator[tuple[Shard, InputFile]]:
        """Each shard with the file that it is a piece of."""
        for place, file in enumerate(self._files):
            for number in range(self._firsts[place], self._firsts[place + 1]):
                yield self._made(number, place), file

    def _made(self, number: int, place: int) -> Shard:
        file, (first, stop) = self._files[place], self._firsts[place : place + 2]
        summary = file.summary
        start, end = (summary.rows * (border - first) // (stop - first) for border in (number, number + 1))
        rows = summary.range(start, end)
        return Shard(number, file.path, file.name, summary.format, summary.codec, rows, summary.digest)


def _pieces(summary: FileSummary, shard_rows: int) -> int:
    return -(-summary.rows // (shard_rows if summary.codec == "none" else max(1, summary.rows)))


def deciding_values(config: JobConfig, model_digest: str, files: Sequence[InputFile]) -> dict[str, Any]:
    """Everything that decides the output's values, by dotted key; paths do not, contents do.

    A user's function counts with the file of its module, which must be imported already.

    Raises:
        UsageError: E_TARGET_CLASSES, E_CODE_MISSING.
    """
    plain = config.model_dump(mode="json")
    kept = {
        "model": {key: value for key, value in plain["model"].items() if key not in ("path", "trust", "sha256")},
        "input": {key: plain["input"][key] for key in ("id", "features", "label", "keep")},
        "attribution": plain["attribution"],
        "output": {key: value for key, value in plain["output"].items() if key != "path"},
    }
    flat = _flat(kept)
    flat["model.digest"] = model_digest
    flat["model.classes"] = read_class_names(config.model.classes)
    flat |= {f"code.{reference}": source_digest(reference) for reference in config.attribution.code}
    flat["input.listing"] = _listing_digest(files)
    flat |= {f"limits.{key}": plain["limits"][key] for key in ("record_bytes", "sequence_length")}
    flat["schema_version"] = part.SCHEMA_VERSION
    return flat


def fingerprint(values: Mapping[str, Any]) -> str:
    """sha256 of `deciding_values`."""
    return hashlib.sha256(to_json(values)).hexdigest()


def _listing_digest(files: Iterable[InputFile]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(json.dumps([file.name, file.summary.rows, file.summary.digest]).encode() + b"\n")
    return digest.hexdigest()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
