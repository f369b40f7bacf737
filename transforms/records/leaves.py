"""Arrow columns taken apart: what their types hold, and their innermost values with the rows these belong to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt


def _storage(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if pt.is_dictionary(kind) else kind


def _is_list(kind: pa.DataType) -> bool:
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def leaf_type(kind: pa.DataType) -> pa.DataType:
    """The type of the innermost values of a list, dictionary or tensor column."""
    while (inner := _storage(kind).value_type if _is_list(_storage(kind)) else _storage(kind)) != kind:
        kind = inner
    return kind


def step_type(kind: pa.DataType) -> pa.DataType | None:
    """The type of the items of a list column; None when it holds no lists."""
    return _storage(kind).value_type if _is_list(_storage(kind)) else None


def fixed_size(kind: pa.DataType) -> int | None:
    """Values per row when the type alone decides that."""
    size, kind = 1, _storage(kind)
    while _is_list(kind):
        if not pt.is_fixed_size_list(kind):
            return None
        size, kind = size * kind.list_size, _storage(kind.value_type)
    return size


def is_number(kind: pa.DataType) -> bool:
    """Integers, floats and booleans."""
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_boolean(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Byte strings of any width; text is none."""
    return bool(pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_fixed_size_binary(kind))


def is_text(kind: pa.DataType) -> bool:
    """Text, or the bytes that some formats have for it."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_binary(kind) or pt.is_large_binary(kind))


def logical_shape(kind: pa.FixedShapeTensorType) -> tuple[int, ...]:
    """Axes of one row in the order the user means, where the column may store them permuted."""
    order = kind.permutation or range(len(kind.shape))
    return tuple(kind.shape[axis] for axis in order)


class Leaves(NamedTuple):
    """A column taken apart: its innermost values, and how they belong to rows."""

    values: pa.Array  # [sum of counts]; nulls only in rows where `nulls`
    counts: np.ndarray  # [rows] int64: values of each row
    present: np.ndarray  # [rows] bool: the row is not null
    nulls: np.ndarray  # [rows] bool: there is a null inside the row

    def rows(self, size: int) -> np.ndarray:
        """Rows that hold exactly `size` values and no null, int64, ascending."""
        return np.flatnonzero(self.present & ~self.nulls & (self.counts == size))

    def take(self, values: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
        """`values` of these rows, [len(rows), size]; a view when that is all of them."""
        if len(rows) == len(self.counts):
            return np.reshape(values, (len(rows), size))
        starts = np.cumsum(self.counts) - self.counts
        return np.asarray(values[starts[rows, None] + np.arange(size)])


class Lists(NamedTuple):
    """A list column taken apart: the items of its rows, one after another."""

    items: pa.Array  # [sum of counts]
    counts: np.ndarray  # [rows] int64: items of each row
    present: np.ndarray  # [rows] bool: the row is not null


def outer_lists(array: pa.Array) -> Lists:
    """The outermost lists of a column that holds lists."""
    array = _dense(array)
    counts = as_numpy(pc.fill_null(pc.list_value_length(array), 0)).astype(np.int64)
    return Lists(_dense(array).flatten(), counts, as_numpy(array.is_valid()))


def _dense(array: pa.Array) -> pa.Array:
    if isinstance(array, pa.ExtensionArray):
        return _dense(array.storage)
    return array.dictionary_decode() if pt.is_dictionary(array.type) else array


def take_apart(array: pa.Array) -> Leaves:
    """The innermost values of any column, without a copy where its layout allows."""
    array = _dense(array)
    present = as_numpy(array.is_valid())
    counts, nulls = np.ones(len(array), np.int64), np.zeros(len(array), bool)
    while _is_list(array.type):
        nulls |= _has_null(array, counts)
        counts = _sums(counts, as_numpy(pc.fill_null(pc.list_value_length(array), 0)))
        array = _dense(array.flatten())
    nulls = (nulls | _has_null(array, counts)) & present
    return Leaves(array, counts, present, nulls)


def as_numpy(array: pa.Array) -> np.ndarray:
    """An Arrow array as numpy, a view where that is possible."""
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    return values


def _has_null(array: pa.Array, counts: np.ndarray) -> np.ndarray:
    """Whether the run of values that belongs to a row holds a null, bool [rows]."""
    return _sums(counts, as_numpy(array.is_null())) > 0 if array.null_count else np.zeros(len(counts), bool)


def _sums(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sum of `values` over runs of these lengths, int64 [len(counts)]."""
    sums, ends = np.concatenate([[0], np.cumsum(values, dtype=np.int64)]), np.cumsum(counts)
    return np.asarray(sums[ends] - sums[ends - counts])


def numbers(values: pa.Array) -> np.ndarray:
    """Numbers as numpy; null becomes 0, bool uint8."""
    if pt.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if pt.is_float16(values.type):
        values = values.cast(pa.float32())
    return as_numpy(pc.fill_null(values, pa.scalar(0, values.type)) if values.null_count else values)
