"""The process that explains shards for its parent: it holds the Explainer, and tells what it is about to touch."""

from __future__ import annotations

import dataclasses
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from transforms.attribute import attribute_shard, read_examples
from transforms.attribution.explainer import Explainer
from transforms.errors import AttribeamError
from transforms.explaining.explained import SourceRows
from transforms.explaining.model_files import load_explainer
from transforms.explaining.trial import try_one_batch
from transforms.isolation.channel import Channel, from_error, from_result
from transforms.isolation.oversight import Oversight
from transforms.isolation.poison import Poison, healthy, refusals
from transforms.records.examples import Examples, Refusal
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.references_file import read_references
from transforms.runs.shard import Shard
from transforms.runs.work_done import Tally
from transforms.storage.place import open_place

LOOK_S = 0.25
# The parent kills a child that says nothing after `shard_s`; a child without a parent ends itself so much later.
ALONE = 2.0


def main(descriptor: int, parent: int) -> None:
    """Serve the process that started this one, until it is gone.

    Args:
        descriptor: of a connection to it, which gives the job first.
    """
    # a dump of all this memory for each attempt would fill the disk
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with Connection(descriptor) as connection:
        job: AttributionJob = connection.recv()
        assert job.isolation is not None
        channel = Channel(connection, ALONE * job.isolation.shard_s)
        watch = _Watch(channel, parent)
        threading.Thread(target=watch.run, name="watch", daemon=True).start()
        try:
            child = _Child(job, channel)
            watch.explainer = child.explainer
            channel.tell(ready=True)
            while request := channel.asked():
                child.answer(*request)
        except AttribeamError as error:
            channel.tell(error=from_error(error))
        except MemoryError:
            channel.tell(memory=True)
            raise
        except Exception as error:
            channel.tell(failure=f"{type(error).__name__}: {str(error)[:300]}")
            raise


class _Child:
    def __init__(self, job: AttributionJob, channel: Channel) -> None:
        self._job, self._channel, self._place, self._programs = job, channel, open_place(job.root), Tally()
        explainer = load_explainer(job.model, job.attribution, job.trusted)
        self.explainer = explainer.with_references(read_references(self._place, job.baselines))

    def answer(self, request: str, shard: Shard, poison: Sequence[Poison] = ()) -> None:
        """Do one of the three things that a child is for."""
        if request == "attribute":
            self._channel.tell(result=from_result(self._attributed(shard, poison)))
        elif request == "search":
            self._one_by_one(shard, poison)
            self._channel.tell(done=True)
        else:
            try_one_batch(shard, self._job, self.explainer)
            self._channel.tell(done=True)

    def _attributed(self, shard: Shard, poison: Sequence[Poison]) -> Any:
        watched = _Watched(self._channel, poison)
        oversight = Oversight(watched.read, watched.written, refusals(shard, poison))
        result = attribute_shard(shard, self._job, self.explainer, self._place, oversight=oversight)
        return dataclasses.replace(result, programs=self._programs.take(self.explainer.traces()))

    def _one_by_one(self, shard: Shard, poison: Sequence[Poison]) -> None:
        """All that explaining takes, of each row alone, and of the next one when that is done; nothing is written."""
        job, schema = self._job, self._job.schema(self._job.about(shard, self.explainer))
        for found in _Watched(self._channel, poison).read(shard, job, 1):
            rows = SourceRows(shard.name, [found], job.layout, self.explainer)
            for chunk in rows.explained():
                rows.output(chunk, schema, job.attributions)


class _Watched:
    """Reads the rows that are no poison, and tells of each batch before it is touched."""

    def __init__(self, channel: Channel, poison: Sequence[Poison]) -> None:
        self._channel, self._poison = channel, poison

    def read(self, shard: Shard, job: AttributionJob, batch_rows: int) -> Iterator[tuple[Examples, list[Refusal]]]:
        """As `read_examples`."""
        for rows in healthy(shard.rows, self._poison):
            row = rows.start
            self._next(row, rows.stop, batch_rows)
            for examples, refused in read_examples(dataclasses.replace(shard, rows=rows), job, batch_rows):
                yield examples, refused
                row += len(examples) + len(refused)
                self._next(row, rows.stop, batch_rows)

    def written(self, row: int) -> None:
        """All rows before this one are done with."""
        self._channel.tell(written=row)

    def _next(self, row: int, stop: int, batch_rows: int) -> None:
        if row < stop:
            self._channel.tell(reading=[row, min(stop, row + batch_rows)])


class _Watch:
    """A thread that tells of calls that have ended, since a chunk may take many; and that ends with the parent."""

    def __init__(self, channel: Channel, parent: int) -> None:
        self._channel, self._parent = channel, parent
        self.explainer: Explainer | None = None

    def run(self) -> None:
        """As long as the process."""
        over, calls = threading.Event(), 0
        while not over.wait(LOOK_S):
            if os.getppid() != self._parent:
                os._exit(1)
            found = self.explainer.calls() if self.explainer else 0
            if found != calls:
                calls = found
                self._channel.tell(calls=calls)
