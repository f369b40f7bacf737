"""A part's attribution columns read back: which there are, and every value with its row and its position."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.records import part
from transforms.records.columns import ATTRIBUTION, GROUPS, INDEX, REST, SHAPE, Shape
from transforms.records.values import Doubles, row_values

Positions = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class MapColumn:
    """How one explained input's attributions stand in a part.

    Attributes:
        input: its name.
        shape: of a row's map, after `output.reduce` and `output.groups`; None in place of the first axis where each
            row has its own length.
        names: of the groups, in the order of the values; None without groups.
        top: whether only the strongest values are kept, with their positions.
    """

    input: str
    shape: Shape
    names: tuple[str, ...] | None
    top: bool

    @property
    def name(self) -> str:
        """Of the column that holds the values."""
        return ATTRIBUTION + self.input

    @property
    def varying(self) -> bool:
        """Whether each row has its own length."""
        return None in self.shape

    @property
    def columns(self) -> list[str]:
        """What is read of a part to know the map."""
        return [self.name, INDEX + self.input] if self.top else [self.name]


@dataclasses.dataclass(frozen=True, eq=False)
class FlatMaps:
    """The values of some rows, one after another: float64 [values], with the row and the row-major position of each."""

    values: Doubles
    rows: Positions
    positions: Positions


def map_columns(schema: pa.Schema) -> tuple[MapColumn, ...]:
    """The explained inputs of a part, in their order."""
    named = [name.removeprefix(ATTRIBUTION) for name in schema.names if name.startswith(ATTRIBUTION)]
    thinned = {name for name in named if INDEX + name in schema.names and name + REST in named}
    rests = {name + REST for name in thinned}
    return tuple(_map_column(schema, name, name in thinned) for name in named if name not in rests)


def carried_columns(schema: pa.Schema) -> list[str]:
    """The label and the kept columns: they stand before the target."""
    before = schema.names[: schema.names.index("target")]
    return [name for name in before if name not in part.FIXED]


def flat_maps(table: pa.Table, column: MapColumn) -> FlatMaps:
    """Every value of the rows of a table."""
    values, rows = row_values(table[column.name])
    if column.top:
        positions, _ = row_values(table[INDEX + column.input])
        return FlatMaps(values, rows, positions.astype(np.int64))
    starts = np.searchsorted(rows, np.arange(table.num_rows))
    return FlatMaps(values, rows, np.arange(len(values)) - starts[rows])


def _map_column(schema: pa.Schema, name: str, top: bool) -> MapColumn:
    field = schema.field(ATTRIBUTION + name)
    about: dict[bytes, bytes] = field.metadata or {}
    shape: Any = field.type.shape if isinstance(field.type, pa.FixedShapeTensorType) else [None]
    if SHAPE.encode() in about:
        shape = json.loads(about[SHAPE.encode()])
    groups = about.get(GROUPS.encode())
    return MapColumn(name, tuple(shape), tuple(json.loads(groups)) if groups else None, top)
