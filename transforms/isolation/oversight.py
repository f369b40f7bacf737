"""Who looks on while a shard is explained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from transforms.records.examples import Examples, Refusal
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard


@dataclasses.dataclass(frozen=True)
class Oversight:
    """What is done around reading and writing.

    Attributes:
        read: (shard, job, rows at once) → its rows, as `read_examples`.
        written: called with a row of the file when all before it are in the part's file, or refused.
        refused: rows that `read` leaves out.
    """

    read: Callable[[Shard, AttributionJob, int], Iterator[tuple[Examples, list[Refusal]]]]
    written: Callable[[int], Any] = int
    refused: Sequence[Refusal] = ()
