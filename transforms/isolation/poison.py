"""Rows that nobody can explain and live: left out of what is read, and refused with what they did."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from transforms.errors import Fault
from transforms.records.examples import Refusal
from transforms.records.source import RowRange
from transforms.runs.shard import Shard


@dataclasses.dataclass(frozen=True)
class Poison:
    """Rows [start, stop) of a file that are not to be touched again, and why."""

    start: int
    stop: int
    fault: Fault


def healthy(rows: RowRange, poison: Sequence[Poison]) -> Iterator[RowRange]:
    """What is left of some rows without the poison, range by range."""
    start = rows.start
    for one in sorted(poison, key=lambda one: one.start):
        if start < (stop := min(one.start, rows.stop)):
            yield dataclasses.replace(rows, start=start, stop=stop)
        start = max(start, one.stop)
    if start < rows.stop:
        yield dataclasses.replace(rows, start=start)


def refusals(shard: Shard, poison: Sequence[Poison]) -> list[Refusal]:
    """Of every poisoned row; it is named by its place, for its id is not read either."""
    return [
        Refusal(f"{shard.name}#{row}", row, Fault(one.fault.code, f"{shard.name} row {row}: {one.fault.message}"))
        for one in poison
        for row in range(one.start, one.stop)
    ]
