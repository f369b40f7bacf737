"""Shards explained in a child, which is started anew when it dies; rows that it dies of are found and refused."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from transforms.errors import AttribeamError
from transforms.isolation.channel import to_result
from transforms.isolation.poison import Poison
from transforms.isolation.process import Child, Died
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard
from transforms.runs.work_done import ShardResult
from transforms.storage import own_folder
from transforms.storage.place import open_place

log = logging.getLogger(__name__)
# Rows of a shard looked for one by one, each at the price of a new process or two; then the whole shard is refused.
MOST_CULPRITS = 16


class IsolatedShards:
    """One child at a time, which serves all threads of this process, one shard after the other."""

    def __init__(self, job: AttributionJob) -> None:
        assert job.isolation is not None
        self._job, self._bounds, self._scratch = job, job.isolation, open_place(job.root).scratch_parent()
        self._lock, self._child = threading.Lock(), list[Child]()

    def attribute(self, shard: Shard) -> ShardResult:
        """`attribute_shard`, less the rows that nobody survives: E_POISON_CRASH, E_POISON_TIMEOUT, E_POISON_MEMORY.

        After `attempts` that failed, the rows that the last one may have died of are tried one by one. The one that
        kills its process again is refused, and the shard is begun again without it. Where none does, and the shard
        fails once more, it is refused as a whole.

        Raises:
            AttribeamError: as `attribute_shard`; E_ISOLATED_START when the process dies without any row.
        """
        with self._lock:
            poison, failures = list[Poison](), 0
            while True:
                try:
                    return to_result(self._ask("attribute", shard, poison)["result"])
                except Died as death:
                    failures += 1
                    log.warning("%s: %s", shard.name, death.fault.message)
                    # each may have left as much as a part; a run of many deaths would fill the disk
                    own_folder.sweep(self._scratch, own_folder.SCRATCH)
                    if failures >= self._bounds.attempts:
                        poison = self._blamed(shard, death, poison, failures)

    def try_one_batch(self, shard: Shard) -> None:
        """As in `explaining.trial`; that a row of the first kills its process is left for the run to deal with."""
        with self._lock:
            try:
                self._ask("try", shard)
            except Died as death:
                log.warning("the first rows of %s: %s", shard.name, death.fault.message)

    def close(self) -> None:
        """End the child; another one is started when there is a shard again."""
        with self._lock:
            while self._child:
                self._child.pop().end()

    def _blamed(self, shard: Shard, death: Died, poison: Sequence[Poison], failures: int) -> list[Poison]:
        """The poison, and what else is to be left out, if that can be said."""
        if death.rows is None:
            raise AttribeamError(
                "E_ISOLATED_START",
                f"with limits.isolate, {shard.name} rows {shard.rows.start} to {shard.rows.stop - 1}, without any row"
                f" being read: {death.fault.message}",
            )
        found = self._found(shard, death.rows, poison) if len(poison) < MOST_CULPRITS else None
        if found is not None:
            return [*poison, found]
        if failures > self._bounds.attempts:
            return [Poison(shard.rows.start, shard.rows.stop, death.fault)]
        return list(poison)

    def _found(self, shard: Shard, rows: tuple[int, int], poison: Sequence[Poison]) -> Poison | None:
        """The first of some rows that kills its process alone."""
        start, stop = rows
        suspects = dataclasses.replace(shard, rows=dataclasses.replace(shard.rows, start=start, stop=stop))
        try:
            self._ask("search", suspects, poison)
        except Died as death:
            return death.rows and Poison(*death.rows, death.fault)
        return None

    def _ask(self, request: str, shard: Shard, poison: Sequence[Poison] = ()) -> Mapping[str, Any]:
        """What the child answers; one that has failed in any way is not asked again."""
        child = self._child.pop() if self._child else Child(self._job, self._bounds)
        answer = child.ask(request, shard, poison)
        self._child.append(child)
        return answer
