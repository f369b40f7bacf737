"""Where the numbers come from: the command, the model, versions and devices, and the sha256 of every table."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence

from pipeline.excerpts import shown
from pipeline.report import grid, wording
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.stored import Stored

COMMAND_CHARACTERS, VALUE_CHARACTERS, MAX_LIMITS = 4000, 400, 100
NAMES = {
    "output": "output",
    "model": "model",
    "method": "method",
    "baseline": "baseline",
    "target": "target",
    "tolerance": "tolerance",
    "fingerprint": "fingerprint",
    "devices": "devices",
    "versions": "versions",
}


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The section.

    Attributes:
        limits: what the audit folded, pooled or left out, in its own words.
    """

    command: str
    pairs: Sequence[tuple[str, str]]
    limits: Sequence[str]
    tables: Grid | None


def provenance(stored: Stored) -> Provenance:
    """What the report says of where its numbers come from."""
    command, run = stored.run.get("command"), stored.run
    words = shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")
    pairs = [(title, _value(run[key])) for key, title in NAMES.items() if run.get(key) is not None]
    about = [("attribeam", stored.about.get("version")), ("time of the audit", wording.duration(_seconds(stored)))]
    pairs += [(title, _value(value)) for title, value in about if value is not None]
    limits = [_value(limit) for limit in list(stored.about.get("limits") or [])[:MAX_LIMITS]]
    return Provenance(shown(words, COMMAND_CHARACTERS), pairs, limits, _tables(stored))


def _seconds(stored: Stored) -> object:
    return stored.about.get("seconds")


def _value(value: object) -> str:
    """A string as it is, a mapping as names and values, anything else as JSON."""
    if isinstance(value, dict):
        text = ", ".join(
            f"{key} {entry if isinstance(entry, str) else json.dumps(entry)}" for key, entry in value.items()
        )
    elif isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        text = ", ".join(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return wording.name(text, VALUE_CHARACTERS)


def _tables(stored: Stored) -> Grid | None:
    tables = stored.about.get("tables") or {}
    if not tables:
        return None
    lines = [
        [grid.text(file), grid.count(entry.get("rows")), Cell(wording.name(entry.get("sha256"), 64))]
        for file, entry in sorted(tables.items())
    ]
    columns = [Column("file", False), Column("rows"), Column("sha256", False)]
    return grid.grid(("tables", "Tables"), columns, lines, len(lines))
