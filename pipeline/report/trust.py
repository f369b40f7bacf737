"""How far the numbers can be trusted: deltas, estimates and steps over all rows, and what converged, slice by slice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.report import figures, grid, svg, wording
from pipeline.report.grid import Cell, Column, Grid
from pipeline.report.overview import class_anchor
from pipeline.report.stored import LABEL, WHOLE, Row, Stored

WORST = 15
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
    table = stored.rows("histograms", WHOLE, measure=measure).sort_by([("low", "ascending")])
    rows = table["rows"].to_numpy().astype(np.float64)
    if not rows.sum():
        return None
    used = np.flatnonzero(rows)
    inner = slice(int(used[0]), int(used[-1]) + 1)
    low, high = _finite(table["low"].to_numpy()[inner], table["high"].to_numpy()[inner])
    tolerance = stored.run.get("tolerance")
    marked = measure in ("relative_delta", "error_estimate") and not wording.missing(tolerance)
    mark = (float(str(tolerance)), "tolerance") if marked else None
    return title, figures.histogram(f"histogram-{measure.replace('_', '-')}", title, (low, high), rows[inner], mark)


def _finite(low: figures.Numbers, high: figures.Numbers) -> tuple[figures.Numbers, figures.Numbers]:
    """Edges to draw: bins that are open, or begin at 0 beside ones that grow by a factor, are as wide as the next."""
    low, high = low.astype(np.float64), high.astype(np.float64)
    growing = (
        len(low) > 2 and low[1] > 0 and high[1] > 1.01 * low[1] and not np.isclose(high[1] - low[1], high[0] - low[0])
    )
    first = high[0] * low[1] / high[1] if growing and low[0] <= 0 else low[0]
    low[0] = first if np.isfinite(first) else high[0] - 1
    if not np.isfinite(high[-1]):
        high[-1] = low[-1] * (high[-2] / low[-2]) if growing else low[-1] + 1
    return low, high


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
        grid.text(stored.value_name((row["slice"], row["value"])), href),
        grid.count(row["rows"]),
        grid.percent(converged, largest=1.0),
        *(grid.percent(share, "bad" if share else "") for share in shares),
        *(grid.percent(row[f"{kind}_{of}"]) for kind in ("relative_delta", "error_estimate") for of in ("p50", "p95")),
        grid.number(row["steps_mean"]),
        grid.percent(row["blind_share_mean"]),
    ]
