"""The queue of work: which points of which rows go into the next call of the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.kernel import Points
from transforms.attribution.model import ModelInput
from transforms.attribution.rules import Quadrature

Values = npt.NDArray[Any]


class Work:
    """The rows of one batch while they are explained.

    Args:
        inputs: of each model input, [rows, *shape].
        baselines: of each explained input, [rows, *shape] or [1, *shape].
        target: int64 [rows].
        output, baseline_output: F(x) and F(x′) at the target, [rows].
        steps: points of one row.
    """

    def __init__(
        self,
        inputs: list[Values],
        baselines: list[Values],
        target: npt.NDArray[np.int64],
        output: Values,
        baseline_output: Values,
        steps: int,
    ) -> None:
        self.inputs, self.baselines, self.target = inputs, baselines, target
        self.output, self.baseline_output = output, baseline_output
        self.total, self.taken = len(target) * steps, 0
        # a row whose points span several calls is summed in float64
        self.sums = [np.zeros((len(target), *value.shape[1:])) for value in baselines]

    @property
    def left(self) -> int:
        """Points not yet computed."""
        return self.total - self.taken

    @property
    def done(self) -> bool:
        """Whether every point is computed."""
        return not self.left

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
    """Consecutive rows of one work within a call: rows [first, stop) of the work stand in the slots from `slot` on."""

    work: Work
    first: int
    stop: int
    slot: int


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the kernel: its points, and the rows they belong to (not yet padded to all slots)."""

    segments: list[Segment]
    points: Points

    @property
    def inputs(self) -> list[Values]:
        """Each model input of the rows, [rows, *shape]."""
        return _stack([[value[part.first : part.stop] for value in part.work.inputs] for part in self.segments])

    @property
    def baselines(self) -> list[Values]:
        """Each explained input's baselines of the rows, [rows, *shape]."""
        return _stack([[_rows(value, part) for value in part.work.baselines] for part in self.segments])

    @property
    def target(self) -> Values:
        """int32 [rows]."""
        return np.concatenate([part.work.target[part.first : part.stop] for part in self.segments]).astype(np.int32)

    def add(self, sums: Sequence[Values]) -> None:
        """Add the weighted gradients, [slots, *shape] of each explained input, to the rows they belong to."""
        for part in self.segments:
            slots = slice(part.slot, part.slot + part.stop - part.first)
            for total, value in zip(part.work.sums, sums, strict=True):
                total[part.first : part.stop] += value[slots]


def pending(queue: Iterable[Work]) -> int:
    """Points that wait."""
    return sum(work.left for work in queue)


def slots_needed(batch_size: int, steps: int) -> int:
    """The most rows that `batch_size` consecutive points can belong to, with `steps` points a row."""
    return 1 if batch_size == 1 else (batch_size - 2) // steps + 2


def next_points(queue: Iterable[Work], rule: Quadrature, batch_size: int) -> Call:
    """Take the next points, in the order of rows and nodes; a ragged tail repeats the last point with weight 0."""
    steps, slot, left = len(rule.nodes), 0, batch_size
    segments, slots, nodes = [], [], []
    for work in queue:
        if work.done or not left:
            continue
        point = np.arange(work.taken, work.taken + min(left, work.left))
        work.taken, left = work.taken + len(point), left - len(point)
        row = point // steps
        segments.append(Segment(work, int(row[0]), int(row[-1]) + 1, slot))
        slots.append(row - row[0] + slot)
        nodes.append(point % steps)
        slot += segments[-1].stop - segments[-1].first
    return Call(segments, _padded(np.concatenate(slots), np.concatenate(nodes), rule, batch_size))


def _padded(slot: Values, node: Values, rule: Quadrature, size: int) -> Points:
    missing = size - len(slot)
    return Points(
        slot=np.pad(slot, (0, missing), mode="edge").astype(np.int32),
        node=np.pad(rule.nodes[node], (0, missing), mode="edge"),
        weight=np.pad(rule.weights[node], (0, missing)),
    )


def _rows(value: Values, part: Segment) -> Values:
    rows = part.stop - part.first
    return np.broadcast_to(value, (rows, *value.shape[1:])) if len(value) == 1 else value[part.first : part.stop]


def _stack(parts: list[list[Values]]) -> list[Values]:
    return [np.concatenate(values) for values in zip(*parts, strict=True)]
