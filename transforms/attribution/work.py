"""The queue of work: which nodes of which rows go into the next call of the kernel."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.kernel import Paths
from transforms.attribution.rules import Level, Quadrature

Values = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Factor = Callable[[Values, Values], Values]

# A slot's row is fed, and its sum is brought back and added. Not measured finely: it decides between layouts that waste
# little, and never costs more than this share of a row's points
SLOT_COST = 0.1
MAX_NODES = 64


def nodes_in_slot(levels: Sequence[Level], batch_size: int, exact: bool = False) -> int:
    """The nodes of a slot with which the levels' points cost the least.

    Args:
        batch_size: points of a call, at most.
        exact: a call must have just `batch_size` points, for a model that takes no other number.
    """
    # the levels of a nested rule double: what divides the first divides them all
    steps = levels[0].steps

    def cost(nodes: int) -> float:
        return -(-steps // nodes) * (nodes + SLOT_COST) / steps

    candidates = range(1, min(batch_size, MAX_NODES) + 1)
    return min((n for n in candidates if not exact or batch_size % n == 0), key=cost)


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What is explained of each row: int64 entries of the output, F(x) and F(x′) there, each [rows, targets]."""

    target: npt.NDArray[np.int64]
    output: Values
    baseline_output: Values


class Work:
    """The rows of one batch while they are explained.

    Args:
        inputs: of each explained input of the model, [rows, *shape].
        baselines: of the same, [rows, *shape] or [1, *shape].
        heads: of each input of the head, [rows, *shape].
        starts: of each explained one of the head, [rows, *shape] or [1, *shape].
        chosen: what is explained of them.
        factor: of inputs and baselines, what the sums are multiplied with.

    Attributes:
        sums: Σ weight · ∂F/∂z of the level under way, float64 [rows, targets, *shape] by explained input of the head.
        attributions: at the last full level, float32 [rows, targets, *shape] by explained input of the model.
        change: Σ |difference| to the level before, over Σ |attribution|, float64 [rows, targets]; NaN on the first.
        rounding: relative error known beforehand; it adds to the change, float64 [rows, targets].
        steps: nodes of the last full level, int32 [rows].
        lost: rows whose gradient does not fit into memory, bool [rows].
        open: rows that are not done.
    """

    def __init__(
        self,
        inputs: list[Values],
        baselines: list[Values],
        heads: list[Values],
        starts: list[Values],
        chosen: Chosen,
        factor: Factor,
    ) -> None:
        self.inputs, self.baselines, self.heads, self.starts = inputs, baselines, heads, starts
        self.chosen, self._factor = chosen, factor
        shape, self.open = chosen.target.shape, len(chosen.target)
        # a row's points span several slots, and levels: they are summed in float64
        self.sums = [np.zeros((*shape, *value.shape[1:])) for value in starts]
        self.attributions = [np.zeros((*shape, *value.shape[1:]), np.float32) for value in inputs]
        self.change, self.rounding = np.full(shape, np.nan), np.zeros(shape)
        self.steps = np.zeros(shape[0], np.int32)
        self.lost, self._missing = np.zeros(shape[0], dtype=bool), np.zeros(shape[0], np.int64)

    def begin(self, rows: Rows, level: Level, slots: int) -> None:
        """A level of some rows starts, which takes so many slots of each."""
        self._missing[rows] = slots
        with np.errstate(over="ignore", invalid="ignore"):
            for total in self.sums:
                total[rows] *= level.carry

    def add(self, rows: Rows, sums: Sequence[Values], lost: Mask) -> Rows:
        """Add what slots gave, [slots, targets, *shape]; `rows` ascend, once a slot. The rows whose level is full."""
        unique, first, count = np.unique(rows, return_index=True, return_counts=True)
        several = len(unique) < len(rows)
        with np.errstate(over="ignore", invalid="ignore"):
            for total, value in zip(self.sums, sums, strict=True):
                total[unique] += np.add.reduceat(value, first, axis=0, dtype=np.float64) if several else value
        self.lost[rows] |= lost
        self._missing[unique] -= count
        full: Rows = unique[self._missing[unique] == 0]
        return full

    def blind_share(self) -> Values:
        """Of each row, the share of features that equal their baseline, float32 [rows]: they get 0 whatever F does."""
        pairs = list(zip(self.inputs, self.baselines, strict=True))
        blind = sum((x == start).reshape(len(x), -1).sum(axis=1) for x, start in pairs)
        features = sum(int(np.prod(x.shape[1:])) for x, _ in pairs)
        return np.asarray(blind / max(1, features), np.float32)

    def settle(self, rows: Rows, gradients: Sequence[Values], level: Level) -> None:
        """A level of some rows is full: the factor times the sums, [rows, targets, *shape] each."""
        change, size = np.zeros((2, len(rows), self.chosen.target.shape[1]))
        first = not level.carry  # there is no level before it to compare with
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            for index, gradient in enumerate(gradients):
                factor = self._factor(self.inputs[index][rows], _at(self.baselines[index], rows))
                values = (factor[:, np.newaxis] * gradient).astype(np.float32)
                if not first:
                    change += _norm(values - self.attributions[index][rows])
                    size += _norm(values)
                self.attributions[index][rows] = values
            # nothing changed and nothing there: no error either
            self.change[rows] = np.nan if first else np.where(change == 0, 0.0, change / size)
        self.steps[rows] = level.steps


