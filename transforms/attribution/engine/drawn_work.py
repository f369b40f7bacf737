"""Rows that are explained at drawn points, one gradient at each: all draws of a row are nodes of its slots."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.work import Chosen, Rows, Work
from transforms.attribution.explanation import share
from transforms.attribution.methods.rules import Level

Values = npt.NDArray[Any]
Kind = Literal["smoothgrad", "smoothgrad_squared", "vargrad"]


@dataclasses.dataclass(frozen=True)
class Draws:
    """What is drawn for some rows, and what becomes of it.

    Attributes:
        values: of each explained input, [rows, draws, *shape].
        kind: how what the draws give is combined.
        moments: the kernel gives the mean of the squares beside the mean.
        baselines: they are baselines, rather than noisy copies of the row.
    """

    values: list[Values]
    kind: Kind
    moments: bool
    baselines: bool


class DrawnWork(Work):
    """As `Work`, with `starts` of its own for each node.

    Attributes:
        spread: Σ standard deviation of what the baselines give, over Σ |mean|.
        change: the same of the mean's standard error; 0 without moments.
    """

    own_starts = True

    def __init__(
        self, inputs: list[Values], baselines: list[Values], heads: list[Values], draws: Draws, chosen: Chosen
    ):
        self._draws = draws
        super().__init__(inputs, baselines, heads, draws.values, chosen, factor=None)
        self.spread = np.zeros(chosen.target.shape) if draws.baselines and draws.moments else None

    def starts_at(self, rows: Rows, places: npt.NDArray[np.int64]) -> list[Values]:
        """Of each slot and node, [slots, nodes, *shape]."""
        draws = self.starts[0].shape[1]
        first, last = (int(rows[end] * draws + places[end, end]) for end in (0, -1))
        if last - first + 1 == places.size and draws % places.shape[1] == 0:  # as they lie
            flat = [value.reshape(-1, *value.shape[2:])[first : last + 1] for value in self.starts]
            return [value.reshape(*places.shape, *value.shape[1:]) for value in flat]
        return [value[rows[:, np.newaxis], places] for value in self.starts]

    def blind_share(self) -> Values:
        """The mean over the baselines, where they are what is drawn."""
        if not self._draws.baselines:
            return super().blind_share()
        blind = np.zeros(len(self.steps))
        for value, drawn in zip(self.inputs, self.starts, strict=True):
            # row by row, as long as both are in the cache
            blind += [np.count_nonzero(row == draws) for row, draws in zip(value, drawn, strict=True)]
        features = sum(int(np.prod(drawn.shape[1:])) for drawn in self.starts)
        return np.asarray(blind / max(1, features), np.float32)

    def settle(self, rows: Rows, gradients: Sequence[Values], level: Level, first: bool) -> None:
        """All draws of some rows are computed: their sums become means."""
        gradients = [value / np.float64(level.steps) for value in gradients] if level.steps > 1 else gradients
        self.sums[-1][rows] /= level.steps
        if not self._draws.moments:
            super().settle(rows, gradients, level, first)
            self.change[rows] = 0
            return
        wide, size = np.zeros((2, len(rows), self.chosen.target.shape[1]))
        with np.errstate(invalid="ignore", over="ignore"):
            means, squares = ([value[:, :, index] for value in gradients] for index in (0, 1))
            variances = [np.maximum(square - mean**2, 0) for mean, square in zip(means, squares, strict=True)]
            for mean, variance in zip(means, variances, strict=True):
                wide += _total(np.sqrt(variance))
                size += _total(np.abs(mean))
        spread = share(wide, size)
        if self.spread is not None:
            self.spread[rows] = spread
        self.change[rows] = spread / np.sqrt(level.steps - 1)
        kept = {"smoothgrad": means, "smoothgrad_squared": squares, "vargrad": variances}[self._draws.kind]
        for attribution, value in zip(self.attributions, kept, strict=True):
            attribution[rows] = value
        self.steps[rows] = level.steps

    def _new_sums(self) -> list[Values]:
        shape = (*self.chosen.target.shape, *((2,) if self._draws.moments else ()))
        # a single gradient is as it is
        dtype = np.float32 if self._draws.values[0].shape[1] == 1 else np.float64
        return [np.empty((*shape, *value.shape[1:]), dtype) for value in self.inputs]


def _total(values: Values) -> npt.NDArray[np.float64]:
    total: npt.NDArray[np.float64] = values.reshape(*values.shape[:2], -1).sum(axis=2)
    return total
