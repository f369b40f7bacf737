"""One picture of a finished run over digits: each digit beside the heatmap that explains it."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transforms.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIRS_PER_LINE = 6
WIDTH_IN = 14.0
DPI = 100
HEADER_IN, FOOTER_IN, SECTION_IN, CAPTION_IN, SIDE_IN, GAP_IN = 1.1, 0.3, 0.42, 0.42, 0.45, 0.3
PAPER, INK, QUIET, ALARM, FRAME = "#fbfaf8", "#22262b", "#747b83", "#b3362b", "#d9d6d0"
COLOURS = "RdBu_r"
IMAGE_IN = (WIDTH_IN - 2 * SIDE_IN - (PAIRS_PER_LINE - 1) * GAP_IN) / PAIRS_PER_LINE / 2
CAPTION_COLUMNS = ["row_id", "label", "target", "delta", "relative_delta", "status"]

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One row of the run as it is drawn. `row` holds the CAPTION_COLUMNS, `heat` is float32 [28, 28]."""

    row: Mapping[str, Any]
    digit: Array
    heat: Array
    worst: bool


def contact_sheet(run_directory: Path, images: Mapping[str, Array], target: Path, rows: int = 24) -> Path:
    """Draws a PNG, 1,400 pixels wide, from a run's part files, and returns `target`.

    The classes come in turn; the last line holds the rows with the largest relative delta.

    Args:
        run_directory: holds `part-*.parquet`, with `attribution_image` as float32 [28, 28, 1].
        images: digits by row id, [28, 28]; rows of the run without one are left out.
        target: replaced when it is there.
        rows: how many pairs to draw at most.

    Raises:
        UsageError: E_RUN_EMPTY without a row to draw, E_EXTRA_MISSING without matplotlib.
    """
    table = [row for row in _captions(run_directory) if row["row_id"] in images]
    if not table:
        raise UsageError("E_RUN_EMPTY", f"no row of {run_directory} can be drawn: run the job first")
    spread, worst = choose(table, rows)
    heat = _attributions(run_directory, {row["row_id"] for row in spread + worst})
    pairs = [
        Pair(row, images[row["row_id"]], heat[row["row_id"]], marked)
        for chosen, marked in ((spread, False), (worst, True))
        for row in chosen
    ]
    _save(_draw(pairs, _summary(table)), target)
    return target


