"""`AttributeShards`: every shard read, explained, written and published, by a worker that holds one Explainer."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.utils import shared

from transforms.attribution import targets
from transforms.attribution.batch import Batch
from transforms.attribution.config import AttributionConfig, ModelConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.explanation import Explanation
from transforms.records import part
from transforms.records.config import OutputConfig
from transforms.records.examples import Examples, Layout, Refusal, extract
from transforms.records.source import Selection, read_rows
from transforms.shard import Shard
from transforms.storage.listing import open_file
from transforms.storage.manifest import part_name, quarantine_name
from transforms.storage.place import Place, open_place

CHUNK_BYTES = 16 * 2**20
MAX_CHUNK_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class AttributionJob:
    """All that a worker needs to know: plain values, so that it travels to any of them.

    Attributes:
        root: the run's directory.
        fingerprint: of everything that decides the values.
    """

    root: str
    fingerprint: str
    model: ModelConfig
    attribution: AttributionConfig
    layout: Layout
    output: OutputConfig
    max_record_bytes: int

    def part_of(self, shard: Shard) -> str:
        """The name of a shard's part."""
        return part_name(self.fingerprint, shard.number)

    def about(self, shard: Shard, explainer: Explainer) -> part.Provenance:
        """What the files of a shard say of themselves."""
        shapes = [feature.shape for feature in self.layout.inputs]
        batch = explainer.tiling(shapes).points
        return part.Provenance(self.fingerprint, shard.number, shard.input_digest, shard.size, batch, explainer.device)

    def schema(self, explainer: Explainer, about: part.Provenance) -> pa.Schema:
        """Of the parts."""
        explained = {spec.name for spec in explainer.model.explained}
        shapes = {feature.name: feature.shape for feature in self.layout.inputs if feature.name in explained}
        return part.part_schema(shapes, self.output, self.layout.carried, about)


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What became of a shard in this invocation.

    Attributes:
        published: False when another attempt had published the same part first.
        seconds: spent on it.
        peak_memory_bytes: the most that the worker process ever held.
    """

    number: int
    rows: int
    quarantined: int
    published: bool
    seconds: float
    peak_memory_bytes: int


def attribute_shard(shard: Shard, job: AttributionJob, explainer: Explainer, place: Place) -> ShardResult:
    """Explain one shard and publish its part, and before it the quarantine file if any row was refused.

    Raises:
        AttribeamError: the input is damaged (E_PARQUET_INVALID, E_TFRECORD_*), the file written is not the one
            meant (E_PART_DAMAGED).
    """
    started = time.monotonic()
    about, refusals, rows = job.about(shard, explainer), list[Refusal](), 0
    schema = job.schema(explainer, about)
    with place.scratch() as scratch:
        with part.PartWriter(scratch / "part", schema) as writer:
            for examples, explanation in _explained(shard, job, explainer, refusals):
                writer.write(record_batch(examples, explanation, schema, shard.name, job.output))
                rows += len(examples)
        if refusals:
            part.write_quarantine(scratch / "refused", refusals, shard.name, about)
            place.publish(scratch / "refused", quarantine_name(job.part_of(shard)))
        with (scratch / "part").open("rb") as file:
            check_part(part.read_footer(file, job.part_of(shard)), about, rows, job.part_of(shard))
        published = place.publish(scratch / "part", job.part_of(shard))
    if not published:
        with place.open(job.part_of(shard)) as file:
            check_part(part.read_footer(file, job.part_of(shard)), about, rows, job.part_of(shard))
    return ShardResult(shard.number, rows, len(refusals), published, time.monotonic() - started, peak_memory_bytes())


def check_part(footer: tuple[dict[str, str], int], about: part.Provenance, rows: int, name: str) -> None:
    """Refuse a part that is not the planned one; the device and batch of another attempt may differ.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    metadata, found = footer
    for key in ("fingerprint", "shard", "input_digest", "rows"):
        if metadata.get(key) != str(getattr(about, key)):
            raise part.damaged(name, f"its footer says {key}={metadata.get(key)!r}, not {getattr(about, key)!r}")
    if found != rows:
        raise part.damaged(name, f"it has {found} rows, not {rows}")


