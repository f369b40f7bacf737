"""Where the numbers come from: the command, the model, versions and devices, and the sha256 of every table."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence

from pipeline.excerpts import shown
from pipeline.report import grid, wording
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.stored import Stored

COMMAND_CHARACTERS, MAX_LIMITS = 4000, 100
NAMES = (
    *("output", "model", "layer", "input", "method", "baseline", "target", "tolerance", "steps", "rows", "input_rows"),
    *("fingerprint", "devices", "versions"),
)


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
    pairs = [(key.replace("_", " "), wording.value(run[key])) for key in NAMES if run.get(key) is not None]
    about = [("attribeam of the audit", stored.about.get("attribeam")), ("time of the audit", _seconds(stored))]
    pairs += [(title, wording.value(value)) for title, value in about if value is not None]
    limits = [wording.value(limit) for limit in list(stored.about.get("limits") or [])[:MAX_LIMITS]]
    return Provenance(shown(words, COMMAND_CHARACTERS), pairs, limits, _tables(stored))


def _seconds(stored: Stored) -> str | None:
    seconds = stored.about.get("seconds")
    return None if seconds is None else wording.duration(seconds)


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
