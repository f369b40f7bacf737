"""The rows of one batch while they are explained: what is known of each, and what is still to come."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.explanation import Faults, assess, share
from transforms.attribution.methods.rules import Level
from transforms.errors import Fault

Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Factor = Callable[[Values, Values], Values]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is explained of each row.

    Attributes:
        target: entries of the output, int64 [rows, targets].
        output, baseline_output: F(x) and F(x′) there, [rows, targets].
        predicted: the largest entry of the output, int64 [rows]; None: not known, or there is one entry.
        places: nodes of its own for each row, [rows, steps]; None: those of the rule.
    """

    target: npt.NDArray[np.int64]
    output: Values
    baseline_output: Values
    predicted: npt.NDArray[np.int64] | None = None
    places: npt.NDArray[np.float64] | None = None


class Work:
    """The rows of one batch while they are explained.

    Args:
        inputs: of each explained input of the model, [rows, *shape].
        baselines: of the same, [rows, *shape] or [1, *shape].
        heads: of each input of the head, [rows, *shape].
        starts: of each explained one of the head, [rows, *shape] or [1, *shape].
        chosen: what is explained of them.
        factor: of inputs and baselines, what the sums are multiplied with; None: nothing.

    Attributes:
        sums: what the kernel gives at the level under way, such as Σ weight · ∂F/∂z: float64 [rows, targets, *shape] by
            explained input of the head, and last Σ weight · F, [rows, targets].
        attributions: at the last full level, float32 [rows, targets, *shape] by explained input of the model.
        change: Σ |difference| to the level before, over Σ |attribution|, float64 [rows, targets]; NaN on the first.
        rounding: relative error known beforehand; it adds to the change, float64 [rows, targets].
        steps: nodes of the last full level, int32 [rows].
        lost: rows that cannot be explained, bool [rows]; faults: why.
        open: rows that are not done.
        spread: how much the baselines of a row disagree, float64 [rows, targets]; None: there is one.
        own_starts: each node of a slot has one of its own.
    """

    own_starts = False

    def __init__(
        self,
        inputs: list[Values],
        baselines: list[Values],
        heads: list[Values],
        starts: list[Values],
        chosen: Chosen,
        factor: Factor | None,
    ) -> None:
        self.inputs, self.baselines, self.heads, self.starts = inputs, baselines, heads, starts
        self.chosen, self._factor = chosen, factor
        shape, self.open = chosen.target.shape, len(chosen.target)
        # a row's points span several slots, and levels: they are summed in float64
        self.sums = [*self._new_sums(), np.empty(shape)]
        self._fresh = np.ones(shape[0], dtype=bool)
        self.attributions = [np.zeros((*shape, *value.shape[1:]), np.float32) for value in inputs]
        self.change, self.rounding = np.full(shape, np.nan), np.zeros(shape)
        self.steps = np.zeros(shape[0], np.int32)
        self.spread: npt.NDArray[np.float64] | None = None
        self.lost, self.faults = np.zeros(shape[0], dtype=bool), dict[int, Fault]()
        self._missing = np.zeros(shape[0], np.int64)

    def begin(self, rows: Rows, level: Level, slots: int) -> None:
        """A level of some rows starts, which takes so many slots of each."""
        self._missing[rows] = slots
        if not level.carry:
            self._fresh[rows] = True
            return
        with np.errstate(over="ignore", invalid="ignore"):
            for total in self.sums:
                total[rows] *= level.carry

    def add(self, rows: Rows, sums: Sequence[Values], faults: Faults) -> Rows:
        """Add what slots gave, [slots, targets, *shape]; `rows` ascend, once a slot. The rows whose level is full."""
        unique, first, count = np.unique(rows, return_index=True, return_counts=True)
        several, fresh, where = len(unique) < len(rows), self._fresh[unique], span(unique)
        with np.errstate(over="ignore", invalid="ignore"):
            for total, value in zip(self.sums, sums, strict=True):
                added = np.add.reduceat(value, first, axis=0, dtype=np.float64) if several else value
                if fresh.all():
                    total[where] = added
                    continue
                total[unique[fresh]] = 0
                total[where] += added
        self._fresh[unique] = False
        self.lose(rows, faults)
        self._missing[unique] -= count
        full: Rows = unique[self._missing[unique] == 0]
        return full

    def lose(self, rows: Rows, faults: Faults) -> None:
        """Leave out those of the rows that have a fault, [len(rows)], or [1] for all; the first of a row's is kept."""
        each = np.broadcast_to(faults, len(rows))
        for place in np.flatnonzero(each):
            self.lost[rows[place]] = True
            self.faults.setdefault(int(rows[place]), each[place])

    def blind_share(self) -> Values:
        """Of each row, the share of features that equal their baseline, float32 [rows]: they get 0 whatever F does."""
        pairs = list(zip(self.inputs, self.baselines, strict=True))
        blind = sum((x == start).reshape(len(x), -1).sum(axis=1) for x, start in pairs)
        features = sum(int(np.prod(x.shape[1:])) for x, _ in pairs)
        return np.asarray(blind / max(1, features), np.float32)

    def spoil_nonfinite(self) -> None:
        """No attributions for rows whose inputs are not finite: a saturated function has a gradient of 0 even there."""
        for value in self.inputs:
            finite = np.isfinite(value).reshape(len(value), -1).all(axis=1)
            if not finite.all():
                for attribution in self.attributions:
                    attribution[~finite] = np.nan

    def settle(self, rows: Rows, gradients: Sequence[Values], level: Level, first: bool) -> None:
        """A level of some rows is full: the factor times the sums, [rows, targets, *shape] each.

        Args:
            first: there is no level before it to compare with.
        """
        change, size = np.zeros((2, len(rows), self.chosen.target.shape[1]))
        where = span(rows)
        with np.errstate(invalid="ignore", over="ignore"):
            for index, gradient in enumerate(gradients):
                values = self._multiplied(index, rows, gradient).astype(np.float32, copy=False)
                if not first:
                    change += _norm(values - self.attributions[index][where])
                    size += _norm(values)
                self.attributions[index][where] = values
        self.change[rows] = np.nan if first else share(change, size)
        self.steps[rows] = level.steps

    def starts_at(self, rows: Rows, _places: npt.NDArray[np.int64]) -> list[Values]:
        """Where the paths of some slots start, [slots, *shape]."""
        return [at_rows(value, rows) for value in self.starts]

    def _new_sums(self) -> list[Values]:
        return [np.empty((*self.chosen.target.shape, *value.shape[1:])) for value in self.starts]

    def _multiplied(self, index: int, rows: Rows, gradient: Values) -> Values:
        if self._factor is None:
            return gradient
        factor = self._factor(self.inputs[index][span(rows)], at_rows(self.baselines[index], rows))
        found: Values = factor[:, np.newaxis] * gradient
        return found

    def converged(self, rows: Rows, tolerance: float) -> Mask:
        """Whether the last level of some rows is good enough, or will never be; bool [rows]."""
        chosen, values = self.chosen, {str(index): value[rows] for index, value in enumerate(self.attributions)}
        estimate = self.change[rows] + self.rounding[rows]
        found = assess(values, chosen.output[rows], chosen.baseline_output[rows], tolerance, estimate)
        done: Mask = (found.converged | (found.status == "nonfinite")).all(axis=1)
        return done


def at_rows(value: Values, rows: Rows) -> Values:
    """Of [rows, *shape], or of [1, *shape] which all rows share, the chosen ones."""
    return np.broadcast_to(value, (len(rows), *value.shape[1:])) if len(value) == 1 else value[span(rows)]


def span(rows: Rows) -> slice | Rows:
    """An index of these rows that copies nothing where they lie side by side."""
    together = len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    return slice(int(rows[0]), int(rows[-1]) + 1) if together else rows


def stacked(parts: Sequence[Values]) -> Values:
    """One after another; a single part as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _norm(values: Values) -> npt.NDArray[np.float64]:
    """Σ |value| of each row and target, in float64."""
    total: npt.NDArray[np.float64] = np.abs(values).reshape(*values.shape[:2], -1).sum(axis=2, dtype=np.float64)
    return total
