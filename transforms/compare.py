"""`CompareRuns`: the rows of two finished runs compared unit by unit, in Beam; only what they add up to travels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection

from transforms.compared_unit import ComparisonJob, compare_unit
from transforms.comparing.tally import Tally
from transforms.comparing.units import Unit
from transforms.comparison_files import publish


class CompareRuns(beam.PTransform):  # type: ignore[misc]
    """The beginning of a pipeline → PCollection[str]: the name of the summary, once it is written."""

    def __init__(self, units: Sequence[Unit], job: ComparisonJob) -> None:
        super().__init__()
        self._units, self._job = units, job

    def expand(self, begin: PBegin) -> PCollection[str]:
        return (
            begin
            | "Units" >> beam.Create(self._units)
            | "SpreadOverWorkers" >> beam.Reshuffle()
            | "CompareUnits" >> beam.Map(compare_unit, self._job)
            | "AddUp" >> beam.CombineGlobally(_AddUp())
            | "Publish" >> beam.Map(publish, self._job)
        )


class _AddUp(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> Tally:
        return Tally()

    def add_input(self, tally: Tally, other: Tally) -> Tally:
        return tally + other

    def merge_accumulators(self, several: Iterable[Tally]) -> Tally:
        return sum(several, Tally())

    def extract_output(self, tally: Tally) -> Tally:
        return tally
