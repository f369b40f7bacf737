"""Rows that could not be explained, by code; and ids that occur more than once."""

from __future__ import annotations

import dataclasses

from pipeline.report import grid, wording
from pipeline.report.grid import Column, Grid
from pipeline.report.stored import Stored

MESSAGE_CHARACTERS = 200


@dataclasses.dataclass(frozen=True)
class Refusals:
    """The section; None where there is nothing to say."""

    codes: Grid | None
    duplicates: Grid | None


def refusals(stored: Stored) -> Refusals:
    """What the report says of quarantine and duplicates."""
    return Refusals(_codes(stored), _duplicates(stored))


def _codes(stored: Stored) -> Grid | None:
    table = stored.audit["quarantine"].sort_by([("rows", "descending")])
    if not len(table):
        return None
    rows = table.slice(0, grid.MAX_ROWS).to_pylist()
    total = sum(row["rows"] for row in rows)
    columns = [Column("code", False), Column("rows"), Column("share of the refused"), Column("for example", False)]
    lines = [
        [
            grid.text(row["code"]),
            grid.count(row["rows"]),
            grid.percent(row["rows"] / total if total else None, largest=1.0),
            grid.Cell(wording.name(row["message"], MESSAGE_CHARACTERS)),
        ]
        for row in rows
    ]
    return grid.grid(("codes", "Rows by code"), columns, lines, len(table), "quarantine.parquet")


def _duplicates(stored: Stored) -> Grid | None:
    table = stored.audit["duplicates"].sort_by([("rows", "descending")])
    if not len(table):
        return None
    columns = [Column("row_id", False), Column("target", False), Column("rows")]
    lines = [
        [
            grid.text(row["row_id"]),
            grid.text("" if row["target"] is None else row["target"]),
            grid.count(row["rows"]),
        ]
        for row in table.slice(0, grid.MAX_ROWS).to_pylist()
    ]
    return grid.grid(("duplicates", _repeated(stored, len(table))), columns, lines, len(table), "duplicates.parquet")


def _repeated(stored: Stored, shown: int) -> str:
    """The caption; where the table does not hold all of them, with how many there are."""
    found = stored.about.get("duplicates") or {}
    total, sampled = int(found.get("repeated") or 0), float(found.get("sampled") or 1)
    title = "Ids that occur more than once"
    if total <= shown:
        return title
    return f"{title}: the first {wording.count(shown)} of {'about ' if sampled < 1 else ''}{wording.count(total)}"
