"""The first look at a run's rows: which slices there are, how large maps are, what the mean of each class is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.auditing.class_means import ClassSums
from transforms.auditing.measures import Ranges, measures
from transforms.auditing.part_columns import LABEL, NONFINITE, PREDICTED, Floats, MapColumn, PartColumns
from transforms.auditing.pooling import compared, comparing_pool
from transforms.auditing.row_hashes import RepeatedHashes, row_hashes
from transforms.auditing.slicing import ALL, Coded, SliceCounts, slice_columns
from transforms.auditing.tokens import WordCounts

# Positions of a map whose number is known from the rows only.
MOST_POSITIONS = 2**16
# Values of maps that are looked at together: rows enough that a combination of slices has several of them.
CHUNK_VALUES = 2**22


@dataclasses.dataclass(frozen=True)
class Limits:
    """What bounds the memory of an audit.

    Attributes:
        values: of a kind of slice.
        moment_bytes, sketch_bytes, token_bytes, row_bytes: of all slices of an input together.
        all_bytes: of the quantiles of the slice `all` alone.
        chunk_values: of maps that are looked at together.
        hashes: of row ids.
    """

    values: int = 1000
    moment_bytes: int = 2**26
    sketch_bytes: int = 2**23
    all_bytes: int = 2**26
    token_bytes: int = 2**27
    row_bytes: int = 2**26
    chunk_values: int = CHUNK_VALUES
    hashes: int = 2**21


class MapSurvey:
    """Of the maps of one input.

    Attributes:
        positions: that the longest row has, as far as they are looked at.
        longest: that it has.
        rows: whose values are numbers.
        largest: magnitude of each position.
    """

    def __init__(self, column: MapColumn, limits: Limits) -> None:
        self.column, self.positions, self.longest, self.rows = column, 0, 0, 0
        self.largest = np.zeros(0, np.float32)
        self.classes = ClassSums(limits.values)
        self._pool = comparing_pool(column)

    def add(self, table: pa.Table, classes: Coded) -> None:
        """Look at rows whose values are numbers."""
        needed = self.column.positions(table)
        self._grow(needed)
        values, _ = self.column.dense(table, min(needed, MOST_POSITIONS) if self.column.open else needed)
        self.rows += len(table)
        width = values.shape[1]
        np.maximum(self.largest[:width], _magnitudes(values), out=self.largest[:width])
        self.classes.add(compared(self.column, values, self._pool), classes)

    def merge(self, other: MapSurvey) -> None:
        """Look at what another one looked at."""
        self._grow(other.longest)
        self.rows += other.rows
        width = len(other.largest)
        self.largest[:width] = np.maximum(self.largest[:width], other.largest)
        self.classes.merge(other.classes)

    def _grow(self, needed: int) -> None:
        self.longest = max(self.longest, needed)
        self.positions = min(self.longest, MOST_POSITIONS) if self.column.open else self.longest
        self.largest = np.pad(self.largest, (0, self.positions - len(self.largest)))


class Survey:
    """What some parts hold, as far as it decides how they are looked at again; merged in any order.

    Args:
        columns: of the parts.
        classes: names of the output's entries.
    """

    def __init__(self, columns: PartColumns, classes: Sequence[str] = (), limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.columns, self.classes, self.limits, self.rows = columns, tuple(classes), limits, 0
        self.slices, self.ranges = SliceCounts(limits.values), Ranges()
        self.hashes = RepeatedHashes(limits.hashes)
        self.maps = {column.input: MapSurvey(column, limits) for column in columns.maps}
        self.words: Mapping[tuple[str, str], WordCounts] = {
            (column.input, words): WordCounts()
            for column in columns.maps
            if column.kind == "sequence" and not column.sparse
            for words in columns.words
        }
        self.row_bytes = 0

    def add(self, table: pa.Table) -> None:
        """Look at rows of a part."""
        self.rows += len(table)
        sliced = slice_columns(table, self.columns, self.classes)
        self.slices.add({kind: column.counts() for kind, column in sliced.items()})
        self.ranges.add(*measures(table))
        self.hashes.add(row_hashes(table))
        self.row_bytes = max(self.row_bytes, table.nbytes // max(1, len(table)))
        kept = finite(table)
        classes = class_of_rows(sliced)
        if not kept.all():
            table, classes = table.filter(pa.array(kept)), Coded(classes.values, classes.codes[kept])
        for found in self.maps.values():
            self._add_maps(found, table, classes)
        for (name, words), counts in self.words.items():
            if counts.aligned:
                counts.add(table, words, self.maps[name].column)

    def merge(self, other: Survey) -> None:
        """Look at what another one looked at."""
        self.rows += other.rows
        self.slices.merge(other.slices)
        self.ranges.merge(other.ranges)
        self.hashes.merge(other.hashes)
        self.row_bytes = max(self.row_bytes, other.row_bytes)
        for name, found in self.maps.items():
            found.merge(other.maps[name])
        for key, counts in self.words.items():
            counts.merge(other.words[key])

    def _add_maps(self, found: MapSurvey, table: pa.Table, classes: Coded) -> None:
        size = max(1, found.column.positions(table))
        for rows in chunks(len(table), size, self.limits.chunk_values):
            part = table.slice(rows.start, rows.stop - rows.start)
            found.add(part, Coded(classes.values, classes.codes[rows]))


def _magnitudes(values: Floats) -> Floats:
    """The largest of each position, [rows, positions] → [positions]."""
    if not values.size:
        return np.zeros(values.shape[1], np.float32)
    rows, width = values.shape
    several = max(1, min(rows, 1024 // width))  # over a short axis numpy is slow
    long = values[: rows - rows % several].reshape(-1, several * width)
    found = np.maximum(long.max(axis=0, initial=0), -long.min(axis=0, initial=0)).reshape(several, width)
    rest = np.abs(values[rows - rows % several :])
    return np.asarray(np.concatenate([found, rest]).max(axis=0, initial=0))


def chunks(rows: int, size: int, values: int) -> list[slice]:
    """Pieces of so many rows that each has about so many values, when a row has `size` of them."""
    step = max(1, values // size)
    return [slice(first, min(first + step, rows)) for first in range(0, rows, step)]


def finite(table: pa.Table) -> npt.NDArray[np.bool_]:
    """The rows whose maps are numbers, bool [rows]."""
    status = table["status"].cast(pa.string())
    found: Any = pc.not_equal(status, NONFINITE).to_numpy()
    return np.asarray(found)


def class_of_rows(sliced: Mapping[str, Coded]) -> Coded:
    """What decides to which mean a row's map is compared: its label, else what was predicted, else nothing."""
    found = sliced.get(LABEL) or sliced.get(PREDICTED) or sliced[ALL]
    return Coded((*found.values, ""), np.where(found.codes < 0, len(found.values), found.codes))
