"""Figures with axes, drawn by matplotlib in the report's style; names in them are text, never mathematics."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from pipeline.report import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 4.4
LABEL_CHARACTERS = 24
LEAST, MOST = 1e-8, 1e30  # what is drawn on a logarithmic axis; what stands for infinity
Numbers = npt.NDArray[np.float64]


def bars(name: str, title: str, labels: Sequence[str], lengths: Sequence[float]) -> Markup:
    """Horizontal bars, the first on top."""
    figure, axes = _row_canvas(labels)
    axes.barh(np.arange(len(labels)), lengths, height=0.62, color=svg.ACCENT)
    _label_rows(axes, labels)
    return svg.to_svg(figure, name, title)


def diverging(name: str, title: str, labels: Sequence[str], lengths: Sequence[float]) -> Markup:
    """Horizontal bars to both sides of 0, the first on top."""
    figure, axes = _row_canvas(labels)
    colours = [svg.FOR if length >= 0 else svg.AGAINST for length in lengths]
    axes.barh(np.arange(len(labels)), lengths, height=0.62, color=colours)
    axes.axvline(0, color=svg.QUIET, linewidth=0.8)
    _label_rows(axes, labels)
    return svg.to_svg(figure, name, title)


def ranges(name: str, title: str, labels: Sequence[str], quantiles: Numbers) -> Markup:
    """For each label a line from the first to the last of its quantiles, its middle half bold, and its median.

    Args:
        quantiles: p05, p25, p50, p75, p95 each, [labels, 5].
    """
    figure, axes = _row_canvas(labels)
    places = np.arange(len(labels))
    axes.axvline(0, color=svg.QUIET, linewidth=0.8)
    axes.hlines(places, quantiles[:, 0], quantiles[:, 4], color=svg.QUIET, linewidth=1.2)
    for sign, colour in ((1, svg.FOR), (-1, svg.AGAINST)):
        rows = np.flatnonzero(np.where(quantiles[:, 2] >= 0, 1, -1) == sign)
        axes.hlines(places[rows], quantiles[rows, 1], quantiles[rows, 3], color=colour, linewidth=5, alpha=0.55)
        axes.scatter(quantiles[rows, 2], places[rows], s=26, color=colour, zorder=3)
    _label_rows(axes, labels)
    return svg.to_svg(figure, name, title)


def shares(name: str, title: str, labels: Sequence[str], parts: Sequence[tuple[str, Numbers]]) -> Markup:
    """Horizontal bars of length 1, each cut into parts.

    Args:
        parts: a colour of `svg` and the shares in it, [labels] each.
    """
    figure, axes = _row_canvas(labels)
    left = np.zeros(len(labels))
    for colour, lengths in parts:
        axes.barh(np.arange(len(labels)), lengths, left=left, height=0.62, color=colour)
        left = left + lengths
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    _label_rows(axes, labels)
    return svg.to_svg(figure, name, title)


@dataclasses.dataclass(frozen=True)
class Bins:
    """Rows by bin.

    Attributes:
        low, high: where each bin begins and ends, [bins]; the least may begin at 0.
        rows: in each, [bins].
        logarithmic: whether they grow by a factor, and are shares of one. What is below LEAST is drawn there.
    """

    low: Numbers
    high: Numbers
    rows: Numbers
    logarithmic: bool

    @property
    def edges(self) -> tuple[Numbers, Numbers]:
        """Finite and, on a logarithmic axis, positive: where each bin is drawn from and to."""
        span = np.nan_to_num(np.stack([self.low, self.high]).astype(np.float64), nan=0.0, posinf=MOST, neginf=-MOST)
        if not self.logarithmic:
            return span[0], span[1]
        low, high = np.maximum(span, [[LEAST / 2], [LEAST]])
        return np.minimum(low, high), high


def histogram(name: str, title: str, bins: Bins, mark: tuple[float, str] | None = None) -> Markup:
    """Rows by bin.

    Args:
        mark: a value to draw a line at, and its name.
    """
    figure, axes = _canvas(2.3, left=0.13)
    used = bins.rows > 0
    low, high = (edges[used] for edges in bins.edges)
    axes.bar(low, bins.rows[used], width=high - low, align="edge", color=svg.ACCENT, edgecolor="none")
    if bins.logarithmic:
        _logarithmic(axes)
    if mark and low.min() < mark[0] < high.max():
        axes.axvline(mark[0], color=svg.BAD, linewidth=1.4, linestyle=(0, (4, 3)))
        side = "right" if mark[0] > _middle(axes) else "left"
        above = axes.get_xaxis_transform()
        axes.text(mark[0], 1.02, f" {mark[1]} ", color=svg.BAD, fontsize=9, ha=side, transform=above)
    axes.grid(axis="y", color=svg.RULE, linewidth=0.6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="y", nbins=4, integer=True)
    return svg.to_svg(figure, name, title)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    # Plain words: powers would be drawn as mathematics.
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")


def _middle(axes: Axes) -> float:
    low, high = axes.get_xlim()
    return float(np.sqrt(low * high)) if axes.get_xscale() == "log" else (low + high) / 2


def _label_rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(labels)), [_cut(label) for label in labels])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelcolor=svg.INK)
    axes.grid(axis="x", color=svg.RULE, linewidth=0.6)
    axes.locator_params(axis="x", nbins=5)


def _cut(label: str) -> str:
    return label if len(label) <= LABEL_CHARACTERS else label[: LABEL_CHARACTERS - 1] + "…"


def _row_canvas(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """As high as the labels take, and with room for the longest."""
    longest = max((len(_cut(label)) for label in labels), default=1)
    return _canvas(len(labels) * 0.25 + 0.5, left=0.03 + 0.0185 * max(longest, 4))


def _canvas(height_in: float, left: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in))
    axes = figure.add_axes((left, 0.3 / height_in, 0.97 - left, 1 - 0.55 / height_in))
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set(color=svg.RULE)
    axes.tick_params(colors=svg.QUIET, labelsize=9.5, length=3)
    return figure, axes
