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
from transforms.attribution.baselines.blur import blurred

Values = npt.NDArray[Any]
Drawn = UniformBaseline | GaussianBaseline
RowBaseline = BlurBaseline | MaxDistanceBaseline | Drawn


def generator(seed: int, *names: object) -> np.random.Generator:
    """Random numbers that depend on the seed and the names alone: not on shards, batches or workers."""
    text = "/".join([str(seed), *(f"{len(str(name))}:{name}" for name in names)])
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")))


def row_baselines(
    baseline: RowBaseline,
    rows: Values,
    seed: int,
    names: Sequence[tuple[object, ...]],
    sigma: npt.NDArray[np.float64] | None = None,
) -> Values:
    """Each row's baselines, [rows, draws, *shape] in the rows' dtype.

    Args:
        rows: [rows, *shape].
        names: of each row, what its draws depend on beside the seed.
        sigma: of a Gaussian, [rows], instead of its own.
    """
    if isinstance(baseline, BlurBaseline):
        return blurred(rows, baseline.blur)[:, np.newaxis]
    if isinstance(baseline, MaxDistanceBaseline):
        low, high = baseline.max_distance
        return np.where(rows - low > high - rows, low, high).astype(rows.dtype)[:, np.newaxis]
    drawn = np.stack([_drawn(baseline, rows.shape[1:], generator(seed, *name)) for name in names])
    if isinstance(baseline, UniformBaseline):
        return drawn.astype(rows.dtype)
    scale = np.broadcast_to(baseline.gaussian if sigma is None else sigma, len(rows)).astype(drawn.dtype)
    found: Values = rows[:, np.newaxis] + scale.reshape(-1, *[1] * rows.ndim) * drawn
    return found.astype(rows.dtype, copy=False)


def draw_rows(size: int, count: int, seed: int, names: Sequence[tuple[object, ...]]) -> npt.NDArray[np.int64]:
    """Which of `size` rows are drawn for each row, [rows, count]: all different, as long as there are others.

    Args:
        names: of each row, what its draws depend on beside the seed.
    """
    drawn = np.empty((len(names), count), np.int64)
    for row, name in enumerate(names):
        numbers = generator(seed, *name)
        rounds = [numbers.permutation(size) for _ in range(-(-count // size))]
        drawn[row] = np.concatenate(rounds)[:count]
    return drawn


def _drawn(baseline: Drawn, shape: tuple[int, ...], numbers: np.random.Generator) -> Values:
    """[draws, *shape], of a Gaussian those of standard deviation 1."""
    if isinstance(baseline, UniformBaseline):
        return numbers.uniform(*baseline.uniform, (baseline.draws, *shape))
    half = numbers.standard_normal((-(-baseline.draws // 2), *shape), np.float32)
    # in pairs of opposite sign: what is odd in the noise cancels to the last bit
    pairs = np.stack([half, -half], axis=1).reshape(-1, *shape)
    return pairs[: baseline.draws]
