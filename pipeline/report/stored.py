"""The audit as the report reads it: one table's rows of one slice, inputs and their shapes, classes by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.report import wording
from transforms.auditing.audit_tables import AuditTables

ALL, LABEL, CORRECT, LABEL_CORRECT = "all", "label", "correct", "label,correct"
WHOLE = (ALL, "")
BY_SLICE = ("slices", "features", "regions", "tokens", "histograms", "rows")
Row = Mapping[str, Any]
SliceKey = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Explained:
    """An explained input.

    Attributes:
        shape: of its map; None where rows have lengths of their own.
        kind: `image`, `sequence` or `table`.
        pooled: the shape of the coarse grid of slices other than all, or None.
    """

    name: str
    shape: tuple[int | None, ...]
    kind: str
    pooled: tuple[int, ...] | None

    @property
    def size(self) -> int | None:
        """Values of a map; None where that varies."""
        known = [axis for axis in self.shape if axis is not None]
        return math.prod(known) if len(known) == len(self.shape) else None

    @property
    def is_image(self) -> bool:
        """Whether its maps are pictures."""
        return self.kind == "image" and len(self.shape) in (2, 3) and self.size is not None


class Stored:
    """The tables of an audit by slice, each looked up once."""

    def __init__(self, audit: AuditTables) -> None:
        self.audit, self.about = audit, audit.about
        self.run: Mapping[str, Any] = audit.about.get("run") or {}
        self.inputs = [_explained(name, entry) for name, entry in (audit.about.get("inputs") or {}).items()]
        self.classes: Sequence[str] = audit.about.get("classes") or ()
        self._indices = {str(name): index for index, name in enumerate(self.classes)}
        self._places = {name: _places(audit[name]) for name in BY_SLICE}

        labels = (value for kind, value in self._places["slices"] if kind == LABEL)
        self._labels = {self.class_key(value): value for value in labels}
        whole = self.rows("features", WHOLE).select(["input", "position", "name"]).to_pylist()
        self._names: dict[str, dict[int, str]] = {}
        for row in whole:
            if row["name"] is not None:
                self._names.setdefault(row["input"], {})[row["position"]] = row["name"]

    def rows(self, table: str, key: SliceKey, **equal: str) -> pa.Table:
        """A slice's rows of a table, of those only that have these values."""
        places = self._places[table].get(key, _NONE)
        if len(places) and places[-1] - places[0] + 1 == len(
            places
        ):  # together, as they are written: nothing is copied
            found = self.audit[table].slice(int(places[0]), len(places))
        else:
            found = self.audit[table].take(pa.array(places))
        for column, value in equal.items():
            found = found.filter(pc.equal(found[column], value))
        return found

    def slice(self, key: SliceKey) -> Row:
        """What `slices` says of one; empty where it says nothing."""
        found = self.rows("slices", key).to_pylist()
        return found[0] if found else {}

    def values(self, slice_name: str) -> list[str]:
        """The values of a slice's column, the one of most rows first."""
        table = self.audit["slices"]
        mine = table.filter(pc.equal(table["slice"], slice_name)).sort_by([("rows", "descending")])
        return [str(value) for value in mine["value"].to_pylist()]

    def class_name(self, value: object) -> str:
        """A label or prediction as a reader knows it: `3 · cat`, where the audit has names of classes."""
        text = str(value)
        index = int(text) if text.isdecimal() and len(text) < 10 else len(self.classes)
        known = index < len(self.classes) and str(self.classes[index]) != text
        return wording.name(f"{text} · {self.classes[index]}" if known else text)

    def value_name(self, key: SliceKey) -> str:
        """The value of a slice as a reader knows it."""
        column, value = key
        if column == ALL:
            return ""
        if column == LABEL_CORRECT:
            label, _, correct = value.rpartition(",")
            return f"{self.class_name(label)}, {wording.name(correct)}"
        return self.class_name(value) if column in (LABEL, "predicted") else wording.name(value)

    def slice_name(self, key: SliceKey) -> str:
        """A slice in words."""
        if key[0] == ALL:
            return "all rows"
        column = LABEL if key[0] == LABEL_CORRECT else key[0].removeprefix("keep:")
        return f"{wording.name(column)} {self.value_name(key)}"

    def feature_names(self, input: str) -> Mapping[int, str]:
        """By position, the names of an input's features that have one."""
        return self._names.get(input, {})

    def token_column(self, input: str) -> str | None:
        """The kept column that holds an input's tokens, where the audit says so."""
        named = (self.about.get("inputs") or {}).get(input, {}).get("tokens")
        return named if isinstance(named, str) else None

    def class_key(self, value: object) -> str:
        """A label or prediction as its index where it is the name of a class, else as it is."""
        return str(self._indices.get(str(value), value))

    def row_id(self, place: int) -> str:
        """The name of a row of the table `rows`."""
        return wording.name(self.audit["rows"]["row_id"][place].as_py())

    def label_of_class(self, key: str) -> str | None:
        """The label of a class, as slices have it; None where no row has it."""
        return self._labels.get(key)

    def map_of(self, key: SliceKey, input: Explained, column: str) -> npt.NDArray[np.float64] | None:
        """One of `features`' columns of a slice as the input's map [height, width], channels summed (of mean_abs too).

        None for what is no image, and where a slice has no features.
        """
        shape = input.shape if key == WHOLE or input.pooled is None else input.pooled
        table = self.rows("features", key, input=input.name)
        if not input.is_image or not len(table) or None in shape:
            return None
        full = tuple(int(axis or 0) for axis in shape)
        values, places = table[column].to_numpy(), table["position"].to_numpy()
        flat = np.zeros(math.prod(full))
        inside = (places >= 0) & (places < len(flat))
        flat[places[inside]] = values[inside]
        return as_picture(flat, full)


_NONE: npt.NDArray[np.int64] = np.zeros(0, np.int64)


def as_picture(flat: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Values of a map in row-major order as [height, width], its channels summed."""
    whole = np.asarray(flat, np.float64).reshape(shape)
    return whole.sum(axis=-1) if whole.ndim == 3 else whole


def _explained(name: str, entry: Row) -> Explained:
    pooled = entry.get("pooled")
    return Explained(name, tuple(entry.get("shape") or ()), str(entry.get("kind")), tuple(pooled) if pooled else None)


def _places(table: pa.Table) -> dict[SliceKey, npt.NDArray[np.int64]]:
    """By slice and value, where its rows are."""
    if not len(table):
        return {}
    numbered = table.select(["slice", "value"]).append_column("place", pa.array(np.arange(len(table))))
    groups = numbered.group_by(["slice", "value"], use_threads=False).aggregate([("place", "list")])
    columns = (groups[name].to_pylist() for name in ("slice", "value", "place_list"))
    return {(str(kind), str(value)): np.array(places, np.int64) for kind, value, places in zip(*columns, strict=True)}
