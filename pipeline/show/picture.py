"""A row as a PNG, by matplotlib."""

from __future__ import annotations

import io
import math
import pathlib

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.pages.page import replace
from pipeline.show.colours import rgb
from pipeline.show.row_view import MapView, RowView

WIDTH_IN, DPI = 8.0, 120
LINE_IN, MAP_IN, BAR_IN, MARGIN_IN = 0.22, 5.0, 0.24, 0.5
TOKENS_A_LINE = 8


def draw(row: RowView, path: pathlib.Path) -> None:
    """Draw a row into a PNG, which is replaced when it is there.

    Raises:
        UsageError: E_SHOW_FILE where the file cannot be written.
    """
    picture = io.BytesIO()
    _figure(row).savefig(picture, format="png", dpi=DPI)
    replace(path, picture.getvalue())


def _figure(row: RowView) -> Figure:
    heights = [_height(one) for one in row.maps]
    head = MARGIN_IN + LINE_IN * (len(row.facts) + 2)
    figure = Figure(figsize=(WIDTH_IN, head + sum(heights) + MARGIN_IN))
    figure.set_facecolor("white")
    height = figure.get_figheight()
    figure.text(MARGIN_IN / WIDTH_IN, 1 - MARGIN_IN / height, row.title, weight="bold", parse_math=False)
    for number, (name, value) in enumerate(row.facts, start=1):
        line = 1 - (MARGIN_IN + number * LINE_IN) / height
        figure.text(MARGIN_IN / WIDTH_IN, line, name, size=8, color="#666666", parse_math=False)
        figure.text(0.28, line, value, size=8, parse_math=False)
    top = head
    for one, size in zip(row.maps, heights, strict=True):
        box = (0.28, 1 - (top + size - MARGIN_IN) / height, 0.66, (size - 2 * MARGIN_IN) / height)
        _draw_map(figure.add_axes(box), one)
        top += size
    return figure


def _height(one: MapView) -> float:
    lines = math.ceil(len(one.values) / TOKENS_A_LINE) if one.kind == "tokens" else len(one.values)
    return 2 * MARGIN_IN + (MAP_IN if one.kind == "image" else max(1.0, BAR_IN * lines))


def _draw_map(axes: Axes, one: MapView) -> None:
    title = f"{one.input}   Σ {one.total:+.6g}   {one.note}"
    axes.set_title(title, size=8, loc="left", parse_math=False)
    if one.kind == "image":
        shades = [[rgb(value / one.limit) for value in line] for line in one.values]
        axes.imshow(np.array(shades, np.uint8), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
    elif one.kind == "tokens":
        _draw_tokens(axes, one)
    else:
        _draw_bars(axes, one)


def _draw_tokens(axes: Axes, one: MapView) -> None:
    axes.set(xlim=(0, TOKENS_A_LINE), ylim=(math.ceil(len(one.values) / TOKENS_A_LINE), 0))
    axes.axis("off")
    for number, (token, value) in enumerate(zip(one.labels, one.values, strict=True)):
        line, column = divmod(number, TOKENS_A_LINE)
        shade = np.array(rgb(value / one.limit)) / 255
        box = {"facecolor": shade, "edgecolor": "none", "pad": 1.5}
        ink = "black" if shade.sum() > 1.5 else "white"
        axes.text(column, line + 0.5, token[:12], size=7, bbox=box, color=ink, parse_math=False)


def _draw_bars(axes: Axes, one: MapView) -> None:
    places = np.arange(len(one.values))
    colours = [np.array(rgb(math.copysign(1, value))) / 255 for value in one.values]
    axes.barh(places, np.nan_to_num(one.values, posinf=0.0, neginf=0.0), color=colours)
    axes.set_yticks(places, list(one.labels), size=7, parse_math=False)
    axes.tick_params(axis="x", labelsize=7)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.invert_yaxis()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
