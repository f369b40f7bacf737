"""Drawn rows of a run, and the tables that an audit makes of them, by brute force."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.auditing.audit_tables import QUANTILES, SCHEMAS


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a run: a map each, [rows, *shape], and what was said of them."""

    label: Sequence[str]
    predicted: Sequence[str]
    maps: np.ndarray
    delta: np.ndarray
    status: Sequence[str]


def made_rows(count: int, labels: Sequence[str], shape: tuple[int, ...], seed: int = 7) -> Rows:
    """Rows whose maps have one blob a label, of which one in ten is predicted wrong."""
    random = np.random.default_rng(seed)
    index = np.arange(count) % len(labels)
    centres = random.uniform(0.25, 0.75, (len(labels), len(shape)))
    axes = np.meshgrid(*(np.linspace(0, 1, size) for size in shape), indexing="ij")
    away = sum(
        (axis[None] - centre.reshape(-1, *[1] * len(shape))) ** 2 for axis, centre in zip(axes, centres.T, strict=True)
    )
    maps = np.exp(-away * 18)[index] * random.normal(1, 0.35, (count, *shape)) - 0.12
    wrong = random.random(count) < 0.1
    predicted = np.where(wrong, (index + 1) % len(labels), index)
    delta = random.lognormal(-6.5, 1.2, count)
    status = np.where(delta > 0.02, "unconverged", "ok")
    status[random.random(count) < 0.01] = "flat"
    return Rows([labels[i] for i in index], [labels[i] for i in predicted], maps, delta, status.tolist())


def slices_of(rows: Rows) -> dict[tuple[str, str], np.ndarray]:
    """By slice and value, which rows are in it."""
    label, right = np.array(rows.label, object), np.array(rows.label, object) == np.array(rows.predicted, object)
    found = {("all", ""): np.ones(len(label), bool), ("correct", "right"): right, ("correct", "wrong"): ~right}
    for value in dict.fromkeys(rows.label):
        found["label", value] = label == value
        found["label,correct", f"{value},wrong"] = (label == value) & ~right
    return {key: mask for key, mask in found.items() if mask.any()}


def slice_table(rows: Rows) -> pa.Table:
    """The table `slices`."""
    status = np.array(rows.status)
    lines = []
    for (kind, value), mask in slices_of(rows).items():
        counts = {name: int((status[mask] == name).sum()) for name in ("ok", "unconverged", "flat", "nonfinite")}
        delta = rows.delta[mask]
        spread = {
            f"{name}_{at}": float(np.quantile(delta, q))
            for name in ("relative_delta", "error_estimate")
            for at, q in (("p50", 0.5), ("p95", 0.95), ("max", 1))
        }
        others = {
            "output_mean": 0.93,
            "baseline_output_mean": 0.11,
            "delta_mean": float(delta.mean()),
            "steps_mean": 24.5,
            "steps_p50": 16.0,
            "steps_max": 128.0,
            "blind_share_mean": 0.4,
        }
        lines.append({"slice": kind, "value": value, "rows": int(mask.sum()), **counts, **spread, **others})
    return pa.Table.from_pylist(lines, SCHEMAS["slices"])


def feature_table(rows: Rows, input: str, names: Sequence[str] | None = None) -> pa.Table:
    """The table `features`, by brute force."""
    pieces = []
    for (kind, value), mask in slices_of(rows).items():
        flat = rows.maps[mask].reshape(int(mask.sum()), -1)
        size = flat.shape[1]
        quantiles = np.quantile(flat, list(QUANTILES.values()), axis=0)
        columns: dict[str, Any] = {
            "slice": [kind] * size,
            "value": [value] * size,
            "input": [input] * size,
            "position": np.arange(size),
            "name": list(names) if names else [None] * size,
            "rows": np.full(size, len(flat)),
            "mean": flat.mean(0),
            "mean_abs": np.abs(flat).mean(0),
            "variance": flat.var(0),
            "min": flat.min(0),
            "max": flat.max(0),
            **dict(zip(QUANTILES, quantiles, strict=True)),
            "top_share": np.linspace(0, 1, size),
        }
        arrays = {name: columns.get(name, [None] * size) for name in SCHEMAS["features"].names}
        pieces.append(pa.table(arrays, SCHEMAS["features"]))
    return pa.concat_tables(pieces)


