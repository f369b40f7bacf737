"""Coarse grids: the sums of a map's values over the cells of a grid, or over blocks of positions."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from transforms.auditing.moments import Doubles, Values
from transforms.auditing.part_columns import MapColumn

SIDE = 16  # cells of a side of the grid that slices are pooled on
COMPARED = 4096  # values by which a row is compared to its class


@dataclasses.dataclass(frozen=True)
class Pool:
    """Which positions are summed into which cell.

    Attributes:
        shape: of the grid.
        order: positions, those of a cell together.
        starts: where each cell's begin.
    """

    shape: tuple[int, ...]
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, column: MapColumn, size: int, side: int = SIDE) -> Pool | None:
        """For maps of so many positions: `side` × `side` cells of an image, its channels summed, or as many blocks of
        positions; None where a map is not larger than that."""
        if size <= side**2:
            return None
        shape, cells = _image_cells(column, side) if column.kind == "image" else _blocks(size, side**2)
        order = np.argsort(cells, kind="stable")
        return cls(shape, order, np.flatnonzero(np.diff(cells[order], prepend=-1)))

    @property
    def size(self) -> int:
        """Cells of the grid."""
        return len(self.starts)

    def sums(self, values: Values) -> Doubles:
        """[rows, positions] → [rows, cells]."""
        return np.asarray(np.add.reduceat(values[:, self.order], self.starts, axis=1, dtype=np.float64))


def compared(column: MapColumn, values: Values, pool: Pool | None) -> Values:
    """What of a row's map is compared to the mean of its class, [rows, at most COMPARED].

    Where the number of positions is known from the rows only, position p counts as p modulo COMPARED.

    Args:
        pool: of fixed maps that are larger.
    """
    if pool is not None:
        return pool.sums(values)
    if not column.open or values.shape[1] <= COMPARED:
        return values
    missing = -values.shape[1] % COMPARED
    whole = np.pad(values, ((0, 0), (0, missing)))
    return np.asarray(whole.reshape(len(values), -1, COMPARED).sum(axis=1, dtype=np.float64))


def comparing_pool(column: MapColumn) -> Pool | None:
    """The one of `compared`."""
    return None if column.open else Pool.of(column, column.size, int(COMPARED**0.5))


def _image_cells(column: MapColumn, side: int) -> tuple[tuple[int, ...], npt.NDArray[np.int64]]:
    height, width, *channels = (axis or 1 for axis in column.shape or ())
    down, across = min(side, height), min(side, width)
    rows, columns = np.arange(height) * down // height, np.arange(width) * across // width
    cells = rows[:, np.newaxis] * across + columns
    return (down, across), np.repeat(cells.ravel(), int(np.prod(channels, dtype=int)))


def _blocks(size: int, count: int) -> tuple[tuple[int, ...], npt.NDArray[np.int64]]:
    return (count,), np.arange(size) * count // size
