"""The tables of an audit out of what was aggregated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.auditing.aggregates import Aggregates
from transforms.auditing.grouping import Array
from transforms.auditing.measures import BINS, LINEAR, LOGARITHMIC, MEASURES, SKETCHED, MeasureSums
from transforms.auditing.part_columns import NONFINITE
from transforms.auditing.slicing import Slice, natural
from transforms.records.part import STATUSES

REPEATED_ROWS = 1000
# Buckets of a bin of the histograms of relative delta and error estimate.
BINS_AN_OCTAVE = 2


def tables_of(found: Aggregates) -> dict[str, pa.Table]:
    """By name, those of `AuditTables` that come of rows; the quarantine's comes of other files."""
    slices = found.plan.slices
    tables = {
        "slices": _slices(found.measures, slices),
        "features": _features(found, slices),
        "regions": _regions(found, slices),
        "tokens": _tokens(found, slices),
        "confusion": _confusion(found),
        "histograms": _histograms(found.measures, slices),
        "rows": found.notable.table(slices),
        "duplicates": _duplicates(found),
    }
    return {name: table for name, table in tables.items() if table is not None}


def _named(slices: Sequence[Slice], which: Array) -> dict[str, pa.Array]:
    kinds, values = zip(*slices, strict=True)
    chosen = pa.array(which)
    return {"slice": pa.array(kinds).take(chosen), "value": pa.array(values).take(chosen)}


def _slices(sums: MeasureSums, slices: Sequence[Slice]) -> pa.Table:
    mean = {name: sums.moments.mean[:, place] for place, name in enumerate(MEASURES)}
    variance = {name: sums.moments.variance[:, place] for place, name in enumerate(MEASURES)}
    largest = {name: sums.moments.largest[:, place] for place, name in enumerate(MEASURES)}
    least = sums.moments.least
    quantiles = sums.sketch.quantiles([0.5, 0.95])
    columns: dict[str, Any] = dict(zip(("rows", *STATUSES), sums.rows.T, strict=True))
    columns |= {f"{name}_variance": variance[name] for name in ("output", "baseline_output")}
    columns |= {f"{name}_mean": mean[name] for name in ("output", "baseline_output", "delta", "steps", "blind_share")}
    for place, name in enumerate(SKETCHED):
        middle, high = (np.clip(found[:, place], least[:, place], largest[name]) for found in quantiles)
        columns[f"{name}_p50"], columns[f"{name}_p95"] = middle, high
        columns[f"{name}_max"] = largest[name]
    del columns["steps_p95"]
    arrays = {name: _numbers(values) for name, values in columns.items()}
    return pa.table({**_named(slices, np.arange(len(slices))), **arrays})


def _features(found: Aggregates, slices: Sequence[Slice]) -> pa.Table | None:
    return _stacked([(name, *sums.features()) for name, sums in found.maps.items()], slices)


def _regions(found: Aggregates, slices: Sequence[Slice]) -> pa.Table | None:
    parts = []
    for name, sums in found.maps.items():
        if sums.regions is not None:
            columns = sums.regions.columns()
            columns |= {key: _numbers(columns[key].to_numpy()) for key in ("share_mean", "share_variance")}
            parts.append((name, np.repeat(np.arange(len(slices)), len(sums.regions.names)), columns))
    table = _stacked(parts, slices)
    return table and table.filter(pa.array(table["rows"].to_numpy() > 0))


def _tokens(found: Aggregates, slices: Sequence[Slice]) -> pa.Table | None:
    rows = found.measures.rows[:, 0] - found.measures.rows[:, 1 + STATUSES.index(NONFINITE)]
    parts = [(name, *sums.tokens.columns(rows)) for name, sums in found.maps.items() if sums.tokens is not None]
    return _stacked(parts, slices)


def _stacked(parts: Sequence[tuple[str, Array, dict[str, pa.Array]]], slices: Sequence[Slice]) -> pa.Table | None:
    """One below another, each with its slices and input."""
    tables = [
        pa.table({**_named(slices, which), "input": pa.array([name] * len(which), pa.string()), **columns})
        for name, which, columns in parts
    ]
    return pa.concat_tables(tables) if tables else None


def _confusion(found: Aggregates) -> pa.Table:
    pairs = sorted(found.confusion, key=lambda pair: (natural(pair[0]), natural(pair[1])))
    return pa.table(
        {
            "label": pa.array([label for label, _ in pairs], pa.string()),
            "predicted": pa.array([predicted for _, predicted in pairs], pa.string()),
            "rows": pa.array([found.confusion[pair] for pair in pairs], pa.int64()),
        }
    )


def _duplicates(found: Aggregates) -> pa.Table:
    again = [(name, target) for (name, target), rows in found.repeated.items() if rows > 1]
    again.sort(key=lambda row: (natural(row[0]), -1 if row[1] is None else row[1]))
    kept = again[:REPEATED_ROWS]
    return pa.table(
        {
            "row_id": pa.array([name for name, _ in kept], pa.string()),
            "target": pa.array([target for _, target in kept], pa.int64()),
            "rows": pa.array([found.repeated[row] for row in kept], pa.int64()),
        }
    )


def _histograms(sums: MeasureSums, slices: Sequence[Slice]) -> pa.Table:
    parts = [*_logarithmic(sums), *_linear(sums)]
    tables = []
    for measure, low, high, counts in parts:
        which, places = np.nonzero(counts)
        bins = {"low": low[places], "high": high[places], "rows": counts[which, places]}
        names = pa.array([measure] * len(which), pa.string())
        tables.append(pa.table({**_named(slices, which), "measure": names, **bins}))
    return pa.concat_tables(tables)


def _logarithmic(sums: MeasureSums) -> Iterator[tuple[str, Array, Array, Array]]:
    """Measure, low and high of its bins, rows [slices, bins]; what is below the first bin counts as a bin from 0."""
    buckets = sums.sketch.buckets
    low, high = buckets.edges()
    together = max(1, (1 << buckets.bits) // BINS_AN_OCTAVE)
    for name in LOGARITHMIC:
        place = SKETCHED.index(name)
        counts = sums.sketch.counts[:, place, buckets.half :]
        binned = np.add.reduceat(counts[:, 1:], np.arange(0, buckets.half, together), axis=1)
        least = np.concatenate([[0.0], low[place, ::together]])
        yield name, least, np.append(least[1:], high[place, -1]), np.concatenate([counts[:, :1], binned], axis=1)


def _linear(sums: MeasureSums) -> Iterator[tuple[str, Array, Array, Array]]:
    for place, name in enumerate(LINEAR):
        edges = sums.plan.edges[place]
        yield name, edges[:BINS], edges[1:], sums.bins[:, place]


def _numbers(values: Array) -> pa.Array:
    """With null in place of what is no number."""
    if values.dtype.kind == "i":
        return pa.array(values)
    return pa.array(np.where(np.isfinite(values), values, np.nan), from_pandas=True)
