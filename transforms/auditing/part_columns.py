"""What the columns of a run's parts are: maps of attributions, what may make a slice, what may be tokens."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.records.columns import ATTRIBUTION, GROUPS, INDEX, REST, SHAPE, SHARE
from transforms.records.part import FIXED

LABEL, PREDICTED, RANK = "label", "predicted", "target_rank"
# What a row's map says nothing of: its values are no numbers.
NONFINITE = "nonfinite"
# An image has at least so many pixels a side.
LEAST_SIDE = 8
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class MapColumn:
    """The attributions of one input.

    Attributes:
        shape: of a row's map; None in place of the first axis: each row has its own length.
        names: of the groups that the values stand for; () where they stand for positions.
        sparse: whether only the strongest values stand there, with their positions.
    """

    input: str
    shape: tuple[int | None, ...]
    names: tuple[str, ...] = ()
    sparse: bool = False

    @property
    def open(self) -> bool:
        """Whether the number of positions is known from the rows only."""
        return None in self.shape

    @property
    def kind(self) -> str:
        """`image`, `sequence` or `table`."""
        if self.open:
            return "sequence"
        if not self.names and len(self.shape) in (2, 3) and min(self._sides()) >= LEAST_SIDE:
            return "image"
        return "table"

    @property
    def size(self) -> int:
        """Positions of a row whose number is known."""
        return math.prod(axis or 0 for axis in self.shape)

    @property
    def step(self) -> int:
        """Values of a row that belong to one step of it, where its length varies."""
        return math.prod(axis or 1 for axis in self.shape[1:])

    def columns(self) -> list[str]:
        """Those of a part that are read."""
        name = ATTRIBUTION + self.input
        return [name, INDEX + self.input] if self.sparse else [name]

    def positions(self, table: pa.Table) -> int:
        """How many positions the rows of a table need."""
        if not self.open:
            return self.size
        if self.sparse:
            found = _lists(table, INDEX + self.input).flatten().to_numpy(zero_copy_only=False)
            return int(found.max(initial=-1)) + 1
        return int(lengths(_lists(table, ATTRIBUTION + self.input)).max(initial=0))

    def dense(self, table: pa.Table, size: int) -> tuple[Floats, Mask | None]:
        """The maps of a table's rows, float32 [rows, size], and which of the values are the rows' own (None: all).

        Values left out by `output.top` are 0; positions from `size` on are left out.
        """
        lists = _lists(table, ATTRIBUTION + self.input)
        values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        if not self.open and not self.sparse:
            return values.reshape(len(table), self.size), None
        own, found = lengths(lists), np.zeros((len(table), size), np.float32)
        rows = np.repeat(np.arange(len(table)), own)
        if self.sparse:
            places = _lists(table, INDEX + self.input).flatten().to_numpy(zero_copy_only=False)
        else:
            places = np.arange(len(values)) - np.repeat(np.cumsum(own) - own, own)
        inside = places < size
        found[rows[inside], places[inside]] = values[inside]
        return found, None if self.sparse else np.arange(size) < own[:, np.newaxis]

    def _sides(self) -> tuple[int, int]:
        height, width = self.shape[:2]
        return height or 0, width or 0


@dataclasses.dataclass(frozen=True)
class PartColumns:
    """The columns of a part that an audit looks at.

    Attributes:
        label, predicted, ranked: whether there is such a column, of a type that makes slices.
        kept: those that make slices.
        unsliced: kept ones that make none: numbers with a fraction, lists.
        words: kept lists of strings.
    """

    maps: tuple[MapColumn, ...]
    label: bool
    predicted: bool
    ranked: bool
    kept: tuple[str, ...]
    unsliced: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, schema: pa.Schema) -> PartColumns:
        """Of a part's schema."""
        maps = tuple(_maps(schema))
        own = {*FIXED, LABEL, *_map_columns(schema, maps)}
        carried = [field for field in schema if field.name not in own]
        kept = tuple(field.name for field in carried if _makes_slices(field.type))
        words = tuple(field.name for field in carried if _is_words(field.type))
        there = {name for name in (LABEL, PREDICTED) if name in schema.names and _makes_slices(schema.field(name).type)}
        return cls(
            maps,
            LABEL in there,
            PREDICTED in there,
            RANK in schema.names,
            kept,
            tuple(field.name for field in carried if field.name not in kept),
            words,
        )


def lengths(lists: pa.Array) -> npt.NDArray[np.int64]:
    """Of each list of an array."""
    return np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False)).astype(np.int64)


def _maps(schema: pa.Schema) -> Iterator[MapColumn]:
    for field in schema:
        name = field.name.removeprefix(ATTRIBUTION)
        if name == field.name or _is_rest(schema, name):
            continue
        about = field.metadata or {}
        names = tuple(json.loads(about.get(GROUPS.encode(), b"[]")))
        if SHAPE.encode() in about:
            yield MapColumn(name, tuple(json.loads(about[SHAPE.encode()])), names, INDEX + name in schema.names)
        elif isinstance(field.type, pa.FixedShapeTensorType):
            yield MapColumn(name, tuple(field.type.shape), names)


def _is_rest(schema: pa.Schema, name: str) -> bool:
    return name.endswith(REST) and INDEX + name.removesuffix(REST) in schema.names


def _map_columns(schema: pa.Schema, maps: tuple[MapColumn, ...]) -> set[str]:
    found = {ATTRIBUTION + one.input + end for one in maps for end in ("", REST)}
    return found | {kind + one.input for one in maps if one.sparse for kind in (INDEX, SHARE)}


def _makes_slices(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _makes_slices(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer)
    return any(test(kind) for test in tests)


def _is_words(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(lists and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)))


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _lists(table: pa.Table, name: str) -> pa.Array:
    array = whole(table[name])
    return array.storage if isinstance(array, pa.ExtensionArray) else array
