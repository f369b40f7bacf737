"""A section for every label: how it fares, what it is recognised by, and rows to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipeline.report import grid, pictures, wording
from pipeline.report.cards import Card, card
from pipeline.report.chosen import Chosen, Mention
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.importances import label_of, maps, ordered
from pipeline.report.originals import Originals
from pipeline.report.overview import natural, right_share
from pipeline.report.pictures import Picture
from pipeline.report.stored import ALL, CORRECT, LABEL, LABEL_CORRECT, Row, Stored

MAX_CLASSES = 1001  # as many values as a slice has, and what is folded into one
MANY = 100  # from so many classes on, maps are small
TOP = 8
TITLES = {
    "worst": "Least trustworthy",
    "atypical": "Most atypical: farthest from the mean map of their class",
    "typical": "Most typical: nearest to the mean map of their class",
}
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
class Group:
    """Rows of a kind: cards, and links to those that have theirs elsewhere."""

    title: str
    cards: Sequence[Card]
    links: Sequence[tuple[str, str]]


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


def row_groups(stored: Stored, chosen: Chosen, originals: Originals) -> list[Group]:
    """The rows to look at of the whole dataset, and of those predicted right and wrong."""
    mine = [mention for mention in chosen.mentions if mention.key[0] in (ALL, CORRECT)]
    return _groups(stored, mine, chosen, originals)


def classes(stored: Stored, chosen: Chosen, originals: Originals) -> Classes:
    """All labels in their natural order, numbers before words."""
    labels = sorted(stored.values(LABEL)[:MAX_CLASSES], key=natural)
    if not labels:
        return Classes(None, [])
    right, mentioned = right_share(stored), _by_label(chosen)
    slices = {label: stored.slice((LABEL, label)) for label in labels}
    lines = [_line(stored, label, slices[label], right.get(label)) for label in labels]
    index = grid.grid(("class-index", "All labels"), INDEX_COLUMNS, lines, len(labels), "slices.parquet")
    sections = [
        ClassSection(
            wording.anchor("class", label),
            stored.class_name(label),
            _facts(slices[label], right.get(label)),
            _maps(stored, label, len(labels)),
            _lists(stored, label),
            _groups(stored, mentioned.get(label, []), chosen, originals),
        )
        for label in labels
    ]
    return Classes(index, sections)


def _by_label(chosen: Chosen) -> Mapping[str, list[Mention]]:
    found: dict[str, list[Mention]] = {}
    for mention in chosen.mentions:
        column, value = mention.key
        if column in (LABEL, LABEL_CORRECT):
            found.setdefault(value.rpartition(",")[0] if column == LABEL_CORRECT else value, []).append(mention)
    return found


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
        ("predicted right", wording.percent(right)),
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


def _lists(stored: Stored, label: str) -> list[ListOf]:
    key, found = (LABEL, label), []
    for explained in stored.inputs:
        features = ordered(stored.rows("features", key, input=explained.name)).slice(0, TOP).to_pylist()
        if features and not explained.is_image and not explained.pooled:
            names = [label_of(row["name"], row["position"], explained) for row in features]
            found.append(_sized(f"{wording.name(explained.name)}: strongest features", names, features))
        tokens = ordered(stored.rows("tokens", key, input=explained.name)).slice(0, TOP).to_pylist()
        if tokens:
            names = [row["token"] for row in tokens]
            found.append(_sized(f"{wording.name(explained.name)}: strongest tokens", names, tokens))
        found += _regions(stored, label, explained.name)
    return [*found, *_mistaken(stored, label)]


def _sized(title: str, names: Sequence[str], rows: Sequence[Row]) -> ListOf:
    largest = max((row["mean_abs"] or 0 for row in rows), default=0.0)
    lines = [(grid.text(name), grid.measured(row["mean_abs"], largest)) for name, row in zip(names, rows, strict=True)]
    return ListOf(f"{title}, mean abs(A)", lines)


def _regions(stored: Stored, label: str, input: str) -> list[ListOf]:
    """Regions by how much stronger they are than an average pixel."""
    rows = [row for row in stored.rows("regions", (LABEL, label), input=input).to_pylist() if row["area_share"]]
    ratios = [((row["share_mean"] or 0) / row["area_share"], str(row["region"])) for row in rows]
    top = sorted(ratios, reverse=True)[:TOP]
    if not top:
        return []
    lines = [(grid.text(name.replace("_", " ")), grid.measured(ratio, top[0][0] or 1.0)) for ratio, name in top]
    return [ListOf(f"{wording.name(input)}: regions, times an average pixel", lines)]


def _mistaken(stored: Stored, label: str) -> list[ListOf]:
    wrong = sorted(stored.mistaken(label), reverse=True)[:TOP]
    lines = [
        (grid.text(stored.class_name(name)), Cell(wording.count(rows), bar=rows / wrong[0][0])) for rows, name in wrong
    ]
    return [ListOf("taken for", lines)] if lines else []


def _groups(stored: Stored, mentions: Sequence[Mention], chosen: Chosen, originals: Originals) -> list[Group]:
    found: dict[tuple[str, str], list[Mention]] = {}
    for mention in mentions:
        found.setdefault((mention.kind, _part(mention)), []).append(mention)
    groups = []
    for (kind, part), mine in found.items():
        cards = [card(stored, mention, originals) for mention in mine if mention.place in chosen.drawn]
        links = [
            (mention.anchor, stored.row_id(mention.place)) for mention in mine if mention.place not in chosen.drawn
        ]
        title = wording.name(TITLES.get(kind, kind))
        groups.append(Group(f"{title}{', ' + part if part else ''}", cards, links))
    return groups


def _part(mention: Mention) -> str:
    """Of which rows: those predicted right, or wrong; or all."""
    column, value = mention.key
    if column == CORRECT:
        return f"predicted {wording.name(value)}"
    return f"predicted {wording.name(value.rpartition(',')[2])}" if column == LABEL_CORRECT else ""
