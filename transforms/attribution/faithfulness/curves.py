"""Areas under curves that are known at some points."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
# Closed Newton-Cotes rules by their intervals; composite Simpson takes the rest.
_SHORT = {0: [0.0], 1: [1 / 2, 1 / 2], 3: [3 / 8, 9 / 8, 9 / 8, 3 / 8]}


def simpson(values: Values) -> float:
    """∫ over a curve at equal distances of 1, by Simpson's rule; exact for cubics from two intervals on.

    An odd number of intervals ends with three of Simpson's 3/8 rule; a single one is a trapezoid, a point has no area.

    Args:
        values: [points].
    """
    weights, intervals = np.zeros(len(values)), len(values) - 1
    last = intervals if intervals in _SHORT else 3 * (intervals % 2)
    for first in range(0, intervals - last, 2):
        weights[first : first + 3] += np.array([1, 4, 1]) / 3
    weights[intervals - last :] += _SHORT[last]
    return float(weights @ values.astype(np.float64))


def trapezoid(values: Values, places: Values) -> float:
    """∫ over a curve [points] at rising places [points], by the trapezoidal rule."""
    heights = values.astype(np.float64)
    return float(np.diff(places) @ (heights[1:] + heights[:-1]) / 2)
