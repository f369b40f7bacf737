"""A row in the terminal: its facts, half-block images, bars, coloured tokens; without colours, by signs and shades."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from rich.color import Color
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from pipeline.show.colours import rgb
from pipeline.show.row_view import MapView, RowView

Doubles = npt.NDArray[np.float64]
HALF_BLOCK = "▀"
# Without colours: from nothing to the limit, for the output and against it.
FOR, AGAINST = " ░▒▓█", " ·-=≡"
BAR_CELLS = 24
MAX_COLUMNS = 96


def print_row(row: RowView, console: Console) -> None:
    """Print a row."""
    console.print(Text(row.title, style="bold"), soft_wrap=True)
    facts = Table.grid(padding=(0, 2))
    for name, value in row.facts:
        facts.add_row(Text(name, style="dim"), Text(value))
    console.print(facts)
    for one in row.maps:
        note = f"  {one.note}" if one.note else ""
        console.print(Text.assemble("\n", (one.input, "bold"), f"  Σ {one.total:+.6g}{note}"), soft_wrap=True)
        console.print(Padding(_drawn(one, console), (0, 0, 0, 1)))


def _drawn(one: MapView, console: Console) -> RenderableType:
    coloured = console.color_system is not None
    if one.kind == "image":
        width = max(8, min(console.width - 2, MAX_COLUMNS))
        return _image(one, width) if coloured else _shades(one, width)
    if one.kind == "tokens":
        return _tokens(one, coloured)
    return _bars(one, coloured)


def _image(one: MapView, width: int) -> Text:
    """Two pixels a character, one above the other."""
    small, text = shrunk(one.values, width), Text(no_wrap=True)
    limit = MapView(one.input, "image", small, (), "", 0.0).limit
    if len(small) % 2:
        small = np.vstack([small, np.zeros((1, small.shape[1]))])
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append(HALF_BLOCK, Style(color=_colour(above / limit), bgcolor=_colour(below / limit)))
        text.append("\n")
    text.right_crop(1)
    return text


def _shades(one: MapView, width: int) -> Text:
    """A character for each block twice as high as wide, which is what a character looks like."""
    small = shrunk(one.values, width)
    rows = np.arange(0, len(small), 2)
    counts = np.diff(np.append(rows, len(small)))[:, np.newaxis]
    means = np.add.reduceat(small, rows, axis=0) / counts
    limit = MapView(one.input, "image", means, (), "", 0.0).limit
    lines = ["".join(_shade(value / limit) for value in line).rstrip() for line in means]
    return Text("\n".join([*lines, f"for the output {FOR[1:]}, against it {AGAINST[1:]}"]))


def _tokens(one: MapView, coloured: bool) -> Text:
    text = Text()
    for token, value in zip(one.labels, one.values, strict=True):
        if coloured:
            red, green, blue = rgb(value / one.limit)
            ink = "black" if red + green + blue > 382 else "white"
            text.append(f" {token} ", Style(color=ink, bgcolor=Color.from_rgb(red, green, blue)))
            text.append(" ")
        else:
            text.append(f"{token}({value:+.2g}) ")
    return text


def _bars(one: MapView, coloured: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", max_width=40, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for label, value in zip(one.labels, one.values, strict=True):
        style = Style(color=_colour(math.copysign(1.0, value))) if coloured else Style()
        table.add_row(Text(label), f"{value:+.4g}", Text(_bar(value / one.limit), style=style))
    return table


def _bar(share: float) -> str:
    """What speaks against the output to the left of the line, what speaks for it to the right."""
    cells = min(BAR_CELLS, round(abs(share) * BAR_CELLS)) if math.isfinite(share) else 0
    bar = "█" * cells
    return f"{bar:>{BAR_CELLS}}│" if share < 0 else " " * BAR_CELLS + f"│{bar}"


def shrunk(values: Doubles, width: int) -> Doubles:
    """An image [height, width] of at most so many columns: the means of square blocks."""
    side = math.ceil(values.shape[1] / width)
    if side == 1:
        return values
    rows, columns = (np.arange(0, size, side) for size in values.shape)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    counts = [np.diff(np.append(starts, size)) for starts, size in zip((rows, columns), values.shape, strict=True)]
    return np.asarray(sums / np.outer(*counts))


def _shade(share: float) -> str:
    ramp = FOR if share >= 0 else AGAINST
    if not math.isfinite(share):
        return "?"
    return ramp[min(len(ramp) - 1, math.ceil(abs(share) * (len(ramp) - 1) - 0.25))] if abs(share) > 0.05 else ramp[0]


def _colour(share: float) -> Color:
    return Color.from_rgb(*rgb(share))
