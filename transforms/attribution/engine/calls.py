"""The queue of work: which nodes of which rows go into the next call of the kernel."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transforms.attribution.engine.kernel import Paths
from transforms.attribution.engine.work import Rows, Work, span, stacked
from transforms.attribution.methods.rules import Level, Quadrature
from transforms.errors import UsageError

Values = npt.NDArray[Any]

# A slot's row is fed, and its sum is brought back and added. Not measured finely: it decides between layouts that waste
# little, and never costs more than this share of a row's points
SLOT_COST = 0.1
MAX_NODES = 64


def nodes_in_slot(levels: Sequence[Level], batch_size: int, exact: bool = False, overlap: int = 0) -> int:
    """The nodes of a slot with which the levels' points cost the least.

    Args:
        batch_size: points of a call, at most.
        exact: a call must have just `batch_size` points, for a model that takes no other number.
        overlap: nodes that a slot shares with the one before it.

    Raises:
        UsageError: E_BATCH_SIZE when a call has no room for a slot.
    """
    # the levels of a nested rule double: what divides the first divides them all
    steps = levels[0].steps

    def cost(nodes: int) -> float:
        return -(-steps // (nodes - overlap)) * (nodes + SLOT_COST) / steps

    candidates = [n for n in range(1 + overlap, min(batch_size, MAX_NODES) + 1) if not exact or batch_size % n == 0]
    if not candidates:
        raise UsageError(
            "E_BATCH_SIZE",
            f"a call computes {batch_size} points, but this method needs {1 + overlap} at once; give"
            f" attribution.batch_size at least {1 + overlap}, or a model that takes such batches",
        )
    return min(candidates, key=cost)


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
    """What a call takes from one block.

    Attributes:
        rows: int [slots], ascending, a row once for each of its slots.
        places: of the nodes in the rule, int [slots, nodes].
    """

    work: Work
    rows: Rows
    level: int
    places: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of the kernel: the paths, and whose they are, segment after segment."""

    segments: list[Segment]
    paths: Paths


@dataclasses.dataclass(frozen=True)
class Tiles:
    """A rule in slots, [slots, nodes] each: where in the rule a node stands, what it is there, and its weight."""

    places: npt.NDArray[np.int64]
    nodes: Values
    weights: Values


def tile(rule: Quadrature, nodes: int, overlap: int = 0) -> Tiles:
    """The rule in slots of `nodes` points; a ragged tail repeats the last node with weight 0.

    Args:
        overlap: nodes that a slot shares with the one before it; they are weighted in both.
    """
    slots = -(-(len(rule.nodes) - overlap) // (nodes - overlap))
    place = np.arange(slots)[:, np.newaxis] * (nodes - overlap) + np.arange(nodes)
    known, last = place < len(rule.nodes), len(rule.nodes) - 1
    place = np.minimum(place, last)
    return Tiles(place, rule.nodes[place], np.where(known, rule.weights[place], 0.0))


def next_call(queue: deque[Block], tiles: Sequence[Tiles], slots: int) -> Call:
    """Take the next pieces of paths, in the order of the queue, for at most `slots` slots.

    Args:
        tiles: of each level, in slots.
    """
    segments, chosen = list[Segment](), list[Quadrature]()
    while queue and slots:
        block = queue[0]
        position = np.arange(block.taken, block.taken + min(slots, block.left))
        rule, piece = tiles[block.level], position % block.slots
        rows, places, own = block.rows[position // block.slots], rule.places[piece], block.work.chosen.places
        segments.append(Segment(block.work, rows, block.level, places))
        nodes = rule.nodes[piece] if own is None else own[rows[:, np.newaxis], places]
        chosen.append(Quadrature(nodes, rule.weights[piece]))
        block.taken, slots = block.taken + len(position), slots - len(position)
        if not block.left:
            queue.popleft()
    return Call(segments, _paths(segments, chosen))


def _paths(segments: Sequence[Segment], chosen: Sequence[Quadrature]) -> Paths:
    return Paths(
        _stack([[value[span(part.rows)] for value in part.work.heads] for part in segments]),
        _stack([part.work.starts_at(part.rows, part.places) for part in segments]),
        np.concatenate([part.work.chosen.target[part.rows] for part in segments]).astype(np.int32),
        np.concatenate([rule.nodes for rule in chosen]),
        np.concatenate([rule.weights for rule in chosen]),
        drawn=segments[0].work.own_starts,
    )


def _stack(parts: Iterable[list[Values]]) -> list[Values]:
    return [stacked(values) for values in zip(*parts, strict=True)]
