"""What the model looks at over all rows: maps, features, regions and tokens."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from pipeline.report import figures, grid, pictures, wording
from pipeline.report.grid import Column, Grid
from pipeline.report.pictures import Picture
from pipeline.report.stored import WHOLE, Explained, SliceKey, Stored

TOP = 15
FEATURE_COLUMNS = [
    Column("feature", False),
    Column("mean abs(A)"),
    Column("mean A"),
    Column("p05"),
    Column("median"),
    Column("p95"),
    Column("among the strongest", hint="share of the rows in which it is one of the strongest"),
]
TOKEN_COLUMNS = [
    Column("token", False),
    Column("share of Σ abs(A)", hint="of the attribution of all rows, whether they hold it or not"),
    Column("mean abs(A)"),
    Column("mean A"),
    Column("occurrences"),
    Column("rows"),
    Column("among the strongest", hint="share of the rows in which it is one of the strongest"),
]


@dataclasses.dataclass(frozen=True)
class Importance:
    """One input over all rows; what does not apply to it is empty."""

    name: str
    anchor: str
    about: str
    pictures: Sequence[Picture]
    plots: Sequence[tuple[str, Markup]]
    tables: Sequence[Grid]


def importances(stored: Stored) -> list[Importance]:
    """The section, an input each."""
    return [_importance(stored, explained, number) for number, explained in enumerate(stored.inputs)]


def _importance(stored: Stored, explained: Explained, number: int) -> Importance:
    features = ordered(stored.rows("features", WHOLE, input=explained.name))
    tokens = ordered(stored.rows("tokens", WHOLE, input=explained.name), "share_mean")
    if len(tokens):  # of a text, places say nothing beside words
        features = features.slice(0, 0)
    shape = " × ".join("any length" if axis is None else f"{axis:,}" for axis in explained.shape)
    tables = [
        *([_regions(stored, explained, number)] if len(stored.rows("regions", WHOLE, input=explained.name)) else []),
        *(
            [_feature_grid(f"features-{number}", features, explained)]
            if len(features) and not explained.is_image
            else []
        ),
        *([_token_grid(f"tokens-{number}", tokens)] if len(tokens) else []),
    ]
    plots = [] if explained.is_image else _plots(number, features, explained)
    about = f"{wording.name(explained.kind)}, {shape or 'one value'}"
    return Importance(
        wording.name(explained.name),
        wording.anchor("input", explained.name),
        about,
        maps(stored, WHOLE, explained, pictures.MAX_SIDE),
        [*plots, *_token_plots(number, tokens)],
        tables,
    )


def ordered(table: pa.Table, measure: str = "mean_abs") -> pa.Table:
    """The strongest first."""
    return table.sort_by([(measure, "descending")])


def maps(stored: Stored, key: SliceKey, explained: Explained, side: int) -> list[Picture]:
    """A slice's mean maps, signed and absolute; none for what is no image."""
    mean, size = stored.map_of(key, explained, "mean"), stored.map_of(key, explained, "mean_abs")
    if mean is None or size is None:
        return []
    return [
        pictures.signed(mean, side).called("mean of A"),
        pictures.magnitude(size, side=side).called("mean of abs(A)"),
    ]


def label_of(name: str | None, position: int, explained: Explained) -> str:
    """What a feature is called: its group's name, else its place in the map."""
    if name is not None:
        return name
    known = tuple(axis for axis in explained.shape if axis is not None)
    if len(known) == len(explained.shape) and len(known) > 1 and 0 <= position < (explained.size or 0):
        return ", ".join(str(place) for place in np.unravel_index(position, known))
    return f"#{position}"


def region_name(region: str) -> str:
    """A region in words: of a cell its row and column, from 1."""
    cell = re.fullmatch(r"cell_(\d)_(\d)", region)
    return f"row {int(cell[1]) + 1}, column {int(cell[2]) + 1} of 4" if cell else region.replace("_", " ")


def _feature_grid(identity: str, table: pa.Table, explained: Explained) -> Grid:
    """Features, the strongest first."""
    rows = table.slice(0, grid.MAX_ROWS).to_pylist()
    largest = max((row["mean_abs"] or 0 for row in rows), default=0.0)
    lines = [
        [
            grid.text(label_of(row["name"], row["position"], explained)),
            grid.measured(row["mean_abs"], largest),
            *(grid.number(row[column]) for column in ("mean", "p05", "p50", "p95")),
            grid.percent(row["top_share"]),
        ]
        for row in rows
    ]
    return grid.grid((identity, "Features"), FEATURE_COLUMNS, lines, len(table), "features.parquet")


def _token_grid(identity: str, table: pa.Table) -> Grid:
    """Tokens, those first that have most of all the attribution: strong, and often there."""
    rows = table.slice(0, grid.MAX_ROWS).to_pylist()
    largest = max((row["share_mean"] or 0 for row in rows), default=0.0)
    lines = [
        [
            grid.text(row["token"]),
            grid.percent(row["share_mean"], largest=largest),
            grid.number(row["mean_abs"]),
            grid.number(row["mean"]),
            grid.count(row["occurrences"]),
            grid.count(row["rows"]),
            grid.percent(row["top_share"]),
        ]
        for row in rows
    ]
    return grid.grid((identity, "Tokens"), TOKEN_COLUMNS, lines, len(table), "tokens.parquet")


def _plots(number: int, features: pa.Table, explained: Explained) -> list[tuple[str, Markup]]:
    top = features.slice(0, TOP).to_pylist()
    if not top:
        return []
    labels = [wording.name(label_of(row["name"], row["position"], explained)) for row in top]
    sizes = [row["mean_abs"] or 0.0 for row in top]
    quantiles = np.array([[row[q] or 0.0 for q in ("p05", "p25", "p50", "p75", "p95")] for row in top])
    size, spread = "mean of abs(A)", "A: median, middle half, 5th to 95th percentile"
    return [
        (size, figures.bars(f"bars-{number}", size, labels, sizes)),
        (spread, figures.ranges(f"ranges-{number}", spread, labels, quantiles)),
    ]


def _token_plots(number: int, tokens: pa.Table) -> list[tuple[str, Markup]]:
    """The tokens that matter most in sum: strong, and often there."""
    rows = [row for row in tokens.to_pylist() if row["mean"] is not None]
    sums = sorted(((row["mean"] * row["occurrences"], row["token"]) for row in rows), key=lambda pair: -abs(pair[0]))
    if not sums:
        return []
    title = "Σ A over all occurrences, the largest"
    top = sums[:TOP]
    names = [wording.name(token) for _, token in top]
    return [(title, figures.diverging(f"token-bars-{number}", title, names, [total for total, _ in top]))]


def _regions(stored: Stored, explained: Explained, number: int) -> Grid:
    rows = stored.rows("regions", WHOLE, input=explained.name).sort_by([("share_mean", "descending")]).to_pylist()
    columns = [
        Column("region", False),
        Column("share of Σ abs(A)"),
        Column("share of the area"),
        Column("ratio", hint="1: as strong as an average pixel"),
    ]
    largest = max((row["share_mean"] or 0 for row in rows), default=0.0)
    lines = [
        [
            grid.text(region_name(row["region"])),
            grid.percent(row["share_mean"], largest=largest),
            grid.percent(row["area_share"]),
            grid.number((row["share_mean"] or 0) / row["area_share"] if row["area_share"] else None),
        ]
        for row in rows
    ]
    return grid.grid((f"regions-{number}", "Regions"), columns, lines, len(rows), "regions.parquet")
