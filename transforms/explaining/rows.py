"""The output rows of a part: what is known of some examples, joined with what was found out about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.attribution.explanation import Explanation
from transforms.records import part
from transforms.records.columns import AttributionColumns, Stored
from transforms.records.examples import Examples


def record_batch(
    examples: Examples,
    explanation: Explanation,
    schema: pa.Schema,
    file: str,
    attributions: Sequence[AttributionColumns],
) -> pa.RecordBatch:
    """The output rows of some examples, in their order; with several targets, as many rows for each."""
    rows, chosen = len(explanation), pa.array(explanation.rows)
    stored = [
        columns.store(explanation.attributions[columns.input], explanation.lengths.get(columns.input))
        for columns in attributions
    ]
    finite = np.all([one.finite for one in stored], axis=0) & (explanation.status != "nonfinite")
    columns: dict[str, Any] = {
        "row_id": pa.array(examples.row_ids, pa.string()).take(chosen),
        "source_file": [file] * rows,
        "source_row": examples.source_rows[explanation.rows],
        **{name: array.take(chosen) for name, array in examples.carried.items()},
        "target": explanation.target,
        "target_rank": explanation.target_rank,
        "predicted": explanation.predicted,
        "output": explanation.output,
        "baseline_output": explanation.baseline_output,
        "delta": explanation.delta,
        "relative_delta": explanation.relative_delta,
        "error_estimate": explanation.error_estimate,
        "steps": explanation.steps,
        "blind_share": explanation.blind_share,
        "baseline_spread": explanation.baseline_spread,
        "rounding": pa.array(_rounding(stored), pa.float32(), mask=~finite),
        # `nonfinite` also where a value is finite in float32 but not in the type written
        "status": _statuses(np.where(finite, explanation.status, "nonfinite")),
        **{name: array for one in stored for name, array in one.columns.items()},
    }
    return pa.record_batch([_column(columns[field.name], field.type, rows) for field in schema], schema=schema)


def _rounding(stored: Sequence[Stored]) -> npt.NDArray[np.float64]:
    """What rounding changed of each row: Σ|A16 − A32| / Σ|A32| over all that is written of it; 0 of nothing."""
    size, lost = np.sum([one.size for one in stored], axis=0), np.sum([one.lost for one in stored], axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(lost / np.where(size == 0, 1, size))


def _statuses(status: npt.NDArray[np.str_]) -> pa.DictionaryArray:
    index = np.array([part.STATUSES.index(value) for value in status], np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(part.STATUSES))


def _column(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, kind)
    if isinstance(value, pa.Array):
        return value
    return pa.array(value, pa.float64()).cast(kind) if kind == pa.float32() else pa.array(value, kind)
