"""A row, ready to be looked at: its facts as text, and each map as the kind of thing that it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.excerpts import short_value, shown
from pipeline.show.find import Found
from transforms.records.columns import REST
from transforms.records.maps import MapColumn, flat_maps

Kind = Literal["image", "tokens", "bars", "sequence"]
Doubles = npt.NDArray[np.float64]
# Bars of a table, the strongest; and of a sequence, whose steps are taken together where there are more.
BARS = 24
MAX_CHARACTERS = 60
NUMBERS = ("output", "baseline_output", "delta", "relative_delta", "error_estimate", "blind_share", "baseline_spread")


@dataclasses.dataclass(frozen=True, eq=False)
class MapView:
    """One input's attribution.

    Attributes:
        kind: `image`: values [height, width], channels summed; `tokens`, `sequence`: values [steps] in their order;
            `bars`: values [features], the strongest first.
        labels: of the values, safe to print; () for an image.
        note: what is not shown, or was summed.
        total: Σ A of the whole map, with what is not shown.
    """

    input: str
    kind: Kind
    values: Doubles
    labels: tuple[str, ...]
    note: str
    total: float

    @property
    def limit(self) -> float:
        """The magnitude that has the full colour: the 99th percentile of |A| of an image, else the largest."""
        finite = np.abs(self.values[np.isfinite(self.values)])
        if not finite.size:
            return 1.0
        return float(np.percentile(finite, 99) if self.kind == "image" else finite.max()) or float(finite.max()) or 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class RowView:
    """A row: its name and its facts, safe to print, and its maps."""

    title: str
    facts: tuple[tuple[str, str], ...]
    maps: tuple[MapView, ...]


def view(found: Found) -> RowView:
    """What is shown of a row."""
    row = found.row
    maps = tuple(_map_view(row, column, found.carried) for column in found.maps)
    return RowView(shown(row["row_id"][0].as_py()), tuple(_facts(found)), maps)


def _facts(found: Found) -> list[tuple[str, str]]:
    row, classes = found.row, found.run["config"]["model"].get("classes")
    names = classes if isinstance(classes, list) else []
    facts = [("source", f"{shown(row['source_file'][0])}, row {row['source_row'][0].as_py():,}")]
    facts += [(shown(name), _carried(row[name][0])) for name in found.carried if name != "label"]
    for name in ("label", "predicted", "target"):
        if name in row.column_names and row[name][0].is_valid:
            facts.append((name, _class_name(row[name][0], names)))
    if found.others:
        facts.append(("other targets", ", ".join(map(str, found.others)) + " (--target)"))
    for name in NUMBERS:
        if name in row.column_names and row[name][0].is_valid:
            facts.append((name.replace("_", " "), f"{row[name][0].as_py():.6g}"))
    return [*facts, ("steps", str(row["steps"][0].as_py())), ("status", str(row["status"][0].as_py()))]


def _carried(value: pa.Scalar) -> str:
    return short_value(value)


def _class_name(value: pa.Scalar, names: Sequence[str]) -> str:
    plain = value.as_py()
    named = isinstance(plain, int) and 0 <= plain < len(names)
    return f"{plain} {shown(names[plain], MAX_CHARACTERS)}" if named else shown(plain, MAX_CHARACTERS)


def _map_view(row: pa.Table, column: MapColumn, carried: Sequence[str]) -> MapView:
    flat = flat_maps(row, column)
    rest = float(row[column.name + REST][0].as_py()[0]) if column.top else 0.0
    total, left = float(flat.values.sum()) + rest, f"; the values left out add up to {rest:+.4g}" if column.top else ""
    shape = _shape(column, flat.values, flat.positions)
    if column.names is not None or shape is None:
        return _bars(column, flat.values, flat.positions, total, left)
    dense = np.zeros(math.prod(shape))
    dense[flat.positions] = flat.values
    whole = dense.reshape(shape)
    tokens = _tokens(row, carried, shape[0])
    if tokens is not None:
        return MapView(shown(column.input), "tokens", _by_step(whole), tokens, left.removeprefix("; "), total)
    if not column.varying and len(shape) in (2, 3) and min(shape[:2]) > 1:
        return MapView(shown(column.input), "image", *_image(whole, left), total)
    if column.varying:
        return _sequence(column, _by_step(whole), total, left)
    return _bars(column, flat.values, flat.positions, total, left)


def _shape(column: MapColumn, values: Doubles, positions: npt.NDArray[np.int64]) -> tuple[int, ...] | None:
    """Of this row's map; None where that cannot be told: of a row of varying length of which only some is kept, or one
    without a value."""
    if not column.varying:
        return tuple(int(size or 0) for size in column.shape)
    width = math.prod(int(size or 0) for size in column.shape[1:])
    if column.top or not len(values) or len(values) % max(1, width):
        return None
    return (len(values) // width, *(int(size or 0) for size in column.shape[1:]))


def _by_step(whole: Doubles) -> Doubles:
    return np.asarray(whole.reshape(len(whole), -1).sum(axis=1))


def _image(whole: Doubles, left: str) -> tuple[Doubles, tuple[str, ...], str]:
    height, width = whole.shape[:2]
    flat = whole.reshape(height, width, -1)
    channels = f", {flat.shape[2]} channels summed" if flat.shape[2] > 1 else ""
    return flat.sum(axis=2), (), f"{height}×{width}{channels}{left}"


def _tokens(row: pa.Table, carried: Sequence[str], steps: int) -> tuple[str, ...] | None:
    """The words of a kept list of as many texts as the map has steps."""
    for name in carried:
        kind = row.schema.field(name).type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if lists and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
            words = row[name][0].as_py()
            if words is not None and len(words) == steps:
                return tuple("" if word is None else shown(word, MAX_CHARACTERS) for word in words)
    return None


def _bars(column: MapColumn, values: Doubles, positions: Any, total: float, left: str) -> MapView:
    order = np.argsort(-np.abs(values), kind="stable")[:BARS]
    labels = tuple(_label(column, int(positions[at])) for at in order)
    hidden = len(values) - len(order)
    others = f"{hidden:,} smaller ones add up to {float(np.delete(values, order).sum()):+.4g}" if hidden else ""
    return MapView(shown(column.input), "bars", values[order], labels, (others + left).removeprefix("; "), total)


def _label(column: MapColumn, position: int) -> str:
    if column.names is not None and position < len(column.names):
        return shown(column.names[position], MAX_CHARACTERS)
    sizes = [int(size or 0) for size in column.shape]
    if len(sizes) < 2 or None in column.shape:
        return str(position)
    return ", ".join(str(int(one)) for one in np.unravel_index(position, sizes))


def _sequence(column: MapColumn, steps: Doubles, total: float, left: str) -> MapView:
    """Step by step, or the sums of steps that follow each other, where there are many."""
    run = math.ceil(len(steps) / BARS)
    starts = np.arange(0, len(steps), run)
    ends = np.minimum(starts + run, len(steps)) - 1
    labels = tuple(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    summed = f"{len(steps):,} steps" + (f", {run} of them summed in each bar" if run > 1 else "")
    return MapView(shown(column.input), "sequence", np.add.reduceat(steps, starts), labels, summed + left, total)
