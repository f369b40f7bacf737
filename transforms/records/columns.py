"""How an attribution becomes columns: summed over axes, folded into groups, thinned out to the strongest, rounded."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.errors import UsageError, quoted
from transforms.records.config import Axes, ColumnsConfig
from transforms.records.groups import FeatureGroups, feature_groups, groups_by_input
from transforms.records.values import Doubles, Values, magnitude, share, strongest

ATTRIBUTION, INDEX, SHARE, REST = "attribution_", "index_", "share_", "_rest"
GROUPS, SHAPE = "attribeam.groups", "attribeam.shape"
Shape = tuple[int | None, ...]
Lengths = npt.NDArray[np.int64]
REST_TYPE = pa.fixed_shape_tensor(pa.float32(), [1])


@dataclasses.dataclass(frozen=True)
class Stored:
    """Attributions of some rows as they are written.

    Attributes:
        columns: by name, [rows] each.
        finite: whether every value of the row is a number in the type written, [rows].
        size: Σ|A| of the row's values before they are rounded to `output.dtype`, [rows].
        lost: Σ of what that rounding changed, [rows].
    """

    columns: Mapping[str, pa.Array]
    finite: npt.NDArray[np.bool_]
    size: Doubles
    lost: Doubles


@dataclasses.dataclass(frozen=True)
class AttributionColumns:
    """What is written of one explained input's attributions; each step takes what the one before it left.

    Attributes:
        input: its name.
        shape: of one example's attribution; None in place of the first axis: each row has its own length.
        axes: summed over.
        groups: folded into one value each; None: every value stays one.
        top: how many values of the largest magnitude are kept; None: all.
        dtype: of the values written.
        steps: the usual length of a row, where that varies: for estimates.
    """

    input: str
    shape: Shape
    axes: tuple[int, ...] = ()
    groups: FeatureGroups | None = None
    top: int | None = None
    dtype: Literal["float32", "float16"] = "float32"
    steps: int = 1

    @property
    def name(self) -> str:
        """Of the column that holds the values."""
        return ATTRIBUTION + self.input

    @property
    def dense_shape(self) -> Shape:
        """What is left of the shape by axes and groups; a single number is written as [1]."""
        return (len(self.groups.names),) if self.groups else reduced_shape(self.shape, self.axes)

    @property
    def kept(self) -> int:
        """Values written of a row, of one of the usual length where that varies."""
        size = math.prod(self.steps if axis is None else axis for axis in self.dense_shape)
        return size if self.top is None else min(self.top, size)

    @property
    def row_bytes(self) -> int:
        """Of one row, before compression."""
        value = np.dtype(self.dtype).itemsize
        return self.kept * value if self.top is None else self.kept * (value + 4) + 8

    def fields(self) -> list[pa.Field]:
        """The columns, in the order in which they are written."""
        kind = pa.from_numpy_dtype(np.dtype(self.dtype))
        about = {GROUPS: json.dumps(self.groups.names, ensure_ascii=False)} if self.groups else None
        varying = None in self.dense_shape
        if varying or self.top is not None:
            about = {**(about or {}), SHAPE: json.dumps(self.dense_shape)}
        if self.top is None:
            whole = pa.list_(kind) if varying else pa.fixed_shape_tensor(kind, self.dense_shape)
            return [pa.field(self.name, whole, metadata=about)]
        return [
            pa.field(self.name, pa.list_(kind), metadata=about),
            pa.field(INDEX + self.input, pa.list_(pa.int32())),
            pa.field(SHARE + self.input, pa.float32()),
            pa.field(self.name + REST, REST_TYPE),
        ]

    def store(self, values: Values, lengths: Lengths | None = None) -> Stored:
        """Attributions [rows, *shape] as they are written.

        Args:
            lengths: of rows that are filled up at their end, their own ones, int64 [rows]; the values beyond are 0.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            exact = self._dense(values)
            sizes = self._sizes(exact, values, lengths)
            if self.top is None:
                return self._stored(exact, sizes, {})
            # what is beyond a row's own is no number, and so comes after all that is in it
            own = exact if lengths is None else np.where(_within(sizes, exact), exact, np.float32(np.nan))
            positions = strongest(own, min(self.top, exact.shape[1]))
            values, sizes = np.take_along_axis(exact, positions, axis=1), np.minimum(sizes, positions.shape[1])
            left = exact.copy()
            np.put_along_axis(left, positions, 0, axis=1)
            rest = left.sum(axis=1, dtype=np.float64).astype(np.float32)
            columns = {
                INDEX + self.input: _lists(positions.astype(np.int32), sizes),
                SHARE + self.input: pa.array(share(magnitude(values), magnitude(left)), pa.float32()),
                self.name + REST: _tensors(rest, REST_TYPE),
            }
            stored = self._stored(values, sizes, columns)
            return dataclasses.replace(stored, finite=stored.finite & np.isfinite(rest))

    def _dense(self, values: Values) -> Values:
        """Summed over axes and groups in float64, then rounded to float32 once: [rows, values]."""
        axes = tuple(axis + 1 for axis in self.axes)
        summed = values.sum(axis=axes, dtype=np.float64) if axes else values
        flat = summed.reshape(len(values), math.prod(summed.shape[1:]))
        return (self.groups.fold(flat) if self.groups else flat).astype(np.float32, copy=False)

    def _sizes(self, exact: Values, values: Values, lengths: Lengths | None) -> Lengths:
        """How many of the [rows, values] are each row's own."""
        if lengths is None or None not in self.dense_shape:
            return np.full(len(exact), exact.shape[1])
        return np.asarray(lengths * (exact.shape[1] // values.shape[1]))

    def _stored(self, exact: Values, sizes: Lengths, others: Mapping[str, pa.Array]) -> Stored:
        """With float32 [rows, values], of which each row has so many, rounded to the type written; and the `others`."""
        rounded, kind = exact.astype(self.dtype, copy=False), self.fields()[0].type
        array = _tensors(rounded, kind) if isinstance(kind, pa.FixedShapeTensorType) else _lists(rounded, sizes)
        finite = np.isfinite(rounded).all(axis=1)
        if self.dtype == "float32":
            return Stored({self.name: array, **others}, finite, *np.zeros((2, len(exact))))
        lost = magnitude(rounded.astype(np.float64) - exact)
        return Stored({self.name: array, **others}, finite, magnitude(exact), lost)


def attribution_columns(
    output: ColumnsConfig, explained: Mapping[str, Shape], steps: Mapping[str, int] | None = None
) -> tuple[AttributionColumns, ...]:
    """How each explained input's attributions are written.

    Args:
        explained: shapes of the explained inputs' attributions, without the batch dimension; None for the length of a
            row.
        steps: that length, usually, by input.

    Raises:
        UsageError: E_REDUCE, E_GROUPS, E_TOP.
    """
    if unknown := sorted(set(output.reduce) - set(explained)):
        raise UsageError("E_REDUCE", f"output.reduce names {unknown[0]!r}; what is explained is {sorted(explained)}")
    groups = groups_by_input(output.groups, list(explained))
    found = []
    for name, shape in explained.items():
        axes = _axes(name, shape, output.reduce.get(name, ()))
        folded = feature_groups(name, groups[name], _size(name, shape, axes)) if name in groups else None
        usual = (steps or {}).get(name, 1)
        found.append(AttributionColumns(name, shape, axes, folded, output.top, output.dtype, usual))
    names = [field.name for columns in found for field in columns.fields()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(
            "E_TOP", f"with output.top two columns would be called {twice[0]!r}; leave it out, or rename an input"
        )
    return tuple(found)


def reduced_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """The shape of an attribution summed over `axes` (none negative); a single number is written as [1]."""
    return tuple(size for axis, size in enumerate(shape) if axis not in axes) or (1,)


def _size(name: str, shape: Shape, axes: tuple[int, ...]) -> int:
    """How many values an example has to be put into groups."""
    known = [axis for axis in reduced_shape(shape, axes) if axis is not None]
    if len(known) < len(reduced_shape(shape, axes)):
        raise UsageError(
            "E_GROUPS",
            f"output.groups: rows of {quoted(name)} have lengths of their own, so that a position stands for no"
            f" feature; leave its groups out, or sum over the steps first: output.reduce: {{{name}: [0]}}",
        )
    return math.prod(known)


def _axes(name: str, shape: Shape, asked: Axes) -> tuple[int, ...]:
    rank = len(shape)
    for axis in asked:
        if rank == 0 or (isinstance(axis, int) and not -rank <= axis < rank):
            raise UsageError("E_REDUCE", f"output.reduce.{name} names axis {axis}, but its shape is {shape}")
    return tuple(sorted({rank - 1 if axis == "channels" else axis % rank for axis in asked}))


def _tensors(values: Values, kind: pa.FixedShapeTensorType) -> pa.Array:
    storage = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), math.prod(kind.shape))
    return pa.ExtensionArray.from_storage(kind, storage)


def _lists(values: Values, sizes: Lengths) -> pa.Array:
    """The first `sizes` of each row's [rows, values] as lists."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values[_within(sizes, values)]))


def _within(sizes: Lengths, values: Values) -> npt.NDArray[np.bool_]:
    """Which of the [rows, values] are among the first `sizes` of their row."""
    return np.asarray(np.arange(values.shape[1]) < sizes[:, np.newaxis])
