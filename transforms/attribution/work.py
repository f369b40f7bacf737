"""The queue of work: which points of which rows go into the next call of the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.kernel import Tiling
from transforms.attribution.model import ModelInput
from transforms.attribution.rules import Quadrature

Values = npt.NDArray[Any]

# A slot's row is fed, and its sum is brought back and added. Not measured finely: it decides between layouts that waste
# little, and never costs more than this share of a row's points
SLOT_COST = 0.1
MAX_NODES = 32


def choose_tiling(batch_size: int, steps: int, exact: bool = False) -> Tiling:
    """The layout of at most `batch_size` points that computes `steps` points a row at the least cost.

    Args:
        exact: a call must have just `batch_size` points, for a model that takes no other number.
    """

    def cost(nodes: int) -> float:
        return -(-steps // nodes) * (nodes + SLOT_COST) / steps

    candidates = range(1, min(batch_size, MAX_NODES) + 1)
    nodes = min((n for n in candidates if not exact or batch_size % n == 0), key=cost)
    return Tiling(batch_size // nodes, nodes)


class Work:
    """The rows of one batch while they are explained.

    Args:
        inputs: of each model input, [rows, *shape].
        baselines: of each explained input, [rows, *shape] or [1, *shape].
        target: int64 [rows].
        output, baseline_output: F(x) and F(x′) at the target, [rows].
        tiles: slots that one row takes.
    """

    def __init__(
        self,
        inputs: list[Values],
        baselines: list[Values],
        target: npt.NDArray[np.int64],
        output: Values,
        baseline_output: Values,
        tiles: int,
    ) -> None:
        self.inputs, self.baselines, self.target = inputs, baselines, target
        self.output, self.baseline_output = output, baseline_output
        self.total, self.taken, self.computed = len(target) * tiles, 0, 0
        # a row whose points span several slots is summed in float64
        self.sums = [np.zeros((len(target), *value.shape[1:])) for value in baselines]

    @property
    def left(self) -> int:
        """Slots that no call has taken yet."""
        return self.total - self.taken

    @property
    def done(self) -> bool:
        """Whether every point is computed."""
        return self.computed == self.total

    def attributions(self, specs: Sequence[ModelInput]) -> list[Values]:
        """(x − x′) · Σ weight · gradient, float32 [rows, *shape] of each explained input."""
        explained = [value for value, spec in zip(self.inputs, specs, strict=True) if spec.explained]
        with np.errstate(invalid="ignore", over="ignore"):
            return [
                ((x - start.astype(np.float64)) * gradients).astype(np.float32)
                for x, start, gradients in zip(explained, self.baselines, self.sums, strict=True)
            ]


@dataclasses.dataclass(frozen=True)
class Segment:
    """What a call takes from one work: `rows`, int [slots], ascending, a row once for each of its tiles."""

    work: Work
    rows: Values

    def add(self, sums: Sequence[Values]) -> None:
        """Add the weighted gradients, [slots, *shape] of each explained input, to their rows."""
        rows, first = np.unique(self.rows, return_index=True)
        for total, value in zip(self.work.sums, sums, strict=True):
            total[rows] += np.add.reduceat(value, first, axis=0, dtype=np.float64)
        self.work.computed += len(self.rows)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the kernel, not yet padded to all slots: nodes and weights are [slots, nodes]."""

    segments: list[Segment]
    nodes: Values
    weights: Values

    @property
    def inputs(self) -> list[Values]:
        """Each model input of the slots' rows, [slots, *shape]."""
        return _stack([[value[part.rows] for value in part.work.inputs] for part in self.segments])

    @property
    def baselines(self) -> list[Values]:
        """Each explained input's baselines of the slots' rows, [slots, *shape]."""
        return _stack([[_at(value, part.rows) for value in part.work.baselines] for part in self.segments])

    @property
    def target(self) -> Values:
        """int32 [slots]."""
        return np.concatenate([part.work.target[part.rows] for part in self.segments]).astype(np.int32)

    def add(self, sums: Sequence[Values]) -> None:
        """Add the weighted gradients, [slots, *shape] of each explained input, to the rows they belong to."""
        slot = 0
        for part in self.segments:
            with np.errstate(invalid="ignore", over="ignore"):
                part.add([value[slot : slot + len(part.rows)] for value in sums])
            slot += len(part.rows)


def pending(queue: Iterable[Work]) -> int:
    """Slots that wait."""
    return sum(work.left for work in queue)


def tile(rule: Quadrature, nodes: int) -> Quadrature:
    """The rule in tiles of `nodes` points, [tiles, nodes]; a ragged tail repeats the last node with weight 0."""
    missing = -len(rule.nodes) % nodes
    return Quadrature(
        np.pad(rule.nodes, (0, missing), mode="edge").reshape(-1, nodes),
        np.pad(rule.weights, (0, missing)).reshape(-1, nodes),
    )


def next_call(queue: Iterable[Work], tiles: Quadrature, slots: int) -> Call:
    """Take the next tiles, in the order of rows and nodes, for at most `slots` slots."""
    segments, taken = [], list[Values]()
    for work in queue:
        count = min(slots, work.left)
        if count:
            position = np.arange(work.taken, work.taken + count)
            segments.append(Segment(work, position // len(tiles.nodes)))
            taken.append(position % len(tiles.nodes))
            work.taken, slots = work.taken + count, slots - count
    chosen = np.concatenate(taken)
    return Call(segments, tiles.nodes[chosen], tiles.weights[chosen])


def _at(value: Values, rows: Values) -> Values:
    return np.broadcast_to(value, (len(rows), *value.shape[1:])) if len(value) == 1 else value[rows]


def _stack(parts: list[list[Values]]) -> list[Values]:
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
