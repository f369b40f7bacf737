"""The mean over a sample of rows, and how far it may be trusted.

Source: Efron, Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: the percentile interval.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

RESAMPLES, LEVEL = 2000, 0.95
BLOCK_BYTES = 16 * 2**20


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean with its interval.

    Attributes:
        mean: None with no value at all.
        low, high: of the 95 % percentile interval; None with fewer than two values.
        n: values.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int


def bootstrapped(values: npt.NDArray[Any], numbers: np.random.Generator) -> Mean:
    """The mean of the finite values [rows], and the interval of the means of resamples drawn with replacement."""
    finite = values[np.isfinite(values)].astype(np.float64)
    count = len(finite)
    if count < 2:
        return Mean(float(finite[0]) if count else None, None, None, count)
    block = max(1, BLOCK_BYTES // (8 * count))
    sizes = [min(block, RESAMPLES - first) for first in range(0, RESAMPLES, block)]
    means = np.concatenate([finite[numbers.integers(0, count, (size, count))].mean(axis=1) for size in sizes])
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(means, [tail, 100 - tail])
    return Mean(float(finite.mean()), float(low), float(high), count)
