"""A comparison as a page."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.compare import Comparison
from pipeline.compare_summary import ALONE, MEASURES, changes, drifted, feature_name, in_words, slice_name
from pipeline.excerpts import shown
from pipeline.pages.page import render, replace
from pipeline.show.colours import rgb
from transforms.comparing.slices import ALL
from transforms.comparison_files import FEATURES, MOST_MOVED, SLICES

MOST = 100


def write_page(found: Comparison, path: pathlib.Path) -> None:
    """Write the page, which is replaced when it is there.

    Raises:
        UsageError: E_SHOW_FILE where the file cannot be written.
    """
    replace(path, render("compare.html.j2", values(found)).encode())


def values(found: Comparison) -> dict[str, Any]:
    """What the page shows: texts, and numbers as they are read."""
    summary, features = found.summary, drifted(found.tables[FEATURES], MOST)
    return {
        "title": "What changed between two runs",
        "runs": [_run(summary["runs"][side]) for side in ("a", "b")],
        "differences": [(shown(key), shown(a), shown(b)) for key, (a, b) in summary["differences"].items()],
        "drift": {name: _short(value) for name, value in summary["drift"].items()},
        "counts": [(words, f"{summary['rows'][key]:,}") for key, words in COUNTED.items()],
        "measures": [_measure(words, summary["measures"].get(name)) for name, words in MEASURES.items()],
        "changes": [shown(line) for line in changes(found)],
        "slices": [_slice(row) for row in found.tables[SLICES].slice(0, MOST).to_pylist()],
        "tests": summary["features"],
        "features": [_feature(row, _largest(features)) for row in features],
        "maps": _maps(found),
        "moved": [_moved(row) for row in found.tables[MOST_MOVED].to_pylist()],
        "limits": [shown(line) for line in summary["limits"]],
        "least_change": f"{summary['least_change']:g}",
        "where": shown(found.where),
    }


COUNTED = {"pairs": "in both runs", "measured": "measured", **ALONE}


def _run(run: Mapping[str, Any]) -> dict[str, str]:
    wanted = ("output", "model", "method", "baseline", "target", "tolerance", "rows", "quarantined")
    return {name: shown(in_words(run[name])) for name in wanted} | {"fingerprint": run["fingerprint"][:12]}


def _measure(words: str, measure: Mapping[str, Any] | None) -> list[str]:
    known = measure or {}
    return [words, *(_short(known.get(key)) for key in ("p05", "p50", "p95")), f"{known.get('rows', 0):,}"]


def _slice(row: Mapping[str, Any]) -> list[str]:
    between = "" if row["drift_low"] is None else f"{row['drift_low']:.3g} … {row['drift_high']:.3g}"
    numbers = [_short(row[key]) for key in ("output_a", "output_b")]
    counts = [f"{row[key]:,}" for key in ("predicted_changed", "status_changed")]
    return [shown(slice_name(row)), f"{row['rows']:,}", _short(row["drift"]), between, *numbers, *counts]


def _feature(row: Mapping[str, Any], largest: float) -> dict[str, Any]:
    size = round(50 * abs(row["difference"]) / largest, 2)
    return {
        "name": shown(feature_name(row)),
        "slice": shown(slice_name(row)),
        "cells": [_short(row[key]) for key in ("share_a", "share_b", "difference")],
        "between": f"{row['low']:.3g} … {row['high']:.3g}",
        "p": _short(row["p_adjusted"]),
        "bar": _hex(np.sign(row["difference"])),
        "left": 50 - size if row["difference"] < 0 else 50,
        "size": size,
    }


def _largest(features: Sequence[Mapping[str, Any]]) -> float:
    return max((abs(row["difference"]) for row in features), default=1.0) or 1.0


def _maps(found: Comparison) -> list[dict[str, Any]]:
    """Of each image, how the importance of each of its features differs over all rows."""
    table, maps = found.tables[FEATURES], []
    whole = [row for row in table.select(["slice", "input", "difference"]).to_pylist() if row["slice"] == ALL]
    for name, (height, width) in found.grids.items():
        differences = np.array([row["difference"] for row in whole if row["input"] == name]).reshape(height, width)
        limit = float(np.abs(differences).max()) or 1.0
        cells = [
            {"x": x, "y": y, "colour": _hex(value / limit)}
            for y, line in enumerate(differences.tolist())
            for x, value in enumerate(line)
            if value
        ]
        maps.append({"input": shown(name), "width": width, "height": height, "cells": cells, "limit": _short(limit)})
    return maps


def _moved(row: Mapping[str, Any]) -> list[str]:
    target = "" if row["target"] is None else str(row["target"])
    numbers = [_short(row[key]) for key in ("drift", "spearman", "cosine", "relative_l1", "output_a", "output_b")]
    return [shown(row["row_id"]), target, *numbers, f"{row['status_a']} → {row['status_b']}"]


def _hex(share: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb(float(share)))


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