def choose(table: list[dict[str, Any]], count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """At most `count` rows: the classes in turn, and as the last line those with the largest relative delta.

    A run of few rows gives the spread half of them, so that both are seen.
    """
    count = min(count, len(table))
    by_error = sorted(table, key=_error, reverse=True)
    worst = by_error[: min(PAIRS_PER_LINE, count // 2)]
    taken = {row["row_id"] for row in worst}
    return _in_turn([row for row in table if row["row_id"] not in taken])[: count - len(worst)], worst


def _in_turn(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first row of every class, then the second of every class, and so on."""
    seen: dict[Any, int] = {}
    ranked: list[tuple[int, str, int]] = []
    for row in table:
        turn = seen[row["label"]] = seen.get(row["label"], -1) + 1
        ranked.append((turn, str(row["label"]), len(ranked)))
    return [table[position] for _, _, position in sorted(ranked)]


def _error(row: Mapping[str, Any]) -> float:
    value = row["relative_delta"]
    # What is not a number is the worst there is.
    return float("inf") if value is None or not np.isfinite(value) else abs(value)


def _parts(run_directory: Path) -> list[Path]:
    return sorted(run_directory.glob("part-*.parquet"))


def _captions(run_directory: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for part in _parts(run_directory):
        yield from pq.read_table(part, columns=CAPTION_COLUMNS).to_pylist()


def _attributions(run_directory: Path, wanted: set[str]) -> dict[str, Array]:
    """Attributions of the wanted rows by row id, each [28, 28]; one part is in memory at a time."""
    import pyarrow.parquet as pq

    found = {}
    for part in _parts(run_directory):
        table = pq.read_table(part, columns=["row_id", "attribution_image"])
        here = [(at, row_id) for at, row_id in enumerate(table["row_id"].to_pylist()) if row_id in wanted]
        if here:
            values = table["attribution_image"].combine_chunks().to_numpy_ndarray()
            found.update({row_id: values[at].sum(axis=-1) for at, row_id in here})
    return found


def _summary(table: Iterable[Mapping[str, Any]]) -> str:
    errors = [_error(row) for row in table]
    fine = sum(row["status"] == "ok" for row in table)
    median = f"median relative delta {_percent(float(np.median(errors)))}"
    return f"{len(errors):,} digits explained   ·   {fine:,} ok   ·   {median}"


def _percent(share: float) -> str:
    if not np.isfinite(share):
        return "not a number"
    return f"{share:.1%}" if share >= 0.1 else f"{share:.2%}" if share >= 0.0001 else "below 0.01%"


def _draw(pairs: list[Pair], summary: str) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        remedy = "the contact sheet is drawn with matplotlib, which is not installed: pip install 'attribeam[demo]'"
        raise UsageError("E_EXTRA_MISSING", remedy) from error
    sections = [
        ("Each class in turn", [pair for pair in pairs if not pair.worst]),
        ("Least complete: the largest relative delta of the run", [pair for pair in pairs if pair.worst]),
    ]
    sections = [section for section in sections if section[1]]
    lines = sum(-(-len(members) // PAIRS_PER_LINE) for _, members in sections)
    height = HEADER_IN + FOOTER_IN + len(sections) * SECTION_IN + lines * (IMAGE_IN + CAPTION_IN)
    figure = Figure(figsize=(WIDTH_IN, height), dpi=DPI, facecolor=PAPER)
    _draw_header(figure, summary)
    top = HEADER_IN
    for title, members in sections:
        top = _draw_section(figure, title, members, top)
    return figure


def _draw_section(figure: Figure, title: str, pairs: list[Pair], top: float) -> float:
    """Draws a titled block of lines from `top` (inches from the upper edge); returns where it ends."""
    colour = ALARM if pairs[0].worst else INK
    _write(figure, (SIDE_IN, top + 0.27), title, color=colour, size=11, weight="bold")
    top += SECTION_IN
    for number, pair in enumerate(pairs):
        line, column = divmod(number, PAIRS_PER_LINE)
        _draw_pair(figure, pair, (SIDE_IN + column * (2 * IMAGE_IN + GAP_IN), top + line * (IMAGE_IN + CAPTION_IN)))
    return top + -(-len(pairs) // PAIRS_PER_LINE) * (IMAGE_IN + CAPTION_IN)


def _draw_pair(figure: Figure, pair: Pair, corner: tuple[float, float]) -> None:
    left, top = corner
    digit = _axes(figure, (left, top), (IMAGE_IN, IMAGE_IN))
    digit.imshow(pair.digit, cmap="gray_r", interpolation="nearest")
    heat = _axes(figure, (left + IMAGE_IN, top), (IMAGE_IN, IMAGE_IN))
    limit = _limit(pair.heat)
    heat.imshow(pair.heat, cmap=COLOURS, vmin=-limit, vmax=limit, interpolation="nearest")
    # The outline lets the eye lay the heat over the stroke.
    heat.contour(pair.digit, levels=[np.max(pair.digit) / 2], colors=INK, linewidths=0.6, alpha=0.35)
    below = top + IMAGE_IN + 0.19
    name, proof = _caption(pair)
    _write(figure, (left, below), name, size=9.5, weight="bold")
    _write(figure, (left + 2 * IMAGE_IN, below), proof, size=8.5, color=ALARM if pair.worst else QUIET, ha="right")


def _caption(pair: Pair) -> tuple[str, str]:
    row = pair.row
    name = f"{row['label']}" if row["target"] in (None, row["label"]) else f"{row['label']} as {row['target']}"
    if row["status"] != "ok":
        # There is no room for both: the status is what a reader must not miss.
        return f"{name}  {row['status']}", _percent(_error(row))
    delta = f"δ {row['delta']:+.4f}".replace("-", "\N{MINUS SIGN}")
    return name, f"{delta}  ({_percent(_error(row))})" if pair.worst else delta


def _limit(heat: Array) -> float:
    """The 99th percentile of |A|: one hot pixel must not bleach the rest."""
    finite = np.abs(heat[np.isfinite(heat)])
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0


def _draw_header(figure: Figure, summary: str) -> None:
    _write(
        figure,
        (SIDE_IN, 0.52),
        "Which ink makes the digit? Integrated gradients, pixel by pixel",
        size=18,
        weight="bold",
    )
    _write(figure, (SIDE_IN, 0.85), summary + "   ·   δ: what the sum of a heatmap misses", size=10.5, color=QUIET)
    width, right = 1.9, WIDTH_IN - SIDE_IN
    bar = _axes(figure, (right - width, 0.38), (width, 0.14))
    bar.imshow(np.linspace(-1, 1, 256)[None], cmap=COLOURS, aspect="auto")
    _write(figure, (right - width, 0.72), "against the class", size=8.5, color=QUIET)
    _write(figure, (right, 0.72), "for it", size=8.5, color=QUIET, ha="right")


def _axes(figure: Figure, corner: tuple[float, float], size: tuple[float, float]) -> Axes:
    """Axes without ticks; `corner` is the upper left one, in inches from the sheet's upper left."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((corner[0] / width, 1 - (corner[1] + size[1]) / height, size[0] / width, size[1] / height))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=FRAME, linewidth=0.8)
    return axes


def _write(figure: Figure, place: tuple[float, float], text: str, **look: Any) -> None:
    width, height = figure.get_size_inches()
    figure.text(place[0] / width, 1 - place[1] / height, text, **{"color": INK, **look})


def _save(figure: Figure, target: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, facecolor=PAPER)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    temporary.write_bytes(picture.getvalue())
    temporary.replace(target)
