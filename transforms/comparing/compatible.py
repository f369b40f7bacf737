"""Whether the maps of two runs can be compared: the same explained inputs, with values that stand for the same."""

from __future__ import annotations

import pyarrow as pa

from transforms.comparing.aligning import Columns
from transforms.errors import UsageError, quoted
from transforms.records.maps import MapColumn, map_columns


def shared_columns(a: pa.Schema, b: pa.Schema) -> tuple[Columns, ...]:
    """By explained input, how each of two runs has stored it.

    Raises:
        UsageError: E_COMPARE_COLUMNS: other inputs, shapes or groups.
    """
    of_a, of_b = ({column.input: column for column in map_columns(schema)} for schema in (a, b))
    if set(of_a) != set(of_b):
        raise UsageError(
            "E_COMPARE_COLUMNS",
            f"one run explains {_listed(of_a)}, the other {_listed(of_b)}; compare runs that explain the same inputs",
        )
    for name, column in of_a.items():
        other = of_b[name]
        if (column.shape, column.names) != (other.shape, other.names):
            raise UsageError(
                "E_COMPARE_COLUMNS",
                f"the maps of {quoted(name)} are {_layout(column)} in one run, {_layout(other)} in the other; run both"
                " with the same output.reduce and output.groups",
            )
    return tuple((column, of_b[name]) for name, column in of_a.items())


def _listed(columns: dict[str, MapColumn]) -> str:
    return ", ".join(quoted(name) for name in sorted(columns))


def _layout(column: MapColumn) -> str:
    shape = "×".join("…" if size is None else str(size) for size in column.shape)
    return shape + (f" in groups {quoted(list(column.names))}" if column.names else "")
