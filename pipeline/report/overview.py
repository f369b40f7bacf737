"""What was run, how good it is and what it cost; which classes are taken for which."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from pipeline.report import grid, wording
from pipeline.report.confusion import Confusion, class_anchor
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.stored import WHOLE, Stored

MATRIX_CLASSES, MATRIX_CHARACTERS = 20, 20
STATUSES = (
    ("ok", "good", "within the tolerance"),
    ("unconverged", "bad", "delta or error estimate over the tolerance"),
    ("flat", "warn", "F(x) and F(x′) do not differ: nothing to explain"),
    ("nonfinite", "bad", "a value is no finite number"),
)


@dataclasses.dataclass(frozen=True)
class Fact:
    """A number and what it is, with a word beside it."""

    title: str
    value: str
    note: str = ""
    tone: str = ""


@dataclasses.dataclass(frozen=True)
class Piece:
    """A piece of the bar of statuses: its share of the whole, and where it begins, both 0 to 100."""

    name: str
    tone: str
    meaning: str
    rows: str
    share: str
    start: float
    width: float


@dataclasses.dataclass(frozen=True)
class Matrix:
    """Rows by label (down) and prediction (across): names, and for each pair a cell whose `bar` is its shade."""

    names: Sequence[str]
    anchors: Sequence[str]
    cells: Sequence[Sequence[Cell]]


@dataclasses.dataclass(frozen=True)
class Overview:
    """The first section; `matrix` for few classes, else `pairs`, those that are mistaken most often."""

    facts: Sequence[Fact]
    statuses: Sequence[Piece]
    matrix: Matrix | None
    pairs: Grid | None


def overview(stored: Stored, confusion: Confusion) -> Overview:
    """The first section of the report."""
    facts, statuses = _facts(stored, confusion), _statuses(stored)
    if not confusion.comparable:
        return Overview(facts, statuses, None, None)
    names = sorted({name for pair in confusion.pairs for name in pair}, key=natural)
    if len(names) <= MATRIX_CLASSES:
        return Overview(facts, statuses, _matrix(stored, names, confusion), None)
    return Overview(facts, statuses, None, _pairs(stored, confusion))


def natural(text: str) -> tuple[int, int, str]:
    """An order in which 2 comes before 10, and numbers before words."""
    whole = text.removeprefix("-")
    return (0, int(text), "") if whole.isdecimal() and len(whole) < 19 else (1, 0, text)


def _facts(stored: Stored, confusion: Confusion) -> list[Fact]:
    run, whole = stored.run, stored.slice(WHOLE)
    rows, refused, seconds = run.get("rows"), run.get("quarantined") or 0, run.get("seconds")
    ok = _share(whole.get("ok"), whole.get("rows"))
    rate = f"{wording.count(rows / seconds)} rows a second" if rows and seconds else ""
    gradients = run.get("gradients")
    facts = [
        Fact("rows explained", wording.count(rows), f"{wording.count(refused)} quarantined"),
        Fact("converged", wording.percent(ok), "status ok", "good" if ok and ok >= 0.99 else "warn"),
        Fact("predicted right", wording.percent(confusion.right), "label = largest output")
        if confusion.comparable
        else None,
        Fact("median relative delta", wording.percent(whole.get("relative_delta_p50")), _tolerance(stored)),
        Fact("95th percentile", wording.percent(whole.get("relative_delta_p95")), "of the relative delta"),
        Fact("gradients", _short(gradients), f"{wording.number(whole.get('steps_mean'))} steps a row"),
        Fact("time", wording.duration(seconds), rate),
    ]
    return [fact for fact in facts if fact is not None]


def _tolerance(stored: Stored) -> str:
    tolerance = stored.run.get("tolerance")
    return "" if wording.missing(tolerance) else f"tolerance {wording.percent(tolerance)}"


def _short(value: object) -> str:
    """A count in thousands, millions or billions."""
    if value is None:
        return wording.NOTHING
    size = float(str(value))
    for unit, name in ((1e9, " bn"), (1e6, " m"), (1e3, " k")):
        if size >= 10 * unit:
            return f"{size / unit:,.3g}{name}"
    return wording.count(size)


def _share(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _statuses(stored: Stored) -> list[Piece]:
    found = stored.run.get("rows_by_status") or stored.slice(WHOLE)
    counts = [int(found.get(name) or 0) for name, _, _ in STATUSES]
    total, ends = sum(counts) or 1, np.cumsum([0, *counts])
    return [
        Piece(
            name,
            tone,
            meaning,
            wording.count(rows),
            wording.percent(rows / total),
            round(100 * float(start) / total, 3),
            round(100 * rows / total, 3),
        )
        for (name, tone, meaning), rows, start in zip(STATUSES, counts, ends, strict=False)
        if rows
    ]


def _matrix(stored: Stored, names: Sequence[str], confusion: Confusion) -> Matrix:
    pairs, totals = confusion.pairs, confusion.totals
    cells = [[_pair(pairs[label, other], totals[label], label == other) for other in names] for label in names]
    anchors = [class_anchor(stored, name) for name in names]
    return Matrix([wording.name(stored.class_name(name), MATRIX_CHARACTERS) for name in names], anchors, cells)


def _pair(rows: int, total: int, right: bool) -> Cell:
    shade = (rows / total) ** 0.5 if rows else 0.0
    return Cell(wording.count(rows) if rows else "·", float(rows), bar=round(shade, 2), tone="good" if right else "bad")


def _pairs(stored: Stored, confusion: Confusion) -> Grid:
    wrong = sorted((pair for pair in confusion.pairs.items() if pair[0][0] != pair[0][1]), key=lambda pair: -pair[1])
    lines = (
        [
            grid.text(stored.class_name(label), class_anchor(stored, label)),
            grid.text(stored.class_name(predicted)),
            grid.count(rows),
            grid.percent(rows / confusion.totals[label]),
        ]
        for (label, predicted), rows in wrong
    )
    columns = [Column("label", False), Column("predicted", False), Column("rows"), Column("share of the label")]
    return grid.grid(("confusions", "What is taken for what"), columns, lines, len(wrong), "confusion.parquet")
