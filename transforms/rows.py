"""The output rows of a part: what is known of some examples, joined with what was found out about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from transforms.attribution.explanation import Explanation
from transforms.records import part
from transforms.records.config import OutputConfig
from transforms.records.examples import Examples


def record_batch(
    examples: Examples, explanation: Explanation, schema: pa.Schema, file: str, output: OutputConfig
) -> pa.RecordBatch:
    """The output rows of some examples, in their order; with several targets, as many rows for each."""
    rows, chosen = len(explanation), pa.array(explanation.rows)
    values = {
        name: part.attribution_array(value, schema.field(part.ATTRIBUTION + name), output.reduce.get(name, ()))
        for name, value in explanation.attributions.items()
    }
    columns: dict[str, Any] = {
        "row_id": pa.array(examples.row_ids, pa.string()).take(chosen),
        "source_file": [file] * rows,
        "source_row": examples.source_rows[explanation.rows],
        **{name: array.take(chosen) for name, array in examples.carried.items()},
        "target": explanation.target,
        "target_rank": explanation.target_rank,
        "output": explanation.output,
        "baseline_output": explanation.baseline_output,
        "delta": explanation.delta,
        "relative_delta": explanation.relative_delta,
        "error_estimate": explanation.error_estimate,
        "steps": explanation.steps,
        "blind_share": explanation.blind_share,
        "baseline_spread": explanation.baseline_spread,
        "status": _statuses(explanation, values),
        **{part.ATTRIBUTION + name: array for name, array in values.items()},
    }
    return pa.record_batch([_column(columns[field.name], field.type, rows) for field in schema], schema=schema)


def _statuses(explanation: Explanation, stored: dict[str, pa.Array]) -> pa.DictionaryArray:
    """The rows' statuses; `nonfinite` also where a value is finite in float32 but not in the type written."""
    finite = np.ones(len(explanation), dtype=bool)
    for array in stored.values():
        finite &= np.isfinite(array.to_numpy_ndarray().reshape(len(array), -1)).all(axis=1)
    status = np.where(finite, explanation.status, "nonfinite")
    index = np.array([part.STATUSES.index(value) for value in status], np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(part.STATUSES))


def _column(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, kind)
    if isinstance(value, pa.Array):
        return value
    return pa.array(value, pa.float64()).cast(kind) if kind == pa.float32() else pa.array(value, kind)
