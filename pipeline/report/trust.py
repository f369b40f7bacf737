"""How far the numbers can be trusted: deltas, estimates and steps over all rows, and what converged, slice by slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.report import figures, grid, svg, wording
from pipeline.report.confusion import class_anchor
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.stored import LABEL, WHOLE, Row, Stored

WORST = 15
LOGARITHMIC = ("relative_delta", "error_estimate")
MEASURES = {
    "relative_delta": "relative delta: what the sum of a row misses",
    "error_estimate": "error estimate: how far the last two levels differ",
    "steps": "steps: gradients of a row",
    "blind_share": "blind share: features that equal their baseline",
    "output": "F(x), the explained output",
}
COLUMNS = [
    Column("slice", False),
    Column("value", False),
    Column("rows"),
    Column("converged"),
    Column("unconverged"),
    Column("flat"),
    Column("non-finite"),
    Column("relative delta, median"),
    Column("95th percentile"),
    Column("error estimate, median"),
    Column("95th percentile"),
    Column("steps, mean"),
    Column("blind share"),
]


@dataclasses.dataclass(frozen=True)
class Trust:
    """The section: plots with their titles, and the table of all slices."""

    plots: Sequence[tuple[str, Markup]]
    slices: Grid


def trust(stored: Stored) -> Trust:
    """What the report says of delta, estimate, steps and convergence."""
    plots = [plot for measure, title in MEASURES.items() if (plot := _histogram(stored, measure, title))]
    table = stored.audit["slices"].sort_by([("rows", "descending")])
    rows = table.slice(0, grid.MAX_ROWS).to_pylist()
    lines = [_line(stored, row) for row in rows]
    slices = grid.grid(("slices", "Convergence by slice"), COLUMNS, lines, len(table), "slices.parquet")
    return Trust([*plots, *_by_label(stored)], slices)


def _histogram(stored: Stored, measure: str, title: str) -> tuple[str, Markup] | None:
    table = stored.rows("histograms", WHOLE, measure=measure)
    rows = table["rows"].to_numpy().astype(np.float64)
    if not rows.sum():
        return None
    logarithmic, tolerance = measure in LOGARITHMIC, stored.run.get("tolerance")
    bins = figures.Bins(table["low"].to_numpy(), table["high"].to_numpy(), rows, logarithmic)
    mark = (float(str(tolerance)), "tolerance") if logarithmic and not wording.missing(tolerance) else None
    return title, figures.histogram(f"histogram-{measure.replace('_', '-')}", title, bins, mark)


def _by_label(stored: Stored) -> list[tuple[str, Markup]]:
    """The labels of which the fewest rows converged."""
    found = [(label, stored.slice((LABEL, label))) for label in stored.values(LABEL)]
    shares = [(label, row, row["ok"] / row["rows"]) for label, row in found if row.get("rows")]
    if not shares:
        return []
    worst = sorted(shares, key=lambda entry: entry[2])[:WORST]
    parts = [
        (colour, np.array([row[status] / row["rows"] for _, row, _ in worst]))
        for colour, status in ((svg.GOOD, "ok"), (svg.BAD, "unconverged"), (svg.WARN, "flat"), (svg.INK, "nonfinite"))
    ]
    which = "every label" if len(shares) <= WORST else f"the {WORST} labels that converged least"
    title = f"{which}: ok, unconverged, flat, non-finite"
    labels = [stored.class_name(label) for label, _, _ in worst]
    return [(title, figures.shares("convergence", title, labels, parts))]


def _line(stored: Stored, row: Row) -> list[Cell]:
    rows = row["rows"] or None
    converged = row["ok"] / rows if rows else None
    href = class_anchor(stored, row["value"]) if row["slice"] == LABEL else ""
    shares = (row[status] / rows if rows else None for status in ("unconverged", "flat", "nonfinite"))
    return [
        grid.text(row["slice"].removeprefix("keep:")),
        Cell(stored.value_name((row["slice"], row["value"])), href=href),
        grid.count(row["rows"]),
        grid.percent(converged, largest=1.0),
        *(grid.percent(share, "bad" if share else "") for share in shares),
        *(grid.percent(row[f"{kind}_{of}"]) for kind in ("relative_delta", "error_estimate") for of in ("p50", "p95")),
        grid.number(row["steps_mean"]),
        grid.percent(row["blind_share_mean"]),
    ]