@dataclasses.dataclass
class Block:
    """Rows of one work at the same level, waiting; `taken` of their slots are in calls already."""

    work: Work
    rows: Rows
    level: int
    slots: int
    taken: int = 0

    @property
    def left(self) -> int:
        """Slots that no call has taken yet."""
        return len(self.rows) * self.slots - self.taken


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a call takes from one block: `rows`, int [slots], ascending, a row once for each of its slots."""

    work: Work
    rows: Rows
    level: int


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the kernel: the paths, and whose they are, segment after segment."""

    segments: list[Segment]
    paths: Paths


def tile(rule: Quadrature, nodes: int) -> Quadrature:
    """The rule in slots of `nodes` points, [slots, nodes]; a ragged tail repeats the last node with weight 0."""
    missing = -len(rule.nodes) % nodes
    return Quadrature(
        np.pad(rule.nodes, (0, missing), mode="edge").reshape(-1, nodes),
        np.pad(rule.weights, (0, missing)).reshape(-1, nodes),
    )


def next_call(queue: deque[Block], tiles: Sequence[Quadrature], slots: int) -> Call:
    """Take the next pieces of paths, in the order of the queue, for at most `slots` slots.

    Args:
        tiles: of each level, in slots.
    """
    segments, chosen = list[Segment](), list[Quadrature]()
    while queue and slots:
        block = queue[0]
        position = np.arange(block.taken, block.taken + min(slots, block.left))
        rule, piece = tiles[block.level], position % block.slots
        segments.append(Segment(block.work, block.rows[position // block.slots], block.level))
        chosen.append(Quadrature(rule.nodes[piece], rule.weights[piece]))
        block.taken, slots = block.taken + len(position), slots - len(position)
        if not block.left:
            queue.popleft()
    return Call(segments, _paths(segments, chosen))


def _paths(segments: Sequence[Segment], chosen: Sequence[Quadrature]) -> Paths:
    return Paths(
        _stack([[value[part.rows] for value in part.work.heads] for part in segments]),
        _stack([[_at(value, part.rows) for value in part.work.starts] for part in segments]),
        np.concatenate([part.work.chosen.target[part.rows] for part in segments]).astype(np.int32),
        np.concatenate([rule.nodes for rule in chosen]),
        np.concatenate([rule.weights for rule in chosen]),
    )


def _at(value: Values, rows: Rows) -> Values:
    return np.broadcast_to(value, (len(rows), *value.shape[1:])) if len(value) == 1 else value[rows]


def _norm(values: Values) -> npt.NDArray[np.float64]:
    """Σ |value| of each row and target, in float64."""
    total: npt.NDArray[np.float64] = np.abs(values).reshape(*values.shape[:2], -1).sum(axis=2, dtype=np.float64)
    return total


def _stack(parts: Iterable[list[Values]]) -> list[Values]:
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
