"""Paths that each step of a row decides anew, from the gradient where it stands: a loop around the kernel.

Source: Kapishnikov et al., "Guided Integrated Gradients: An Adaptive Path Method for Removing Noise", CVPR 2021.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.compute import Compute
from transforms.attribution.engine.kernel import Paths
from transforms.attribution.engine.work import Rows, Work, at_rows
from transforms.attribution.method_config import GuidedIntegratedGradients
from transforms.attribution.methods.rules import Level

Values = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Guided:
    """Explains works along guided paths.

    Args:
        compute: whose kernel takes one target a slot.
        levels: so many steps; the next level where a row has not converged.
        pool: runs pieces of a work side by side.
    """

    compute: Compute
    options: GuidedIntegratedGradients
    levels: Sequence[Level]
    tolerance: float
    pool: Executor

    def explain(self, work: Work) -> None:
        """All rows of the work that are not lost."""
        rows = np.flatnonzero(~work.lost)
        for index, level in enumerate(self.levels):
            count = max(2, -(-len(rows) * work.chosen.target.shape[1] // self.compute.batching.points))
            pieces = [piece for piece in np.array_split(rows, count) if len(piece)]
            along = functools.partial(self._paths, work, steps=len(level.rule.nodes) - 1)
            for piece, found in zip(pieces, self.pool.map(along, pieces), strict=True):
                work.settle(piece, found, level, first=index == 0)
            rows = rows[~(work.lost[rows] | (work.converged(rows, self.tolerance) if index else False))]

    def _paths(self, work: Work, rows: Rows, steps: int) -> list[Doubles]:
        """The attributions of some rows, [rows, targets, *shape] for each explained input."""
        targets = work.chosen.target.shape[1]
        each = np.repeat(rows, targets)
        entry = work.chosen.target[rows].reshape(-1, 1).astype(np.int32)
        ends, starts = ([at_rows(value, each) for value in values] for values in (work.inputs, work.baselines))
        ways = _flat([end - start.astype(np.float64) for end, start in zip(ends, starts, strict=True)])
        held = [at_rows(value, each) for value in work.heads]
        nodes = np.zeros((len(each), 1))
        # a feature that equals its baseline has nowhere to go
        gone = np.where(ways == 0, 1.0, 0.0)
        total = np.zeros_like(ways)
        # a row that is not finite says so by its numbers
        with np.errstate(over="ignore", invalid="ignore"):
            for step in range(steps):
                points = [
                    (start + way).astype(start.dtype)
                    for start, way in zip(starts, _shaped(gone * ways, starts), strict=True)
                ]
                fed = iter(points)
                inputs = [
                    next(fed) if spec.explained else value
                    for spec, value in zip(self.compute.kernel.heads, held, strict=True)
                ]
                (*gradients, _), faults = self.compute.gradients(Paths(inputs, points, entry, nodes, nodes + 1))
                work.lose(each, faults)
                gradient = _flat([value[:, 0].astype(np.float64) for value in gradients])
                moved = advanced(gone, gradient, np.abs(ways), (step + 1) / steps, self.options)
                total += (moved - gone) * ways * gradient
                gone = moved
        return [value.reshape(len(rows), targets, *value.shape[1:]) for value in _shaped(total, starts)]


def advanced(
    gone: Doubles, gradient: Doubles, way: Doubles, alpha: float, options: GuidedIntegratedGradients
) -> Doubles:
    """How far every feature has gone after one more step: those of the smallest |gradient| first.

    Args:
        gone: share of its way that each feature has gone so far, [rows, features].
        gradient, way: ∂F and |x − x′| of each, likewise.
        alpha: of the whole way, in L1, that lies behind after this step.
    """
    low, high = max(alpha - options.max_dist, 0.0), min(alpha + options.max_dist, 1.0)
    after, wanted = np.maximum(gone, low), way.sum(axis=1) * (1 - alpha)
    size = np.abs(gradient)
    rank = int(options.fraction * (way.shape[1] - 1))
    while True:
        # rounding aside, what is left to go is never less than wanted once every feature is at its limit
        excess = (way * (1 - after)).sum(axis=1) - wanted
        candidates = np.where((after < high) & (way > 0), size, np.inf)
        open_rows = (excess > 1e-12 * way.sum(axis=1)) & np.isfinite(candidates).any(axis=1)
        if not open_rows.any():
            return after
        threshold = np.partition(candidates, rank, axis=1)[:, rank : rank + 1]
        chosen = np.isfinite(candidates) & (candidates <= threshold) & open_rows[:, np.newaxis]
        room = (way * (high - after) * chosen).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(room > 0, np.minimum(1.0, excess / room), 0.0)[:, np.newaxis]
        after = np.where(chosen, np.where(share == 1.0, high, after + share * (high - after)), after)


def _flat(values: Sequence[Doubles]) -> Doubles:
    """All features of each row, [rows, features]."""
    return np.concatenate([value.reshape(len(value), -1) for value in values], axis=1)


def _shaped(flat: Doubles, like: Sequence[Values]) -> list[Doubles]:
    """[rows, features] → [rows, *shape] for each of `like`."""
    ends = np.cumsum([int(np.prod(value.shape[1:])) for value in like])[:-1]
    return [part.reshape(value.shape) for part, value in zip(np.split(flat, ends, axis=1), like, strict=True)]
