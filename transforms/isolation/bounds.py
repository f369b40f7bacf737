"""What the process that explains shards is held to."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How long, how large, how often.

    Attributes:
        shard_s: seconds without any progress, after which the process is killed.
        memory: resident bytes, above which it is killed; None: as much as there is. Linux only.
        attempts: at a shard that fail before its rows are tried one by one.
    """

    shard_s: float
    memory: int | None
    attempts: int
