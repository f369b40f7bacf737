"""How far a run is, told by its files alone: the same on every runner, while it runs and afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from transforms.errors import AttribeamError
from transforms.records import part
from transforms.runs.plan_file import read_sizes
from transforms.storage import manifest as names
from transforms.storage.place import Place


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a run.

    Attributes:
        rows_done: explained or refused, in published parts.
        quarantined: of those, refused.
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
    """Follows one run; every look lists its files, and opens none but quarantine files that are new.

    Args:
        fingerprint: of the run.
        sizes: rows of every shard, [shards].
    """

    def __init__(self, place: Place, fingerprint: str, sizes: npt.NDArray[np.int64]) -> None:
        self._place, self._fingerprint, self._sizes = place, fingerprint, sizes
        self._refused: dict[str, int] = {}

    def look(self) -> Status:
        """The state of the run now.

        Raises:
            AttribeamError: E_PART_DAMAGED.
        """
        times = self._place.times()
        done, _ = names.published(times, self._fingerprint, len(self._sizes))
        return Status(
            shards=len(done),
            shards_done=int(done.sum()),
            rows=int(self._sizes.sum()),
            rows_done=int(self._sizes[done].sum()),
            quarantined=sum(self._refused_of(name) for name in times if names.is_quarantine(name, times)),
            rows_per_second=self._rate(done, times),
            finished=names.SUCCESS in times,
        )

    def _refused_of(self, name: str) -> int:
        if name not in self._refused:
            with self._place.open(name) as file:
                self._refused[name] = part.read_footer(file, name)[1]
        return self._refused[name]

    def _rate(self, done: npt.NDArray[np.bool_], times: Mapping[str, float]) -> float | None:
        """Rows a second since the first part appeared; its own rows took an unknown time and do not count."""
        numbers = np.flatnonzero(done)
        if len(numbers) < 2:
            return None
        found = np.array([times[names.part_name(self._fingerprint, int(number))] for number in numbers])
        seconds = float(found.max() - found.min())
        rows = int(self._sizes[numbers].sum() - self._sizes[numbers[found.argmin()]])
        return rows / seconds if seconds > 0 else None


def open_watch(place: Place) -> Watch:
    """Of the run in a directory.

    Raises:
        AttribeamError: E_RUN_MISSING, E_RUN_UNFINISHED (there is no plan yet), E_RUN_DAMAGED, E_PLAN_DAMAGED.
    """
    record = names.read_run(place)
    if not place.exists(names.PLAN):
        raise AttribeamError(
            "E_RUN_UNFINISHED", f"{place.root} has no {names.PLAN} yet: it is being planned, or the launcher was killed"
        )
    return Watch(place, record["fingerprint"], read_sizes(place))