def record_batch(
    examples: Examples, explanation: Explanation, schema: pa.Schema, file: str, output: OutputConfig
) -> pa.RecordBatch:
    """The output rows of some examples, in their order."""
    rows = len(examples)
    values = {
        name: part.attribution_array(value, schema.field(part.ATTRIBUTION + name), output.reduce.get(name, ()))
        for name, value in explanation.attributions.items()
    }
    columns: dict[str, Any] = {
        "row_id": examples.row_ids,
        "source_file": [file] * rows,
        "source_row": examples.source_rows,
        **examples.carried,
        "target": explanation.target,
        "output": explanation.output,
        "baseline_output": explanation.baseline_output,
        "delta": explanation.delta,
        "relative_delta": explanation.relative_delta,
        "error_estimate": explanation.error_estimate,
        "steps": explanation.steps,
        "status": _statuses(explanation, values),
        **{part.ATTRIBUTION + name: array for name, array in values.items()},
    }
    return pa.record_batch([_column(columns[field.name], field.type, rows) for field in schema], schema=schema)


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def chunk_rows(job: AttributionJob, explainer: Explainer) -> int:
    """Rows read at once: about 16 MiB of inputs, whole batches where that is possible."""
    shapes = [feature.shape for feature in job.layout.inputs]
    row_bytes = sum(feature.dtype.itemsize * int(np.prod(feature.shape)) for feature in job.layout.inputs)
    rows, batch = min(MAX_CHUNK_ROWS, max(1, CHUNK_BYTES // max(1, row_bytes))), explainer.tiling(shapes).points
    return rows - rows % batch if rows > batch else rows


def read_examples(shard: Shard, job: AttributionJob, batch_rows: int) -> Iterator[tuple[Examples, list[Refusal]]]:
    """The decoded rows of a shard, and those refused, batch by batch."""
    selection = Selection(job.layout.columns, shard.rows, batch_rows, job.max_record_bytes)
    with open_file(shard.path) as file:
        for raw in read_rows(file, shard.source, selection):
            yield extract(raw, job.layout, shard.name)


def _explained(
    shard: Shard, job: AttributionJob, explainer: Explainer, refusals: list[Refusal]
) -> Iterator[tuple[Examples, Explanation]]:
    """Every batch that can be explained, with its explanation; those rows that cannot are added to `refusals`."""
    under_way: deque[Examples] = deque()

    def batches() -> Iterator[Batch]:
        for examples, refused in read_examples(shard, job, chunk_rows(job, explainer)):
            refusals.extend(refused)
            if examples.labels is not None:
                faults = targets.label_faults(examples.labels, explainer.model.classes)
                examples, refused = examples.refuse(faults, shard.name)
                refusals.extend(refused)
            if len(examples):
                under_way.append(examples)
                yield Batch(examples.inputs, examples.labels, examples.baselines)

    for explanation in explainer.stream(batches()):
        yield under_way.popleft(), explanation


def _statuses(explanation: Explanation, stored: dict[str, pa.Array]) -> pa.DictionaryArray:
    """The rows' statuses; `nonfinite` also where a value is finite in float32 but not in the type written."""
    finite = np.ones(len(explanation), dtype=bool)
    for array in stored.values():
        finite &= np.isfinite(array.to_numpy_ndarray().reshape(len(array), -1)).all(axis=1)
    status = np.where(finite, explanation.status, "nonfinite")
    index = np.array([part.STATUSES.index(value) for value in status], np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(part.STATUSES))


def _column(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    if value is None:
        return pa.nulls(rows, kind)
    if isinstance(value, pa.Array):
        return value
    return pa.array(value, pa.float64()).cast(kind) if kind == pa.float32() else pa.array(value, kind)


class AttributeShards(beam.PTransform):  # type: ignore[misc]
    """PCollection[Shard] → PCollection[ShardResult]: `attribute_shard` on every element.

    Args:
        job: what is computed.
        handle: shares one Explainer among the threads of a worker process.
    """

    def __init__(self, job: AttributionJob, handle: shared.Shared) -> None:
        super().__init__()
        self._job, self._handle = job, handle

    def expand(self, shards: PCollection[Shard]) -> PCollection[ShardResult]:
        return shards | beam.ParDo(_AttributeShard(self._job, self._handle))


class _AttributeShard(beam.DoFn):  # type: ignore[misc]
    def __init__(self, job: AttributionJob, handle: shared.Shared) -> None:
        self._job, self._handle = job, handle

    def setup(self) -> None:
        job = self._job
        self._explainer = self._handle.acquire(lambda: Explainer.load(job.model, job.attribution))
        self._place = open_place(job.root)

    def process(self, shard: Shard) -> Iterator[ShardResult]:
        yield attribute_shard(shard, self._job, self._explainer, self._place)
