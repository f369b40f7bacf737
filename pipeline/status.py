"""How far a run is, told by its files alone: the same on every runner, while it runs and afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline import plan as planning
from transforms.records import part
from transforms.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a run.

    Attributes:
        rows_done: explained or refused, in published parts.
        rows_per_second: between the first and the last published part; None while that cannot be said.
        seconds_left: at that rate.
        finished: `_SUCCESS` is there.
    """

    shards: int
    shards_done: int
    rows: int
    rows_done: int
    quarantined: int
    rows_per_second: float | None
    finished: bool

    @property
    def seconds_left(self) -> float | None:
        """Time left at the present rate; None while that cannot be said."""
        left = self.rows - self.rows_done
        return 0.0 if not left else left / self.rows_per_second if self.rows_per_second else None


class Watch:
    """Follows one run; every look reads only the footers of parts that are new.

    Args:
        fingerprint: of the run.
    """

    def __init__(self, place: Place, fingerprint: str, shards: Sequence[Shard]) -> None:
        self._place = place
        self._shards = {names.part_name(fingerprint, shard.number): shard for shard in shards}
        self._written: dict[str, int] = {}

    def look(self) -> Status:
        """The state of the run now."""
        times = self._place.times()
        done = {name: time for name, time in times.items() if name in self._shards}
        for name in done.keys() - self._written.keys():
            with self._place.open(name) as file:
                metadata, rows = part.read_footer(file, name)
            self._written[name] = rows // int(metadata.get("targets", 1))
        planned = {name: self._shards[name].size for name in done}
        written = sum(self._written[name] for name in done)
        return Status(
            shards=len(self._shards),
            shards_done=len(done),
            rows=sum(shard.size for shard in self._shards.values()),
            rows_done=sum(planned.values()),
            quarantined=sum(planned.values()) - written,
            rows_per_second=_rate(done, planned),
            finished=names.SUCCESS in times,
        )


def read_status(place: Place) -> Status:
    """The state of the run in a directory.

    Raises:
        AttribeamError: E_RUN_MISSING, E_RUN_DAMAGED, E_PLAN_DAMAGED, E_PART_DAMAGED.
    """
    record = names.read_json(place, names.RUN)
    shards = planning.read_plan(place).shards
    return Watch(place, str(record.get("fingerprint")), shards).look()


def _rate(times: dict[str, float], rows: dict[str, int]) -> float | None:
    """Rows a second since the first part appeared; its own rows took an unknown time and do not count."""
    if len(times) < 2:
        return None
    first = min(times, key=lambda name: times[name])
    seconds = max(times.values()) - times[first]
    return (sum(rows.values()) - rows[first]) / seconds if seconds > 0 else None
