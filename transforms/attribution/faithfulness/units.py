"""What is ranked, taken away and put back together: a row's features, or where a map was summed, groups of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a row, over all explained inputs, in their order.

    Attributes:
        shapes: by explained input, its shape with a 1 for each axis that is taken as a whole.
    """

    shapes: Mapping[str, Shape]

    @classmethod
    def of_maps(cls, maps: Mapping[str, Shape]) -> Units:
        """A pixel with all its channels where the map is an image [height, width, channels]; else each value."""
        return cls({name: (*shape[:2], 1) if len(shape) == 3 else shape for name, shape in maps.items()})

    @property
    def count(self) -> int:
        """Of one row."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    def values(self, maps: Mapping[str, Values]) -> Doubles:
        """Each unit's attribution, [rows, units], of maps [rows, *shape] that are as fine as the units or finer."""
        folded = [folded_to(maps[name], shape) for name, shape in self.shapes.items()]
        return np.concatenate([value.reshape(len(value), -1) for value in folded], axis=1)

    def blended(self, own: Mask, row: Mapping[str, Values], fill: Mapping[str, Values]) -> dict[str, Values]:
        """Copies of a row whose units are its own where `own` is true, and the fill's where not.

        Args:
            own: [copies, units].
            row, fill: by explained input, [*shape].

        Returns:
            By explained input, [copies, *shape] in the row's dtype.
        """
        borders = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])[:-1]
        masks = np.split(own, borders, axis=1)
        return {
            name: np.where(mask.reshape(len(own), *shape), row[name], fill[name]).astype(row[name].dtype)
            for (name, shape), mask in zip(self.shapes.items(), masks, strict=True)
        }


def folded_to(values: Values, shape: Sequence[int]) -> Doubles:
    """Values [rows, *finer shape] summed in float64 over the axes where `shape` has a 1, [rows, *shape]."""
    axes = tuple(axis + 1 for axis, size in enumerate(shape) if size == 1)
    return np.asarray(values.sum(axis=axes, keepdims=True, dtype=np.float64))
