"""`EvaluateRun`: a sample of a finished run's rows drawn, evaluated and written, in Beam."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils import shared

from transforms.evaluating.drawing import Drawn, draw, smallest
from transforms.evaluating.evaluation import EvaluationJob, Row, evaluate_rows
from transforms.evaluating.evaluation_files import publish
from transforms.runs.references_file import read_references
from transforms.runs.shard import Shard
from transforms.storage.place import open_place

# Rows that a worker evaluates at a time: few, so that a small sample is spread over all of them.
GROUP_ROWS = 8


class EvaluateRun(beam.PTransform):  # type: ignore[misc]
    """PCollection[Shard] → PCollection[str]: the name of the evaluation, once it is written.

    Args:
        job: what is evaluated.
        handle: shares one Evaluator among the threads of a worker process.
    """

    def __init__(self, job: EvaluationJob, handle: shared.Shared) -> None:
        super().__init__()
        self._job, self._handle = job, handle

    def expand(self, shards: PCollection[Shard]) -> PCollection[str]:
        job, handle = self._job, self._handle
        return (
            shards
            | "DrawRows" >> beam.FlatMap(_draw, job)
            | "KeepSmallest" >> beam.combiners.Top.Smallest(job.settings.rows)
            | "GroupByShard" >> beam.FlatMap(groups)
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "EvaluateRows" >> beam.ParDo(_EvaluateRows(job, handle))
            | "Gather" >> beam.combiners.ToList()
            | "Publish" >> beam.Map(_publish, job)
        )


def groups(rows: Sequence[Drawn]) -> Iterator[tuple[Drawn, ...]]:
    """The rows in small groups of one shard each, in the order of their files."""
    ordered = sorted(rows, key=lambda row: (row.shard_number, row.position))
    for _, of_shard in itertools.groupby(ordered, key=lambda row: row.shard_number):
        waiting = list(of_shard)
        yield from (tuple(waiting[first : first + GROUP_ROWS]) for first in range(0, len(waiting), GROUP_ROWS))


def _draw(shard: Shard, job: EvaluationJob) -> list[Drawn]:
    rows = draw(shard, job.run, open_place(job.run.root), job.settings.seed, frozenset(job.excluded))
    return smallest(rows, job.settings.rows)


class _EvaluateRows(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: EvaluationJob, handle: shared.Shared) -> None:
        self._job, self._handle = job, handle

    def setup(self) -> None:
        job = self._job
        self._place = open_place(job.run.root)
        own = read_references(self._place, job.run.baselines)
        fill = read_references(open_place(job.fill_root), job.fill_digest)
        self._evaluator = self._handle.acquire(job.load).with_references(own, fill)

    def process(self, rows: tuple[Drawn, ...]) -> list[Row]:
        return evaluate_rows(rows, self._job, self._evaluator, self._place)


def _publish(rows: list[Row], job: EvaluationJob) -> str:
    publish(rows, job, open_place(job.run.root))
    return job.stem
