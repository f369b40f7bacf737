"""Baselines that depend on the row: blurred, farthest from it, or drawn for it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
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
RowBaseline = BlurBaseline | MaxDistanceBaseline | UniformBaseline | GaussianBaseline


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
    numbers = [generator(seed, *name) for name in names]
    if isinstance(baseline, UniformBaseline):
        shape = (baseline.draws, *rows.shape[1:])
        return np.stack([one.uniform(*baseline.uniform, shape) for one in numbers]).astype(rows.dtype)
    scale = np.broadcast_to(baseline.gaussian if sigma is None else sigma, len(rows))
    return around(rows, scale.astype(np.float32), baseline.draws, numbers, pairs=True)


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


def around(
    rows: Values,
    sigma: npt.NDArray[np.float32],
    draws: int,
    numbers: Iterable[np.random.Generator],
    pairs: bool,
) -> Values:
    """Rows plus Gaussian noise, [rows, draws, *shape].

    Args:
        sigma: of each row's noise, [rows].
        pairs: of opposite sign: what is odd in the noise cancels in a mean, to the last bit.
    """
    found = np.empty((len(rows), draws, *rows.shape[1:]), rows.dtype)
    noise = np.empty((-(-draws // 2) if pairs else draws, *rows.shape[1:]), np.float32)
    for row, scale, one, into in zip(rows, sigma, numbers, found, strict=True):
        one.standard_normal(out=noise, dtype=np.float32)
        noise *= scale
        np.add(row, noise, out=into[0::2] if pairs else into, casting="same_kind")
        if pairs:
            np.subtract(row, noise[: draws // 2], out=into[1::2], casting="same_kind")
    return found
