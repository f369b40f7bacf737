"""Insertion and deletion: F while the features come in, or go, in the order in which a map ranks them.

Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.faithfulness.curves import trapezoid

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
INTERVALS = 32


@dataclasses.dataclass(frozen=True)
class Curves:
    """F over the ranked share of the features.

    Attributes:
        shares: from 0 to 1, float64 [points].
        insertion: F with that share of the row's features in the fill, [points].
        deletion: F with that share of the fill's features in the row, [points].
    """

    shares: Doubles
    insertion: Doubles
    deletion: Doubles

    @property
    def insertion_area(self) -> float:
        """Area under F: large where the first features bring it back."""
        return trapezoid(self.insertion, self.shares)

    @property
    def deletion_area(self) -> float:
        """Area under F: small where the first features take it away."""
        return trapezoid(self.deletion, self.shares)


def curves(score: Callable[[Mask], Doubles], values: Values, intervals: int = INTERVALS) -> Curves:
    """Both curves of one row.

    Args:
        score: F for each mask, bool [points, features] → [points]: the row's own feature where it is true, the fill's
            where it is not. The fill is the caller's: a baseline, or the input of maximal entropy.
        values: what ranks the features, the largest first; of equal ones the first, [features].
        intervals: of the curve; fewer where there are fewer features.
    """
    steps = min(len(values), intervals)
    counts = np.rint(np.linspace(0, len(values), steps + 1)).astype(int)
    ranks = np.empty(len(values), int)
    ranks[np.argsort(-values, kind="stable")] = np.arange(len(values))
    taken = ranks < counts[:, np.newaxis]
    return Curves(counts / len(values), score(taken), score(~taken))
