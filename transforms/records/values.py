"""Arithmetic on the attributions of rows: how large they are, which are the strongest, what a column holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


def strongest(values: Values, count: int) -> npt.NDArray[np.int64]:
    """Positions of the `count` values of largest magnitude of each row, in descending order; of equal ones the first
    comes first, and what is no number comes last: [rows, values] → [rows, count]."""
    size = np.abs(values)
    size[np.isnan(size)] = -1
    least = np.partition(size, -count, axis=1)[:, -count, None]
    above, equal = size > least, size == least
    room = count - above.sum(axis=1, keepdims=True)
    positions = np.nonzero(above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room)))[1].reshape(-1, count)
    order = np.argsort(-np.take_along_axis(size, positions, axis=1), axis=1, kind="stable")
    return np.take_along_axis(positions, order, axis=1)


def row_values(column: pa.Array | pa.ChunkedArray) -> tuple[Doubles, npt.NDArray[np.int64]]:
    """The values of an attribution column, tensors or lists, one after another, and the row of each."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    lists = array.storage if isinstance(array, pa.ExtensionArray) else array
    values = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    lengths = pc.list_value_length(lists).to_numpy()
    return values, np.repeat(np.arange(len(lists)), lengths)


def magnitude(values: Values) -> Doubles:
    """Σ|values| of each row, in float64: [rows, values] → [rows]."""
    return np.asarray(np.abs(values).sum(axis=1, dtype=np.float64))


def share(kept: Doubles, left: Doubles) -> Doubles:
    """What part of Σ|A| is kept; of nothing, all of it."""
    total = kept + left
    return np.where(total == 0, 1.0, kept / np.where(total == 0, 1, total))
