"""A comparison for the terminal: the drift, the measures, the slices and features that changed, the rows to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.compare import Comparison
from pipeline.excerpts import shown
from transforms.comparison_files import FEATURES, MOST_MOVED, SLICES

LINES = 8
MAX_LINE_CHARACTERS = 1000
MEASURES = {
    "drift": "drift",
    "spearman": "rank correlation",
    "cosine": "cosine",
    "relative_l1": "Σ|B − A| / Σ|A|",
}


def show(found: Comparison, console: Console) -> None:
    """Print what two runs' comparison says, in about a screen."""
    for line in headline(found):
        console.print(Text(shown(line, MAX_LINE_CHARACTERS)), soft_wrap=True)
    console.print(_measures(found.summary["measures"]))
    for title, table in _tables(found):
        console.print(Text(f"\n{title}"))
        console.print(table)
    console.print(Text(f"\n{shown(found.where, MAX_LINE_CHARACTERS)}"), soft_wrap=True)


def headline(found: Comparison) -> Iterator[str]:
    """What is compared, of how many rows, and the drift: a line each."""
    runs, rows, drift = found.summary["runs"], found.summary["rows"], found.summary["drift"]
    for side in ("a", "b"):
        yield f"{side.upper()}: {runs[side]['output']} ({in_words(runs[side]['method'])}, {runs[side]['model']})"
    differing = [f"{key} ({a} → {b})" for key, (a, b) in found.summary["differences"].items()]
    yield "they differ in " + (", ".join(differing[:LINES]) or "nothing")
    alone = [f"{rows[key]:,} rows {words}" for key, words in ALONE.items() if rows[key]]
    yield f"{rows['pairs']:,} rows are in both, {rows['measured']:,} measured" + "".join(f"; {one}" for one in alone)
    if drift["mean"] is None:
        yield "no drift can be measured"
        return
    between = (
        f" ({drift['confidence']:.0%} {drift['low']:.4g} … {drift['high']:.4g})" if drift["low"] is not None else ""
    )
    yield f"drift {drift['mean']:.4g}{between}"


ALONE = {
    "only_a": "in A only",
    "only_b": "in B only",
    "other_target": "of A have another target in B",
    "other_length": "have maps of two lengths",
    "nonfinite": "have a value that is no number",
}


def in_words(setting: Any) -> str:
    """A setting as a configuration has it: of a method without options its name, of all inputs the one baseline."""
    if isinstance(setting, Mapping) and len(setting) == 1 and next(iter(setting)) in ("", "name"):
        return in_words(next(iter(setting.values())))
    return str(setting)


def changes(found: Comparison) -> list[str]:
    """How outputs, predictions and statuses changed, a line each."""
    predicted = found.summary["predicted"]
    lines = []
    if predicted["rows"]:
        lines.append(f"another prediction in {predicted['changed']:,} of {predicted['rows']:,} rows")
    changed = [one for one in found.summary["statuses"] if one["a"] != one["b"]]
    lines += [f"{one['a']} → {one['b']}: {one['rows']:,} rows" for one in changed]
    return lines


def drifted(features: pa.Table, most: int) -> list[dict[str, Any]]:
    """The features whose importance changed, the largest changes first."""
    found = features.filter(features["drifted"]).to_pylist()
    return sorted(found, key=lambda row: -abs(row["difference"]))[:most]


def feature_name(row: Mapping[str, Any]) -> str:
    """Of a row of the features' table."""
    return f"{row['input']} {row['name'] if row['name'] is not None else row['position']}"


def slice_name(row: Mapping[str, Any]) -> str:
    """Of a row of a table with slices."""
    return f"{row['slice']} {row['value']}".rstrip()


def _measures(measures: Mapping[str, Any]) -> Table:
    table = _table(("", "p05", "median", "p95", "rows"))
    for name, words in MEASURES.items():
        one = measures.get(name)
        if one and one["rows"]:
            table.add_row(Text(words), *(_short(one[key]) for key in ("p05", "p50", "p95")), f"{one['rows']:,}")
    return table


def _tables(found: Comparison) -> Iterator[tuple[str, Table]]:
    for line in changes(found):
        yield line, _table(())
    features, tests = found.tables[FEATURES], found.summary["features"]
    slices = [row for row in found.tables[SLICES].to_pylist() if row["drift"] is not None]
    if len(slices) > 1:
        yield "slices, most drift first", _slices(sorted(slices, key=lambda row: -row["drift"])[:LINES])
    found_features = drifted(features, LINES)
    title = f"{tests['drifted']:,} of {tests['tested']:,} importances changed (Holm, {tests['level']:g})"
    yield title, _features(found_features)
    moved = found.tables[MOST_MOVED].slice(0, LINES).to_pylist()
    if moved and moved[0]["drift"] > 0:
        yield "rows that moved most", _moved(moved)


def _slices(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(("slice", "rows", "drift", "output A", "output B"))
    for row in rows:
        numbers = (_short(row[key]) for key in ("drift", "output_a", "output_b"))
        table.add_row(Text(shown(slice_name(row))), f"{row['rows']:,}", *numbers)
    return table


def _features(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(("feature", "slice", "share A", "share B", "difference", "p") if rows else ())
    for row in rows:
        numbers = (_short(row[key]) for key in ("share_a", "share_b", "difference", "p_adjusted"))
        table.add_row(Text(shown(feature_name(row))), Text(shown(slice_name(row))), *numbers)
    return table


def _moved(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(("row", "target", "drift", "spearman", "output A", "output B"))
    for row in rows:
        numbers = (_short(row[key]) for key in ("drift", "spearman", "output_a", "output_b"))
        table.add_row(Text(shown(row["row_id"])), "" if row["target"] is None else str(row["target"]), *numbers)
    return table


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=bool(place))
    return table


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
