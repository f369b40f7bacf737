"""Rows of parts with attributions of one's own, in the columns that a run writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.records.columns import AttributionColumns, attribution_columns
from transforms.records.config import ColumnsConfig
from transforms.records.part import STATUSES, part_schema


def columns_of(shapes: Mapping[str, tuple[int | None, ...]], **config: Any) -> tuple[AttributionColumns, ...]:
    """How inputs of these shapes are written, with the keys of `output` in a configuration."""
    return attribution_columns(ColumnsConfig(**config), shapes)


def part(
    maps: Mapping[str, np.ndarray],
    columns: Sequence[AttributionColumns],
    carried: Mapping[str, pa.Array],
    seed: int = 0,
    *,
    first: int = 0,
    file: str = "a.parquet",
    lengths: np.ndarray | None = None,
    **others: Any,
) -> pa.Table:
    """Rows whose attributions are given, [rows, *shape] each; everything else is drawn.

    Args:
        carried: the label, what was predicted and what was kept, in the order of the columns.
        lengths: of rows that are filled up at their end.
        others: columns in place of drawn ones.
    """
    rows, draw = len(next(iter(maps.values()))), np.random.default_rng(seed)
    drawn: dict[str, Any] = {
        "row_id": [f"row {number}" for number in range(first, first + rows)],
        "source_file": [file] * rows,
        "source_row": np.arange(first, first + rows),
        "target": draw.integers(0, 3, rows),
        "output": draw.normal(size=rows),
        "baseline_output": draw.normal(size=rows) / 10,
        "delta": draw.normal(size=rows) / 1000,
        "relative_delta": 10 ** draw.uniform(-6, 0, rows),
        "error_estimate": 10 ** draw.uniform(-5, 1, rows),
        "steps": draw.integers(5, 500, rows),
        "blind_share": draw.random(rows),
        "baseline_spread": [None] * rows,
        "rounding": np.zeros(rows),
        "status": draw.choice(STATUSES[:3], rows, p=[0.8, 0.15, 0.05]),
    } | others
    stored = {
        name: array
        for one in columns
        for name, array in one.store(maps[one.input], lengths if None in one.shape else None).columns.items()
    }
    kinds = {name: array.type for name, array in carried.items()}
    schema = part_schema(columns, kinds, ranked="target_rank" in others)
    arrays = {
        **{name: pa.array(values, from_pandas=True) for name, values in drawn.items()},
        **carried,
        **stored,
    }
    return pa.table([_cast(arrays[field.name], field.type) for field in schema], schema=schema)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)
