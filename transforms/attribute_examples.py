"""`AttributeExamples`: record batches in, record batches with the columns that the job writes out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow.compute as pc
from apache_beam.pvalue import DoOutputsTuple, PCollection, TaggedOutput
from apache_beam.utils import shared

from transforms.counters import count
from transforms.record_batches import ATTRIBUTED, QUARANTINED, BatchAttributor, ExamplesJob, named


class AttributeExamples(beam.PTransform):  # type: ignore[misc]
    """PCollection of record batches → `attributed` and `quarantined` record batches.

    An element is a pyarrow.RecordBatch or Table, or a pair of a name and one. The name becomes the rows' `source_file`;
    without one, a batch is named by its content. Either output keeps an element's window and timestamp.

    Args:
        job: what is computed.
    """

    def __init__(self, job: ExamplesJob) -> None:
        super().__init__()
        self._job = job

    def expand(self, batches: PCollection[Any]) -> DoOutputsTuple:
        worker = _AttributeExamples(self._job, shared.Shared())
        return batches | beam.ParDo(worker).with_outputs(QUARANTINED, main=ATTRIBUTED)


class _AttributeExamples(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: ExamplesJob, handle: shared.Shared) -> None:
        self._job, self._handle = job, handle

    def setup(self) -> None:
        self._attributor = BatchAttributor(self._job, self._handle.acquire(self._job.load))

    def process(self, element: Any) -> Iterator[Any]:
        name, table = named(element)
        for output, rows in self._attributor.attribute(table, name):
            if output == QUARANTINED:
                count(refused=rows.num_rows)
                yield TaggedOutput(output, rows)
            else:
                count(gradients=pc.sum(rows["steps"]).as_py())
                yield rows