def row_table(rows: Rows, input: str, extra: Mapping[str, Sequence[Any]] | None = None, each: int = 3) -> pa.Table:
    """The table `rows`: the first rows of each slice as its worst, the next ones as atypical and typical."""
    lines = []
    for (kind, value), mask in slices_of(rows).items():
        places = np.flatnonzero(mask)
        for number, name in enumerate(("worst", "atypical", "typical")):
            for rank, place in enumerate(places[number * each : (number + 1) * each].tolist()):
                own = {key: values[place] for key, values in (extra or {}).items()}
                lines.append(
                    {
                        "slice": kind,
                        "value": value,
                        "kind": name,
                        "rank": rank + 1,
                        "score": float(rows.delta[place]),
                        "row_id": f"digits.parquet#{place}",
                        "source_file": "digits.parquet",
                        "source_row": place,
                        "label": rows.label[place],
                        "predicted": rows.predicted[place],
                        "target": 1,
                        "output": 0.11 + float(rows.maps[place].sum() - rows.delta[place]),
                        "baseline_output": 0.11,
                        "delta": float(rows.delta[place]),
                        "relative_delta": float(rows.delta[place]),
                        "error_estimate": float(rows.delta[place]),
                        "steps": 32,
                        "status": rows.status[place],
                        f"attribution_{input}": rows.maps[place].ravel().tolist(),
                        **own,
                    }
                )
    return pa.Table.from_pylist(lines)


def histogram_table(rows: Rows) -> pa.Table:
    """The table `histograms` of all rows."""
    edges = np.logspace(-6, 1, 43)
    lines = []
    for measure in ("relative_delta", "error_estimate"):
        found = np.histogram(rows.delta, edges)[0]
        lines += [
            {"slice": "all", "value": "", "measure": measure, "low": low, "high": high, "rows": int(n)}
            for low, high, n in zip(edges, edges[1:], found, strict=False)
        ]
    for measure, values, top in (
        ("steps", np.random.default_rng(1).integers(8, 128, len(rows.label)), 128),
        ("blind_share", np.random.default_rng(2).random(len(rows.label)), 1),
    ):
        found, bins = np.histogram(values, 20, (0, top))
        lines += [
            {"slice": "all", "value": "", "measure": measure, "low": low, "high": high, "rows": int(n)}
            for low, high, n in zip(bins, bins[1:], found, strict=False)
        ]
    return pa.Table.from_pylist(lines, SCHEMAS["histograms"])


def confusion_table(rows: Rows) -> pa.Table:
    """The table `confusion`."""
    pairs: dict[tuple[str, str], int] = {}
    for pair in zip(rows.label, rows.predicted, strict=True):
        pairs[pair] = pairs.get(pair, 0) + 1
    return pa.Table.from_pylist(
        [{"label": a, "predicted": b, "rows": n} for (a, b), n in pairs.items()], SCHEMAS["confusion"]
    )


def region_table(rows: Rows, input: str) -> pa.Table:
    """The table `regions`, of corners and border."""
    size = np.abs(rows.maps.reshape(len(rows.maps), *rows.maps.shape[1:3], -1)).sum(-1)
    height, width = size.shape[1:]
    lines = []
    for (kind, value), mask in slices_of(rows).items():
        whole = size[mask].sum((1, 2))
        for r in range(4):
            for c in range(4):
                cell = (
                    size[mask][:, r * height // 4 : (r + 1) * height // 4, c * width // 4 : (c + 1) * width // 4].sum(
                        (1, 2)
                    )
                    / whole
                )
                lines.append(
                    {
                        "slice": kind,
                        "value": value,
                        "input": input,
                        "region": f"cell_{r}_{c}",
                        "rows": len(whole),
                        "share_mean": float(cell.mean()),
                        "share_variance": float(cell.var()),
                        "area_share": 1 / 16,
                    }
                )
    return pa.Table.from_pylist(lines, SCHEMAS["regions"])


def about(input: str, shape: Sequence[int | None], kind: str, rows: Rows, **more: Any) -> dict[str, Any]:
    """What `audit.json` holds."""
    by_status = {name: rows.status.count(name) for name in ("ok", "unconverged", "flat", "nonfinite")}
    run = {
        "output": "out/digits",
        "fingerprint": "3f9c2ab41d07" * 5 + "abcd",
        "model": "models/digits.keras",
        "method": "integrated_gradients",
        "baseline": "zeros",
        "target": "label",
        "tolerance": 0.02,
        "rows": len(rows.label),
        "quarantined": 3,
        "rows_by_status": by_status,
        "gradients": 24_500 * 12,
        "seconds": 93.5,
        "devices": ["cpu"],
        "versions": {"tensorflow": "2.21.0", "attribeam": "0.1.0"},
        "command": ["attribeam", "run", "digits.yaml", "--set", "attribution.steps=auto"],
    }
    return {
        "schema_version": 1,
        "attribeam": "0.1.0",
        "run": run,
        "inputs": {input: {"shape": list(shape), "kind": kind, "pooled": None}},
        "classes": None,
        "findings": [],
        "limits": [],
        "tables": {},
        "seconds": 2.5,
        **more,
    }
