"""What explaining shards took: of one, and of all in an invocation."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from transforms.runs.whole_part import WholePart

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What became of a shard in this invocation.

    Attributes:
        published: False when another attempt had published the same part first.
        seconds: spent on it, from its first row to its part; shards overlap.
        peak_memory_bytes: the most that the worker process ever held.
        out_of_memory: calls that did not fit into the device's memory and were done again in halves.
        gradients: evaluations that its rows took.
        refused: rows of it in quarantine, by code.
        reading_s, computing_s, writing_s: seconds in which it was read and decoded, explained, and written and
            published; they overlap.
        programs: that its worker process compiled meanwhile.
        whole: what reading the part in full found before it was published; None: it was not published here.
    """

    number: int
    rows: int
    quarantined: int
    published: bool
    seconds: float
    peak_memory_bytes: int
    out_of_memory: int
    gradients: int = 0
    refused: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reading_s: float = 0.0
    computing_s: float = 0.0
    writing_s: float = 0.0
    programs: int = 0
    whole: WholePart | None = None


@dataclasses.dataclass(frozen=True)
class WorkDone:
    """By the shards of one invocation, each counted once, however many attempts there were.

    Attributes:
        shards: how many there were.
        peak_memory_bytes: of the worker process that held the most.
        out_of_memory, reading_s, computing_s, writing_s, programs: of all of them.
    """

    shards: int = 0
    peak_memory_bytes: int = 0
    out_of_memory: int = 0
    reading_s: float = 0.0
    computing_s: float = 0.0
    writing_s: float = 0.0
    programs: int = 0

    def __add__(self, other: WorkDone) -> WorkDone:
        """By both."""
        return WorkDone(
            self.shards + other.shards,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            self.out_of_memory + other.out_of_memory,
            self.reading_s + other.reading_s,
            self.computing_s + other.computing_s,
            self.writing_s + other.writing_s,
            self.programs + other.programs,
        )

    @classmethod
    def of(cls, result: ShardResult) -> WorkDone:
        """By one shard."""
        seconds = result.reading_s, result.computing_s, result.writing_s
        return cls(1, result.peak_memory_bytes, result.out_of_memory, *seconds, result.programs)


class Stopwatch:
    """Adds up stretches of time, of one thread after another."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While in the `with` block."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; what counts is the time in which they are made."""
        iterator = iter(items)
        while True:
            with self.running():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


@dataclasses.dataclass(frozen=True)
class Clocks:
    """Of one shard.

    Attributes:
        reading: while rows are read and decoded; writing: while they are written and published.
        explaining: while an explanation is asked for; waiting: of that, while there are no rows to be had for it.
    """

    reading: Stopwatch = dataclasses.field(default_factory=Stopwatch)
    explaining: Stopwatch = dataclasses.field(default_factory=Stopwatch)
    waiting: Stopwatch = dataclasses.field(default_factory=Stopwatch)
    writing: Stopwatch = dataclasses.field(default_factory=Stopwatch)

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Reading, computing and writing."""
        return self.reading.seconds, self.explaining.seconds - self.waiting.seconds, self.writing.seconds


class Tally:
    """What a count that only grows has grown by since somebody asked, when several do."""

    def __init__(self) -> None:
        self._seen, self._lock = 0, threading.Lock()

    def take(self, count: int) -> int:
        """Growth since the last call."""
        with self._lock:
            grown, self._seen = max(0, count - self._seen), max(self._seen, count)
        return grown
