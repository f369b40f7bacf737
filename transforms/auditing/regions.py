"""How much of an image's attributions lies where: in the cells of a grid, the corners, along the border."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa

from transforms.auditing.grouping import Grouping, pieces
from transforms.auditing.moments import Doubles, Moments
from transforms.auditing.part_columns import Floats, MapColumn

GRID = 4
# Of a side: a corner is a quarter of both, the border an eighth on each.
CORNER, BORDER = 4, 8
# Of maps that are multiplied with the pixels of the regions together.
PRODUCT_VALUES = 2**19


@functools.cache
def regions(height: int, width: int, channels: int) -> tuple[tuple[str, ...], Doubles]:
    """The names of the regions, and which pixels each has, [pixels × channels, regions] of 0 and 1.

    `cell_r_c` of a 4 × 4 grid; `corner_…`, a quarter of the height by a quarter of the width; `border_…`, an eighth of
    the side; `border`, all four; `centre`, the middle half of height and width.
    """
    rows, columns = np.arange(height)[:, np.newaxis], np.arange(width)[np.newaxis]
    top, bottom = rows < _part(height, CORNER), rows >= height - _part(height, CORNER)
    left, right = columns < _part(width, CORNER), columns >= width - _part(width, CORNER)
    edges = {
        "border_top": rows < _part(height, BORDER),
        "border_bottom": rows >= height - _part(height, BORDER),
        "border_left": columns < _part(width, BORDER),
        "border_right": columns >= width - _part(width, BORDER),
    }
    found: dict[str, Any] = {
        f"cell_{row}_{column}": (rows * GRID // height == row) & (columns * GRID // width == column)
        for row in range(GRID)
        for column in range(GRID)
    }
    corners = {"top_left": top & left, "top_right": top & right, "bottom_left": bottom & left}
    found |= {f"corner_{name}": pixels for name, pixels in (corners | {"bottom_right": bottom & right}).items()}
    found |= edges | {"border": functools.reduce(np.logical_or, edges.values())}
    found["centre"] = ~(top | bottom) & ~(left | right)
    masks = [np.repeat(np.broadcast_to(mask, (height, width)).ravel(), channels) for mask in found.values()]
    return tuple(found), np.stack(masks, axis=1).astype(np.float64)


class RegionShares:
    """By slice, the mean and variance of the share of a row's Σ|A| that lies in each region."""

    def __init__(self, column: MapColumn, slices: int) -> None:
        height, width, *channels = (axis or 1 for axis in column.shape or ())
        self.names, self._pixels = regions(height, width, int(np.prod(channels, dtype=int)))
        self.area = self._pixels.mean(axis=0)
        self.shares = Moments(np.zeros(len(self.names)), slices)

    def add(self, values: Floats, grouping: Grouping) -> None:
        """Add maps [positions, rows], in the order of the grouping's cells; the shares of a row of zeros are 0."""
        own, total = np.empty((len(self.names), values.shape[1])), np.empty(values.shape[1])
        for some in pieces(values.shape[1], max(1, PRODUCT_VALUES // max(1, len(values)))):
            sizes = np.abs(values[:, some]).astype(np.float64)
            total[some] = sizes.sum(axis=0)
            own[:, some] = self._pixels.T @ sizes
        shares = np.divide(own, total, out=np.zeros(own.shape), where=total > 0)
        self.shares.add(shares, None, grouping)

    def merge(self, other: RegionShares) -> None:
        """Add what another one added."""
        self.shares.merge(other.shares)

    def columns(self) -> dict[str, pa.Array]:
        """By slice and region, one after another."""
        slices = len(self.shares.rows)
        return {
            "region": pa.array(list(self.names) * slices),
            "rows": pa.array(self.shares.rows.ravel()),
            "share_mean": pa.array(self.shares.mean.ravel()),
            "share_variance": pa.array(self.shares.variance.ravel()),
            "area_share": pa.array(np.tile(self.area, slices)),
        }


def _part(side: int, share: int) -> int:
    return max(1, side // share)
