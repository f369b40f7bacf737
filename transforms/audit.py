"""`AuditAttributions`: what the rows of a finished run say together, in Beam."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PBegin, PCollection
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.auditing.aggregates import Aggregates
from transforms.auditing.audit_plan import AuditPlan
from transforms.auditing.audited_parts import (
    AuditJob,
    Surveyed,
    aggregate_parts,
    audit_tables,
    plan_of,
    survey_parts,
)
from transforms.runs.plan_file import pieces
from transforms.storage.manifest import part_name
from transforms.storage.place import open_place

# Accumulators that are merged by one worker before the last one merges what is left.
FANOUT = 16


class AuditAttributions(beam.PTransform):  # type: ignore[misc]
    """The beginning of a pipeline → PCollection[str]: the run's directory, once the tables are in its `_audit/`.

    The parts are read twice, each by one worker; what a worker found in its bundle of parts is merged with what others
    found.

    Args:
        job: what is audited.
        fingerprint: of the run.
        shards: how many it has.
    """

    def __init__(self, job: AuditJob, fingerprint: str, shards: int) -> None:
        super().__init__()
        self._job, self._fingerprint, self._shards = job, fingerprint, shards

    def expand(self, begin: PBegin) -> PCollection[str]:
        job = self._job
        parts = (
            begin
            | "Numbers" >> beam.Create(list(pieces(range(self._shards))))
            | "Names" >> beam.FlatMap(_names, self._fingerprint)
            | "SpreadOverWorkers" >> beam.Reshuffle()
        )
        surveyed = (
            parts
            | "SurveyParts" >> beam.ParDo(_OfParts(functools.partial(_survey, job)))
            | "MergeSurveys" >> beam.CombineGlobally(_MergeSurveys()).with_fanout(FANOUT)
        )
        plan = surveyed | "Plan" >> beam.Map(plan_of)
        found = (
            parts
            | "AggregateParts" >> beam.ParDo(_OfParts(functools.partial(_aggregate, job)), AsSingleton(plan))
            | "MergeAggregates" >> beam.CombineGlobally(_MergeAggregates()).with_fanout(FANOUT)
        )
        return found | "Publish" >> beam.Map(_publish, AsSingleton(surveyed), job)


class _OfParts(beam.DoFn):  # type: ignore[misc]
    """What is found in all parts of a bundle together: they are read one after another by one thread.

    Args:
        look: (names of parts, the plan if there is one already) → what is found.
    """

    def __init__(self, look: Callable[[list[str], AuditPlan | None], Any]) -> None:
        self._look = look

    def start_bundle(self) -> None:
        self._names = list[str]()
        self._plan: AuditPlan | None = None

    def process(self, name: str, plan: AuditPlan | None = None) -> None:
        self._names.append(name)
        self._plan = plan

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield GlobalWindows.windowed_value(self._look(self._names, self._plan))


class _MergeSurveys(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Surveyed:
        return Surveyed()

    def add_input(self, found: Surveyed, other: Surveyed) -> Surveyed:
        found.merge(other)
        return found

    def merge_accumulators(self, several: Iterable[Surveyed]) -> Surveyed:
        found = Surveyed()
        for other in several:
            found.merge(other)
        return found

    def extract_output(self, found: Surveyed) -> Surveyed:
        return found


class _MergeAggregates(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Aggregates | None:
        return None

    def add_input(self, found: Aggregates | None, other: Aggregates | None) -> Aggregates | None:
        if other is None:
            return found
        found = found or Aggregates(other.plan)
        found.merge(other)
        return found

    def merge_accumulators(self, several: Iterable[Aggregates | None]) -> Aggregates | None:
        found = None
        for other in several:
            found = self.add_input(found, other)
        return found

    def extract_output(self, found: Aggregates | None) -> Aggregates | None:
        return found


def _survey(job: AuditJob, names: list[str], _: AuditPlan | None) -> Surveyed:
    return survey_parts(names, job, open_place(job.root))


def _aggregate(job: AuditJob, names: list[str], plan: AuditPlan | None) -> Aggregates | None:
    return aggregate_parts(names, plan, open_place(job.root)) if plan is not None else None


def _names(numbers: Sequence[int], fingerprint: str) -> list[str]:
    return [part_name(fingerprint, number) for number in numbers]


def _publish(found: Aggregates | None, surveyed: Surveyed, job: AuditJob) -> str:
    audit_tables(found, surveyed).write(open_place(job.root))
    return job.root
