"""Parts of a row's map, by slice: which share of it each feature, region or token has, as arrays from the tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.findings.statistics import Moments
from transforms.errors import quoted

OTHER = "(other)"
_SIDES = {
    "top_left": "top left",
    "top_right": "top right",
    "bottom_left": "bottom left",
    "bottom_right": "bottom right",
}


class Part(NamedTuple):
    """A feature's position, a region or a token, of one input; `name` is that of a group of features."""

    input: str
    key: str | int
    name: str | None = None

    def __str__(self) -> str:
        if isinstance(self.key, int):
            called = f"feature {self.key}" if self.name is None else quoted(self.name)
            return f"{called} of {quoted(self.input)}"
        return quoted(self.key)


@dataclasses.dataclass(frozen=True)
class SliceParts:
    """A measure of each part in each value of one slice.

    Attributes:
        slice: its name.
        values: what it takes.
        parts: what is measured.
        moments: of the measure over the rows, [values, parts]; of no rows where the table has none.
        tests: how many measures the table has, of which these may be a choice.
        classes: names of the output's entries.
    """

    slice: str
    values: tuple[str, ...]
    parts: tuple[Part, ...]
    moments: Moments
    tests: int
    classes: tuple[str, ...] = ()

    def rows_of(self, value: str) -> str:
        """The rows of a value as one would say them."""
        return slice_words(self.slice, value, self.classes)

    def named(self, *values: str) -> list[int]:
        """Where these values stand, of those that are there."""
        return [self.values.index(value) for value in values if value in self.values]


def class_slice(audit: AuditTables) -> str | None:
    """The slice that tells the classes apart: labels, or without them what was predicted; None with neither."""
    slices = audit["slices"]["slice"].to_pylist()
    return next((name for name in ("label", "predicted") if slices.count(name) > 1), None)


def kept_slices(audit: AuditTables) -> list[str]:
    """The columns that were kept of the input."""
    return sorted({name for name in audit["slices"]["slice"].to_pylist() if name.startswith("keep:")})


def feature_measures(audit: AuditTables, slice_name: str, mean: str, variance: str) -> SliceParts:
    """Of the features of all inputs but images, of which single pixels say little: `region_shares` is for those."""
    images = audit["regions"]["input"].unique()
    table = audit["features"]
    table = table.filter(pc.invert(pc.is_in(table["input"], value_set=images.cast(pa.string()))))
    return _measures(audit, _of(table, slice_name), slice_name, "position", (mean, variance))


def map_shares(audit: AuditTables, slice_name: str) -> list[SliceParts]:
    """What each feature has of a row's Σ|A|, and each region of that of its image."""
    features = feature_measures(audit, slice_name, "share_mean", "share_variance")
    return [found for found in (features, region_shares(audit, slice_name)) if found.parts]


def region_shares(audit: AuditTables, slice_name: str) -> SliceParts:
    """What each region of an image has of its Σ|A|."""
    return _measures(audit, _of(audit["regions"], slice_name), slice_name, "region")


def region_areas(audit: AuditTables) -> dict[Part, float]:
    """What each region has of its image's area."""
    table = audit["regions"].select(["input", "region", "area_share"])
    return {Part(input_, region): area for input_, region, area in zip(*table.to_pydict().values(), strict=True)}


def token_shares(audit: AuditTables, slice_name: str, least: float) -> SliceParts:
    """What each token has of a row's Σ|A|, 0 in rows without it; of the tokens that have `least` in some value.

    Those that the table folds together are no token.
    """
    table = _of(audit["tokens"], slice_name)
    strong = pc.and_(pc.greater_equal(table["share_mean"], least), pc.not_equal(table["token"], OTHER))
    strong = table.filter(strong)["token"].unique()
    chosen = table.filter(pc.is_in(table["token"], value_set=strong))
    found = _measures(audit, chosen, slice_name, "token")
    counted = finite_rows(audit, slice_name)
    rows = np.array([counted[value] for value in found.values])[:, None] + np.zeros_like(found.moments.mean)
    moments = dataclasses.replace(found.moments, rows=rows)
    return dataclasses.replace(found, moments=moments, tests=len(table))


def finite_rows(audit: AuditTables, slice_name: str) -> dict[str, float]:
    """Rows of each value whose maps are numbers."""
    columns = _of(audit["slices"], slice_name).select(["value", "rows", "nonfinite"]).to_pydict().values()
    return {value: float(rows - lost) for value, rows, lost in zip(*columns, strict=True)}


def region_words(region: str) -> str:
    """A region as one would say it."""
    kind, _, rest = region.partition("_")
    if kind == "cell":
        row, column = (int(number) + 1 for number in rest.split("_"))
        return f"the cell in row {row}, column {column} of a 4 × 4 grid"
    if kind == "corner":
        return f"the {_SIDES[rest]} corner"
    return f"the {rest} border" if rest else f"the {region}"


def slice_words(slice_name: str, value: str, classes: Sequence[str] = ()) -> str:
    """The rows of a slice as one would say them."""
    said = {
        "all": "all rows",
        "label": f"rows of class {class_words(value, classes)}",
        "predicted": f"rows predicted {class_words(value, classes)}",
    }
    column = slice_name.removeprefix("keep:")
    return said.get(slice_name, f"rows whose {column} is {quoted(value)}")


def class_words(value: str, classes: Sequence[str]) -> str:
    """A label or prediction, by its class's name where it is the number of one that has a name."""
    index = int(value) if value.isdecimal() and len(value) < 10 else len(classes)
    if index >= len(classes) or classes[index] == value:
        return quoted(value)
    return f"{quoted(classes[index])} ({value})"


def classes_of(audit: AuditTables) -> tuple[str, ...]:
    """Names of the output's entries, where the model has them."""
    return tuple(audit.about.get("classes") or ())


def _of(table: pa.Table, slice_name: str) -> pa.Table:
    return table.filter(pc.equal(table["slice"], slice_name))


def _measures(
    audit: AuditTables,
    table: pa.Table,
    slice_name: str,
    key: str,
    measure: tuple[str, str] = ("share_mean", "share_variance"),
) -> SliceParts:
    (values, row), (inputs, which), (keys, column) = (_numbered(table[name]) for name in ("value", "input", key))
    codes, column = np.unique(which * max(len(keys), 1) + column, return_inverse=True)
    pairs = [(inputs[code // len(keys)], keys[code % len(keys)]) for code in codes]
    names = _names(table) if key == "position" else {}
    grids = []
    for name in ("rows", *measure):
        grid = np.zeros((len(values), len(codes)))
        grid[row, column] = np.nan_to_num(table[name].to_numpy().astype(np.float64))
        grids.append(grid)
    parts = tuple(Part(*pair, names.get(pair)) for pair in pairs)
    return SliceParts(slice_name, tuple(values), parts, Moments(*grids), len(table), classes_of(audit))


def _names(table: pa.Table) -> dict[tuple[str, int], str]:
    named = table.filter(pc.is_valid(table["name"]))
    columns = (named[name].to_pylist() for name in ("input", "position", "name"))
    return {(input_, position): name for input_, position, name in zip(*columns, strict=True)}


def _numbered(column: pa.ChunkedArray) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """The distinct values, in the order in which they come, and which of them each row has."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
