"""What two runs' comparison says: its tables and its summary, out of what was added up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.comparing.features import Features
from transforms.comparing.histogram import Histogram
from transforms.comparing.significance import LEAST_ROWS, LEVEL, PairedMoments, holm
from transforms.comparing.slices import ALL, ordered
from transforms.comparing.tally import SliceTally, Tally
from transforms.records.values import Doubles

WHOLE = (ALL, "")
FEATURES = pa.schema(
    [("slice", pa.string()), ("value", pa.string()), ("input", pa.string()), ("position", pa.int64())]
    + [("name", pa.string()), ("rows", pa.int64())]
    + [(name, pa.float64()) for name in ("share_a", "share_b", "difference", "low", "high", "p", "p_adjusted")]
    + [("drifted", pa.bool_())]
)
SLICES = pa.schema(
    [("slice", pa.string()), ("value", pa.string())]
    + [(name, pa.int64()) for name in ("rows", "measured")]
    + [(name, pa.float64()) for name in ("drift", "drift_low", "drift_high")]
    + [(name, pa.float64()) for name in ("output_a", "output_b", "output_difference", "output_low", "output_high")]
    + [(name, pa.int64()) for name in ("predicted", "predicted_changed", "status_changed")]
)
QUANTILES = (0.05, 0.5, 0.95)
COUNTS = ("pairs", "measured", "only_a", "only_b", "other_target", "other_length", "nonfinite")


def features_table(tally: Tally, features: Features, least_change: float) -> pa.Table:
    """`FEATURES`: the importance of every feature in every slice, in both runs, and whether it has changed.

    Args:
        least_change: what a change must exceed, as a share of the larger one of the two importances, to count.
    """
    tables = [_slice_features(name, tally.slices[name].shares, features) for name in ordered(tally.slices)]
    table = pa.concat_tables(tables)
    adjusted = holm(table["p"].to_numpy())
    sizes = np.maximum(table["share_a"].to_numpy(), table["share_b"].to_numpy())
    apart = np.abs(table["difference"].to_numpy()) > least_change * sizes
    with np.errstate(invalid="ignore"):
        drifted = apart & (adjusted <= 1 - LEVEL)
    table = table.append_column("p_adjusted", _numbers(adjusted)).append_column("drifted", pa.array(drifted))
    nullable = {name: _numbers(table[name].to_numpy()) for name in ("low", "high", "p")}
    for name, column in nullable.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table.select(FEATURES.names).cast(FEATURES)


def slices_table(tally: Tally) -> pa.Table:
    """`SLICES`: rows, drift, outputs and changes of every slice."""
    return pa.Table.from_pylist([_slice_row(name, tally.slices[name]) for name in ordered(tally.slices)], SLICES)


def summary(tally: Tally, features: pa.Table) -> dict[str, Any]:
    """What `compare.json` says of the rows."""
    whole = tally.slices[WHOLE]
    low, high = (_number(bound[0]) for bound in whole.drift.interval())
    tested = features["p"].is_valid()
    return {
        "rows": {name: tally.counts[name] for name in COUNTS},
        "drift": {"mean": _mean(whole.drift, whole.drift.b), "low": low, "high": high, "confidence": LEVEL},
        "measures": {name: _distribution(name, histogram) for name, histogram in sorted(tally.histograms.items())},
        "predicted": {"rows": whole.predicted, "changed": whole.predicted_changed},
        "statuses": [{"a": a, "b": b, "rows": rows} for (a, b), rows in sorted(tally.statuses.items())],
        "features": {
            "tested": int(tested.to_numpy().sum()),
            "drifted": int(features["drifted"].to_numpy().sum()),
            "correction": "Holm",
            "level": round(1 - LEVEL, 12),
            "least_rows": LEAST_ROWS,
        },
    }


def _slice_features(name: tuple[str, str], shares: PairedMoments, features: Features) -> pa.Table:
    size = len(features.all)
    low, high = shares.interval()
    return pa.table(
        {
            "slice": [name[0]] * size,
            "value": [name[1]] * size,
            "input": [feature.input for feature in features.all],
            "position": [feature.position for feature in features.all],
            "name": pa.array([feature.name for feature in features.all], pa.string()),
            "rows": [shares.rows] * size,
            "share_a": shares.a,
            "share_b": shares.b,
            "difference": shares.difference,
            "low": low,
            "high": high,
            "p": shares.p_values(),
        }
    )


def _slice_row(name: tuple[str, str], tally: SliceTally) -> dict[str, Any]:
    drift, outputs = tally.drift, tally.outputs
    drift_low, drift_high = drift.interval()
    output_low, output_high = outputs.interval()
    return {
        "slice": name[0],
        "value": name[1],
        "rows": tally.rows,
        "measured": drift.rows,
        "drift": _mean(drift, drift.b),
        "drift_low": _number(drift_low[0]),
        "drift_high": _number(drift_high[0]),
        "output_a": _mean(outputs, outputs.a),
        "output_b": _mean(outputs, outputs.b),
        "output_difference": _mean(outputs, outputs.difference),
        "output_low": _number(output_low[0]),
        "output_high": _number(output_high[0]),
        "predicted": tally.predicted,
        "predicted_changed": tally.predicted_changed,
        "status_changed": tally.status_changed,
    }


def _distribution(name: str, histogram: Histogram) -> Mapping[str, Any]:
    """Quantiles, and the mean but for `relative_l1`, which may be without bounds."""
    quantiles = {f"p{round(100 * share):02}": histogram.quantile(share) for share in QUANTILES}
    if name == "relative_l1":
        return {"rows": histogram.rows} | {key: _unbounded(value) for key, value in quantiles.items()}
    return {"rows": histogram.rows, "mean": histogram.mean, **quantiles}


def _unbounded(value: float | None) -> float | None:
    return None if value is None else value / max(1 - value, 1e-12)


def _mean(moments: PairedMoments, values: Doubles) -> float | None:
    return _number(values[0]) if moments.rows else None


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Doubles) -> pa.Array:
    return pa.array(values, pa.float64(), mask=np.isnan(values))
