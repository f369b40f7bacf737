"""The features that importances are compared of: every value of a map, or blocks of values where those are too many."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transforms.records.maps import MapColumn

# Of all explained inputs together: what is held for each slice is three numbers a feature.
MOST = 1024
Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature.

    Attributes:
        position: row-major, of its first value.
        name: of a group, or which values a block has; None for a value of its own.
    """

    input: str
    position: int
    name: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """All features of a comparison.

    Attributes:
        all: in the order in which they are counted.
        grids: by input that is an image, rows and columns of its features.
        pooled: the inputs whose values are taken together in blocks.
    """

    all: tuple[Feature, ...]
    grids: dict[str, tuple[int, int]]
    pooled: tuple[str, ...]
    _index: tuple[Integers, ...]

    def of(self, number: int, positions: Integers) -> Integers:
        """The feature of each value of an input: positions int64 [values] → int64 [values]."""
        index = self._index[number]
        return index[positions] if len(index) > 1 else np.full(len(positions), index[0])


def features_of(columns: Sequence[MapColumn], most: int = MOST) -> Features:
    """The features of some explained inputs, at most about so many.

    An input whose rows have lengths of their own is one feature: a position stands for nothing there.
    """
    budget = max(1, most // len(columns))
    found, grids, pooled, index = list[Feature](), dict[str, tuple[int, int]](), [], []
    for column in columns:
        here, grid, of_position = _of_input(column, budget)
        index.append(of_position + len(found))
        pooled += [column.input] if len(here) < len(of_position) else []
        grids |= {column.input: grid} if grid else {}
        found += here
    return Features(tuple(found), grids, tuple(pooled), tuple(index))


def _of_input(column: MapColumn, budget: int) -> tuple[list[Feature], tuple[int, int] | None, Integers]:
    """Features, rows and columns where they form an image, and the feature of each position."""
    if column.varying:
        return [Feature(column.input, 0, "all steps")], None, np.zeros(1, np.int64)
    shape = [int(size or 0) for size in column.shape]
    if column.names is None and _is_image(shape):
        return _blocks(column.input, shape, budget)
    size, names = math.prod(shape), column.names
    run = math.ceil(size / budget)
    starts = range(0, size, run)
    if run == 1:
        return [Feature(column.input, at, names[at] if names else None) for at in starts], None, np.arange(size)
    here = [Feature(column.input, at, f"positions {at}-{min(at + run, size) - 1}") for at in starts]
    return here, None, np.arange(size) // run


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) in (2, 3) and min(shape[:2]) > 1


def _blocks(name: str, shape: Sequence[int], budget: int) -> tuple[list[Feature], tuple[int, int], Integers]:
    """Squares of pixels, with all of their channels; single pixels where those are few enough."""
    height, width, channels = shape[0], shape[1], math.prod(shape[2:])
    side = next(
        side for side in range(1, max(height, width) + 1) if _cells(height, side) * _cells(width, side) <= budget
    )
    rows, across = np.arange(height) // side, np.arange(width) // side
    cells = rows[:, None] * _cells(width, side) + across[None, :]
    found = []
    for row in range(0, height, side):
        for column in range(0, width, side):
            last_row, last_column = min(row + side, height) - 1, min(column + side, width) - 1
            block = f"rows {row}-{last_row}, columns {column}-{last_column}" if side > 1 else None
            found.append(Feature(name, (row * width + column) * channels, block))
    return found, (_cells(height, side), _cells(width, side)), np.repeat(cells.ravel(), channels)


def _cells(size: int, side: int) -> int:
    return math.ceil(size / side)
