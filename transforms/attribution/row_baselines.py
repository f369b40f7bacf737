"""Baselines that depend on the row: blurred, farthest from it, or drawn for it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.baseline_config import (
    BlurBaseline,
    GaussianBaseline,
    MaxDistanceBaseline,
    UniformBaseline,
)

Values = npt.NDArray[Any]
# A Gaussian is cut off at so many standard deviations, as SciPy does; 6e-5 of it lies beyond.
CUT_OFF = 4.0
Drawn = UniformBaseline | GaussianBaseline
RowBaseline = BlurBaseline | MaxDistanceBaseline | Drawn


def generator(seed: int, *names: object) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone: not on shards, batches or workers."""
    text = "/".join([str(seed), *(f"{len(str(name))}:{name}" for name in names)])
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")))


def row_baselines(baseline: RowBaseline, rows: Values, seed: int, names: Sequence[tuple[object, ...]]) -> Values:
    """Each row's baselines, [rows, draws, *shape] in the rows' dtype.

    Args:
        rows: [rows, *shape].
        names: of each row, what its draws depend on beside the seed.
    """
    if isinstance(baseline, BlurBaseline):
        return blurred(rows, baseline.blur)[:, np.newaxis]
    if isinstance(baseline, MaxDistanceBaseline):
        low, high = baseline.max_distance
        return np.where(rows - low > high - rows, low, high).astype(rows.dtype)[:, np.newaxis]
    drawn = np.stack([_drawn(baseline, rows.shape[1:], generator(seed, *name)) for name in names])
    found = drawn if isinstance(baseline, UniformBaseline) else rows[:, np.newaxis] + drawn
    return found.astype(rows.dtype)


def _drawn(baseline: Drawn, shape: tuple[int, ...], numbers: np.random.Generator) -> Values:
    if isinstance(baseline, UniformBaseline):
        return numbers.uniform(*baseline.uniform, (baseline.draws, *shape))
    half = numbers.standard_normal((-(-baseline.draws // 2), *shape))
    # in pairs of opposite sign: what is odd in the noise cancels to the last bit
    pairs = np.stack([half, -half], axis=1).reshape(-1, *shape)
    return baseline.gaussian * pairs[: baseline.draws]


def blurred(rows: Values, sigma: float) -> Values:
    """Rows [rows, *shape] blurred along the first two axes of each, mirrored at the borders, in the rows' dtype."""
    reach = int(CUT_OFF * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    found = rows.astype(np.float64)
    for axis in range(1, min(3, rows.ndim)):
        size, last = rows.shape[axis], [(0, 0)] * rows.ndim
        last[axis] = (reach, reach)
        padded = np.pad(found, last, mode="symmetric")
        shifted = (np.take(padded, range(start, start + size), axis) for start in range(len(weights)))
        found = np.sum([weight * value for weight, value in zip(weights / weights.sum(), shifted, strict=True)], axis=0)
    return found.astype(rows.dtype)
