"""Evaluations of the same rows side by side: paired differences from the first, and the table that is shown."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.evaluation import Evaluated
from pipeline.excerpts import shown
from transforms.attribution.faithfulness.bootstrap import LEVEL
from transforms.evaluating.evaluation_files import mean_of
from transforms.storage.manifest import EVALUATION, to_json

MAX_LINE_CHARACTERS = 1000
BETWEEN = f"{LEVEL:.0%} interval"
LEGEND = "↑ higher is better, ↓ lower; the intervals are of the mean over the sample's rows, by bootstrap"
NOTHING = {"mean": None, "low": None, "high": None}
ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


def compare(evaluated: Sequence[Evaluated]) -> dict[str, Any]:
    """What `_evaluation/comparison-*.json` holds: of each run its means, and its differences from the first run's.

    A difference is the mean, over the rows that have the metric in both, of this run's value less the first run's.
    """
    first, settings = evaluated[0], evaluated[0].summary["settings"]
    return {
        "settings": settings,
        "runs": [
            {
                "run": one.place.root,
                "fingerprint": one.summary["fingerprint"],
                "metrics": one.summary["metrics"],
                "differences": {name: _difference(first, one, name) for name in settings["metrics"]},
            }
            for one in evaluated
        ],
    }


def _difference(first: Evaluated, other: Evaluated, name: str) -> dict[str, Any]:
    pairs = zip(first.rows[name].to_pylist(), other.rows[name].to_pylist(), strict=True)
    values = [None if a is None or b is None else b - a for a, b in pairs]
    return dataclasses.asdict(mean_of(values, int(first.summary["settings"]["seed"]), f"{name} difference"))


def store(comparison: dict[str, Any], first: Evaluated) -> str:
    """Write the comparison beside the first run's evaluation; its name."""
    fingerprints = [[run["fingerprint"], first.stem] for run in comparison["runs"]]
    name = f"{EVALUATION}/comparison-{hashlib.sha256(to_json(fingerprints)).hexdigest()[:12]}.json"
    first.place.publish_bytes(to_json(comparison), name)
    return name


def show(evaluated: Sequence[Evaluated], console: Console) -> None:
    """Print the table, why values are missing, and where it all is written; several runs' comparison is written too."""
    found = compare(evaluated)
    console.print(table(found))
    written = [
        f"{one.place.root}/{one.stem}.json" + ("" if one.computed else " was there already") for one in evaluated
    ]
    if len(evaluated) > 1:
        written.append(f"{evaluated[0].place.root}/{store(found, evaluated[0])}")
    legend = [f"run {number}: {one.place.root}" for number, one in enumerate(evaluated, start=1)]
    for line in (LEGEND, *(legend if len(evaluated) > 1 else []), *notes(found), *written):
        console.print(Text(shown(line, MAX_LINE_CHARACTERS)), soft_wrap=True)


def table(comparison: dict[str, Any]) -> Table:
    """For a terminal: a line for each metric and run, with the run's difference from the first."""
    found, runs = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False), comparison["runs"]
    several = len(runs) > 1
    headings = (
        "metric",
        *(["run"] if several else []),
        "mean",
        BETWEEN,
        *(["less run 1", BETWEEN] if several else []),
        "rows",
    )
    for place, heading in enumerate(headings):
        found.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for name in comparison["settings"]["metrics"]:
        for number, run in enumerate(runs, start=1):
            mean = run["metrics"][name]
            difference = run["differences"][name] if number > 1 else NOTHING
            cells = [str(number), *_cells(mean), *_cells(difference)] if several else _cells(mean)
            found.add_row(f"{name} {ARROWS[mean['better']]}" if number == 1 else "", *cells, str(mean["n"]))
    return found


def notes(comparison: dict[str, Any]) -> list[str]:
    """Why a metric has fewer rows than the sample, a line each."""
    lines = [
        f"{name}: {run['metrics'][name]['undefined']} rows without: {run['metrics'][name]['reason']}"
        for run in comparison["runs"]
        for name in comparison["settings"]["metrics"]
        if run["metrics"][name]["reason"]
    ]
    return list(dict.fromkeys(lines))


def _cells(mean: dict[str, Any]) -> list[str]:
    """A mean and its interval."""
    shown_mean = "" if mean["mean"] is None else f"{mean['mean']:.3g}"
    return [shown_mean, "" if mean["low"] is None else f"{mean['low']:.3g} … {mean['high']:.3g}"]
