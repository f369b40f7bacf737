"""A section for every label: how it fares, what it is recognised by, and rows to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.report import grid, pictures, wording
from pipeline.report.confusion import Confusion
from pipeline.report.deck import Deck, Group
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.importances import label_of, maps, ordered, region_name
from pipeline.report.overview import natural
from pipeline.report.pictures import Picture
from pipeline.report.stored import LABEL, Row, Stored

MAX_CLASSES = 1001  # as many values as a slice has, and what is folded into one
MANY = 100  # from so many classes on, maps are small
TOP = 8
INDEX_COLUMNS = [
    Column("label", False),
    Column("rows"),
    Column("predicted right"),
    Column("converged"),
    Column("median relative delta"),
    Column("median error estimate"),
    Column("mean output"),
]


@dataclasses.dataclass(frozen=True)
class ListOf:
    """The strongest of something, as lines with a bar."""

    title: str
    lines: Sequence[tuple[Cell, Cell]]


@dataclasses.dataclass(frozen=True)
class ClassSection:
    """One label."""

    anchor: str
    name: str
    facts: Sequence[tuple[str, str]]
    pictures: Sequence[tuple[str, Sequence[Picture]]]
    lists: Sequence[ListOf]
    groups: Sequence[Group]


@dataclasses.dataclass(frozen=True)
class Classes:
    """The index of the labels, and their sections."""

    index: Grid | None
    sections: Sequence[ClassSection]


def classes(stored: Stored, confusion: Confusion, deck: Deck) -> Classes:
    """All labels in their natural order, numbers before words."""
    labels = sorted(stored.values(LABEL)[:MAX_CLASSES], key=natural)
    if not labels:
        return Classes(None, [])
    mentioned = deck.by_label()
    slices = {label: stored.slice((LABEL, label)) for label in labels}
    lines = [_line(stored, label, slices[label], confusion.right_share(label)) for label in labels]
    index = grid.grid(("class-index", "All labels"), INDEX_COLUMNS, lines, len(labels), "slices.parquet")
    sections = [
        ClassSection(
            wording.anchor("class", label),
            stored.class_name(label),
            _facts(slices[label], confusion.right_share(label)),
            _maps(stored, label, len(labels)),
            _lists(stored, label, confusion),
            deck.groups(mentioned.get(label, [])),
        )
        for label in labels
    ]
    return Classes(index, sections)


def _line(stored: Stored, label: str, row: Row, right: float | None) -> list[Cell]:
    return [
        grid.text(stored.class_name(label), wording.anchor("class", label)),
        grid.count(row.get("rows")),
        grid.percent(right, largest=1.0),
        grid.percent(_converged(row)),
        grid.percent(row.get("relative_delta_p50")),
        grid.percent(row.get("error_estimate_p50")),
        grid.number(row.get("output_mean")),
    ]


def _converged(row: Row) -> float | None:
    return row["ok"] / row["rows"] if row.get("rows") else None


def _facts(row: Row, right: float | None) -> list[tuple[str, str]]:
    return [
        ("rows", wording.count(row.get("rows"))),
        *([] if right is None else [("predicted right", wording.percent(right))]),
        ("converged", wording.percent(_converged(row))),
        ("median relative delta", wording.percent(row.get("relative_delta_p50"))),
        ("mean output", wording.number(row.get("output_mean"))),
        ("at the baseline", wording.number(row.get("baseline_output_mean"))),
    ]


def _maps(stored: Stored, label: str, labels: int) -> list[tuple[str, Sequence[Picture]]]:
    side = 32 if labels > MANY else pictures.MAX_SIDE
    found = [
        (wording.name(explained.name), maps(stored, (LABEL, label), explained, side)) for explained in stored.inputs
    ]
    return [(name, drawn) for name, drawn in found if drawn]


def _lists(stored: Stored, label: str, confusion: Confusion) -> list[ListOf]:
    key, found = (LABEL, label), []
    for explained in stored.inputs:
        features = ordered(stored.rows("features", key, input=explained.name)).slice(0, TOP).to_pylist()
        tokens = ordered(stored.rows("tokens", key, input=explained.name), "share_mean").slice(0, TOP).to_pylist()
        if tokens:
            found.append(_tokens(explained.name, tokens))
        elif features and not explained.is_image and not explained.pooled:
            names = [label_of(row["name"], row["position"], explained) for row in features]
            found.append(_sized(f"{wording.name(explained.name)}: strongest features", names, features))
        found += _regions(stored, label, explained.name)
    return [*found, *_mistaken(stored, confusion.mistaken(label)[:TOP])]


def _sized(title: str, names: Sequence[str], rows: Sequence[Row]) -> ListOf:
    largest = max((row["mean_abs"] or 0 for row in rows), default=0.0)
    lines = [(grid.text(name), grid.measured(row["mean_abs"], largest)) for name, row in zip(names, rows, strict=True)]
    return ListOf(f"{title}, mean abs(A)", lines)


def _tokens(input: str, rows: Sequence[Row]) -> ListOf:
    largest = max((row["share_mean"] or 0 for row in rows), default=0.0)
    lines = [(grid.text(row["token"]), grid.percent(row["share_mean"], largest=largest)) for row in rows]
    return ListOf(f"{wording.name(input)}: strongest tokens, share of Σ abs(A)", lines)


def _regions(stored: Stored, label: str, input: str) -> list[ListOf]:
    """Regions by how much stronger they are than an average pixel."""
    rows = [row for row in stored.rows("regions", (LABEL, label), input=input).to_pylist() if row["area_share"]]
    ratios = [((row["share_mean"] or 0) / row["area_share"], str(row["region"])) for row in rows]
    top = sorted(ratios, reverse=True)[:TOP]
    if not top:
        return []
    lines = [(grid.text(region_name(name)), grid.measured(ratio, top[0][0] or 1.0)) for ratio, name in top]
    return [ListOf(f"{wording.name(input)}: regions, times an average pixel", lines)]


def _mistaken(stored: Stored, wrong: Sequence[tuple[int, str]]) -> list[ListOf]:
    most = max((rows for rows, _ in wrong), default=1)
    lines = [(grid.text(stored.class_name(name)), Cell(wording.count(rows), bar=rows / most)) for rows, name in wrong]
    return [ListOf("taken for", lines)] if lines else []
