"""How noisy a map looks: average total variation, and the area under it over a Gaussian pyramid.

Source: Goh et al., "Understanding Integrated Gradients with SmoothTaylor for Deep Neural Network Attribution", ICPR
2020, and the code that belongs to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baselines.blur import blurred
from transforms.attribution.faithfulness.curves import simpson

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
PERCENTILE = 99
FACTOR, SMALLEST = 1.5, 30


def normalised(image: Values) -> Doubles | None:
    """|H| from its least to its 99th percentile as 0 to 1, and 1 beyond; None where those two do not differ.

    Args:
        image: a map H, [height, width].
    """
    sizes = np.abs(image.astype(np.float64))
    low, high = sizes.min(), np.percentile(sizes, PERCENTILE)
    return np.clip((sizes - low) / (high - low), 0, 1) if high > low else None


def average_total_variation(image: Values) -> float:
    """ATV: Σ of the absolute differences of neighbours, down and across, in the normalised |H|, per pixel.

    NaN for a flat map, and one whose 99th percentile is its least value.

    Args:
        image: a map H, [height, width].
    """
    heights = normalised(image)
    if heights is None:
        return float("nan")
    return float(sum(np.abs(np.diff(heights, axis=axis)).sum() for axis in (0, 1)) / heights.size)


def area_under_total_variation_curve(image: Values, factor: float = FACTOR, smallest: int = SMALLEST) -> float:
    """AUTVC: Simpson's rule over the ATV of a Gaussian pyramid's levels, at distances of 1.

    Noise is gone on the coarser levels, structure is not. NaN with fewer than two levels, or where a level is flat.

    Args:
        image: a map H, [height, width].
        factor: from one level to the next.
        smallest: height and width of the last level, at least, in pixels.
    """
    levels = pyramid(image, factor, smallest)
    if len(levels) < 2:
        return float("nan")
    return simpson(np.array([average_total_variation(level) for level in levels]))


def pyramid(image: Values, factor: float = FACTOR, smallest: int = SMALLEST) -> list[Doubles]:
    """A map and its reductions by `factor`, each blurred by a third of it first, while both sides are large enough.

    The blur is scikit-image's, σ = 2·factor/6: three standard deviations of it are one new pixel.
    """
    levels: list[Doubles] = []
    level = image.astype(np.float64)
    while min(level.shape) >= smallest and (not levels or level.shape != levels[-1].shape):
        levels.append(level)
        level = _reduced(blurred(level[np.newaxis], factor / 3)[0], factor)
    return levels


def _reduced(image: Doubles, factor: float) -> Doubles:
    """By linear interpolation between the centres of pixels."""
    for axis in (0, 1):
        size = image.shape[axis]
        wanted = int(np.ceil(size / factor))
        places = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        below = np.minimum(places.astype(int), max(0, size - 2))
        share = (places - below).reshape([-1 if other == axis else 1 for other in (0, 1)])
        above = np.minimum(below + 1, size - 1)
        image = (1 - share) * np.take(image, below, axis) + share * np.take(image, above, axis)
    return image
