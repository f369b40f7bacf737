"""The inputs of a run's rows, read again: only those that a report draws, and only from files that are as they were."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import JobConfig, parse_config
from pipeline.report.originals import Inputs, Originals
from transforms.errors import AttribeamError, quoted
from transforms.records.examples import Layout, extract
from transforms.records.feature import Feature, resolve
from transforms.records.ragged import Ragged
from transforms.records.source import RawBatch, Selection, index_file, read_rows
from transforms.runs.plan_file import read_shards, read_sizes
from transforms.runs.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.listing import open_file
from transforms.storage.place import Place
from transforms.storage.staging import Staging

MAX_BYTES = 512 * 2**20  # of all values together
BATCH_ROWS = 256
NEAR_ROWS = 1024  # rows of Parquet no farther apart are read in one go


def read_originals(place: Place, rows: pa.Table, shapes: Mapping[str, Sequence[int | None]]) -> Originals:
    """The inputs of some rows of a finished run; what cannot be read is said, and is no error.

    Args:
        rows: with `source_file` and `source_row`.
        shapes: of the maps of all explained inputs, for those whose shape the configuration leaves to the model.
    """
    if not len(rows):
        return Originals()
    try:
        record = names.read_json(place, names.RUN)
        config = parse_config(record["config"])
        features, reasons = _features(config, shapes)
        shards = read_shards(place, record["fingerprint"], range(len(read_sizes(place))))
    except (AttribeamError, KeyError, TypeError) as error:
        return Originals({}, [f"the run's own files: {error}"])
    if not features:
        return Originals({}, reasons)
    reader = _Reader(Layout(inputs=tuple(features)), config.limits.record_bytes)
    return _read(_wanted(rows, shards), reader, reasons)


def _features(config: JobConfig, shapes: Mapping[str, Sequence[int | None]]) -> tuple[list[Feature], list[str]]:
    """Every input that can be read without the model, and why others cannot; what is not explained value by value is
    left out."""
    features, reasons = list[Feature](), list[str]()
    groups = set(config.output.groups)
    for name, given in config.input.features.items():
        shape = given.shape
        if shape is None and (name not in shapes or groups & {name, ""}):
            continue
        if shape is None and name not in config.output.reduce:
            shape = tuple(shapes[name])
        if shape is None:
            reasons.append(f"input {quoted(name)}: its shape is the model's own; give input.features.{name}.shape")
            continue
        try:
            # Whole numbers of any size fit float64; what is decoded has a type of its own.
            features.append(resolve(name, given, shape, "float32" if given.decode else "float64"))
        except AttribeamError as error:
            reasons.append(str(error))
    return features, reasons


def _wanted(rows: pa.Table, shards: Sequence[Shard]) -> Iterator[tuple[Shard, list[int]]]:
    """Shards that hold some of the rows, each with them, in order."""
    by_file: dict[str, set[int]] = {}
    for row in rows.select(["source_file", "source_row"]).to_pylist():
        by_file.setdefault(row["source_file"], set()).add(row["source_row"])
    for shard in shards:
        here = sorted(row for row in by_file.get(shard.name, ()) if shard.rows.start <= row < shard.rows.stop)
        if here:
            yield shard, here


def _read(wanted: Iterator[tuple[Shard, list[int]]], reader: _Reader, before: Sequence[str]) -> Originals:
    found, reasons, read_bytes = dict[tuple[str, int], Inputs](), dict.fromkeys(before), 0
    with contextlib.closing(Staging()) as staging:
        for shard, places in wanted:
            try:
                with shard.staged(staging) as local, open_file(local.path) as file:
                    for place, values in reader.rows(file, shard, places):
                        found[shard.name, place] = values
                        read_bytes += sum(value.nbytes for value in values.values())
                        if read_bytes > MAX_BYTES:
                            return Originals(found, [*reasons, f"no more than {MAX_BYTES // 2**20} MiB are read"])
            except (AttribeamError, OSError) as error:
                reasons[f"{shard.name}: {error}"] = None
    return Originals(found, list(reasons))


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads rows of one file after another.

    Attributes:
        layout: inputs alone.
        record_bytes: the longest record that is read.
    """

    layout: Layout
    record_bytes: int

    def rows(self, file: BinaryIO, shard: Shard, places: Sequence[int]) -> Iterator[tuple[int, Inputs]]:
        """Each of these rows of a shard that can be decoded, with its inputs."""
        # A Parquet file is known by its footer; every record of a TFRecord file has its own checksum.
        if shard.format == "parquet" and index_file(file, shard.name, shard.format).digest != shard.input_digest:
            raise AttribeamError("E_EVALUATE_INPUT", f"{shard.name} is no longer the file that was explained")
        wanted = set(places)
        for run in _runs(places, NEAR_ROWS if shard.format == "parquet" else shard.size):
            rows = dataclasses.replace(shard.rows, start=run.start, stop=run.stop)
            selection = Selection(self.layout.columns, rows, BATCH_ROWS, self.record_bytes)
            for raw in read_rows(file, shard.source, selection):
                for place in sorted(wanted & set(range(raw.first_row, raw.first_row + raw.table.num_rows))):
                    yield from self._decoded(raw, place, shard.name)

    def _decoded(self, raw: RawBatch, place: int, file: str) -> Iterator[tuple[int, Inputs]]:
        offset = place - raw.first_row
        faults = {0: raw.faults[offset]} if offset in raw.faults else {}
        examples, _ = extract(RawBatch(place, raw.table.slice(offset, 1), faults), self.layout, file)
        if len(examples):
            yield place, {name: _values(value) for name, value in examples.inputs.items()}


def _values(value: npt.NDArray[Any] | Ragged) -> npt.NDArray[np.float32]:
    """Of the only row, copied: a batch is not held for one of its rows."""
    return np.array(value.values if isinstance(value, Ragged) else value[0], np.float32)


def _runs(places: Sequence[int], gap: int) -> Iterator[range]:
    """Ranges that cover places, which rise, with no more than `gap` rows between two of one range."""
    start = previous = places[0]
    for place in places[1:]:
        if place - previous > gap:
            yield range(start, previous + 1)
            start = place
        previous = place
    yield range(start, previous + 1)
