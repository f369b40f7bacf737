"""Tables of the report: cells that sort, columns that are numbers, and a bound on the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.report import wording

MAX_ROWS = 1000
PAGE_ROWS = 15


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: as it is read; a template escapes it.
        sort: what it is sorted by; None: its text.
        href: anchor in this page, without the `#`.
        bar: filled share of the cell, 0 to 1; None: no bar.
        tone: `good`, `warn`, `bad`, or `` for none.
    """

    text: str
    sort: float | None = None
    href: str = ""
    bar: float | None = None
    tone: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """A heading. `numeric` columns are set to the right."""

    title: str
    numeric: bool = True
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table that sorts, filters and turns its pages.

    Attributes:
        id: its anchor.
        caption: what it shows.
        rows: cells, a row each, at most MAX_ROWS.
        total: how many rows there are in all.
        where: the file that holds them all.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    total: int
    where: str = ""

    @property
    def page(self) -> int:
        """Rows of a page."""
        return PAGE_ROWS


def grid(
    identity: tuple[str, str], columns: Sequence[Column], rows: Iterable[Sequence[Cell]], total: int, where: str = ""
) -> Grid:
    """A table of at most MAX_ROWS of its rows; `identity` is its anchor and its caption."""
    kept = [row for _, row in zip(range(MAX_ROWS), rows, strict=False)]
    return Grid(*identity, columns, kept, total, where)


def text(value: object, href: str = "", tone: str = "") -> Cell:
    """A stranger's words."""
    return Cell(wording.name(value), href=href, tone=tone)


def count(value: Any) -> Cell:
    """A whole number."""
    return Cell(wording.count(value), _sort(value))


def number(value: Any, tone: str = "") -> Cell:
    """A number of four digits."""
    return Cell(wording.number(value), _sort(value), tone=tone)


def percent(value: Any, tone: str = "", largest: float | None = None) -> Cell:
    """A share; with a bar of its size beside the largest one, where that is given."""
    bar = None if largest is None else measured(value, largest).bar
    return Cell(wording.percent(value), _sort(value), bar=bar, tone=tone)


def measured(value: Any, largest: float) -> Cell:
    """A number, and a bar of its size beside the largest one."""
    filled = None if wording.missing(value) or largest <= 0 else min(abs(float(value)) / largest, 1.0)
    return Cell(wording.number(value), _sort(value), bar=filled)


def _sort(value: Any) -> float:
    # What is no number comes last, whichever way: the script keeps it there.
    return float("nan") if wording.missing(value) else float(value)
