"""AUPC: how fast F falls while the regions that a map calls most relevant are filled with noise, one after another.

Source: Samek et al., "Evaluating the visualization of what a Deep Neural Network has learned", IEEE TNNLS 2017;
windows, fills and their number as Goh et al., "Understanding Integrated Gradients with SmoothTaylor", ICPR 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.faithfulness.curves import simpson

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Score = Callable[[Values], Doubles]


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """How regions are filled.

    Attributes:
        low, high: between which a fill is drawn, uniformly: the range of the pixels.
        window: height and width of a region, in pixels.
        regions: at most so many, one after another.
        fills: tried for each region; F is averaged over them.
    """

    low: float
    high: float
    window: int = 15
    regions: int = 30
    fills: int = 50


def windows(heatmap: Values, window: int, regions: int) -> list[tuple[int, int]]:
    """Upper left corners of windows that do not overlap, the one with the largest mean |H| first.

    Args:
        heatmap: [height, width]; a side that is shorter than the window has none.
    """
    sums = np.pad(np.abs(heatmap.astype(np.float64)).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    if min(heatmap.shape) < window:
        return []
    means = sums[window:, window:] - sums[:-window, window:] - sums[window:, :-window] + sums[:-window, :-window]
    found: list[tuple[int, int]] = []
    while len(found) < regions and np.isfinite(means).any():
        row, column = map(int, np.unravel_index(np.argmax(means), means.shape))
        found.append((row, column))
        means[max(0, row - window + 1) : row + window, max(0, column - window + 1) : column + window] = -np.inf
    return found


def perturbation_curve(
    score: Score, image: Values, heatmap: Values, how: Perturbation, numbers: np.random.Generator
) -> Doubles:
    """F of the image, then the mean of F over the fills of each further region, [1 + regions].

    Of a region's fills, that whose F is nearest to their median stays while the next region is filled.

    Args:
        score: F of some images, [n, height, width(, channels)] → [n].
        image: [height, width(, channels)].
        heatmap: [height, width].
    """
    found, kept = [float(score(image[np.newaxis])[0])], np.array(image)
    for row, column in windows(heatmap, how.window, how.regions):
        region = (slice(row, row + how.window), slice(column, column + how.window))
        tried = np.repeat(kept[np.newaxis], how.fills, axis=0)
        drawn = numbers.uniform(how.low, how.high, (how.fills, *kept[region].shape))
        tried[:, region[0], region[1]] = drawn
        outputs = score(tried)
        found.append(float(outputs.mean()))
        kept = tried[np.argmin(np.abs(outputs - np.median(outputs)))]
    return np.array(found)


def area_under_perturbation_curve(curve: Doubles) -> float:
    """AUPC: Simpson's rule over the curve divided by |F₀|, its first value, at distances of 1.

    NaN where F₀ is 0, and for a curve without a region.

    Args:
        curve: as `perturbation_curve` gives it.
    """
    if len(curve) < 2 or curve[0] == 0:
        return float("nan")
    return simpson(curve / abs(curve[0]))
