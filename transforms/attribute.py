"""`AttributeShards`: every shard read, explained, written and published, by a worker that holds one Explainer."""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils import shared
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from transforms.attribution import targets
from transforms.attribution.batch import Batch
from transforms.attribution.engine.padding import cropped
from transforms.attribution.explainer import Explainer
from transforms.attribution.explanation import Explanation
from transforms.attribution_job import AttributionJob
from transforms.buckets import Bucket, buckets, in_order
from transforms.overlap import ahead, behind
from transforms.records import part
from transforms.records.examples import Examples, Refusal, extract
from transforms.records.part_writer import PartWriter, write_quarantine
from transforms.records.source import Selection, read_rows
from transforms.references_file import read_references
from transforms.rows import record_batch
from transforms.shard import Shard
from transforms.storage.listing import open_file
from transforms.storage.manifest import quarantine_name
from transforms.storage.place import Place, open_place

CHUNK_BYTES = 16 * 2**20
MAX_CHUNK_ROWS = 1024
# Batches decoded before they are needed, and explained ones that wait to be written.
DEPTH = 2
# Shards of one bundle under way: while one's last calls are computed and its part is closed, the next one begins.
SHARDS_AT_ONCE = 2
ALONE = contextlib.nullcontext()
Explained = tuple[Examples, Explanation]


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """What became of a shard in this invocation.

    Attributes:
        published: False when another attempt had published the same part first.
        seconds: spent on it.
        peak_memory_bytes: the most that the worker process ever held.
        out_of_memory: calls that did not fit into the device's memory and were done again in halves.
    """

    number: int
    rows: int
    quarantined: int
    published: bool
    seconds: float
    peak_memory_bytes: int
    out_of_memory: int


def attribute_shard(
    shard: Shard,
    job: AttributionJob,
    explainer: Explainer,
    place: Place,
    feeding: AbstractContextManager[Any] = ALONE,
) -> ShardResult:
    """Explain one shard and publish its part, and before it the quarantine file if any row was refused.

    Args:
        feeding: held while the explainer is fed, which is until the last rows are about to be computed.

    Raises:
        AttribeamError: the input is damaged (E_PARQUET_INVALID, E_TFRECORD_*), or what was written (E_PART_DAMAGED).
    """
    started = time.monotonic()
    about, refusals = job.about(shard, explainer), list[Refusal]()
    schema, name = job.schema(about), job.part_of(shard)
    with place.scratch() as scratch:
        with PartWriter(scratch / "part", lambda: job.schema(job.about(shard, explainer))) as writer:

            def write(chunk: list[Explained]) -> None:
                writer.write(in_order([record_batch(*one, schema, shard.name, job.attributions) for one in chunk]))

            with behind(write, DEPTH) as later, closing(_explained(shard, job, explainer, refusals, feeding)) as found:
                for chunk in found:
                    later(chunk)
        if refusals:
            refusals.sort(key=lambda refusal: refusal.source_row)
            write_quarantine(scratch / "refused", refusals, shard.name, about)
            place.publish(scratch / "refused", quarantine_name(name))
        rows = (shard.size - len(refusals)) * job.attribution.targets
        with (scratch / "part").open("rb") as written:
            check_part(part.read_footer(written, name), about, rows, name)
        published = place.publish(scratch / "part", name)
    if not published:
        with place.open(name) as file:
            check_part(part.read_footer(file, name), about, rows, name)
    seconds, out_of_memory = time.monotonic() - started, explainer.take_out_of_memory()
    return ShardResult(shard.number, rows, len(refusals), published, seconds, peak_memory_bytes(), out_of_memory)


def check_part(footer: tuple[dict[str, str], int], about: part.Provenance, rows: int, name: str) -> None:
    """Refuse a part that is not the planned one; the device and batch of another attempt may differ.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    metadata, found = footer
    for key in ("fingerprint", "shard", "input_digest", "rows", "targets"):
        if metadata.get(key) != str(getattr(about, key)):
            raise part.damaged(name, f"its footer says {key}={metadata.get(key)!r}, not {getattr(about, key)!r}")
    if found != rows:
        raise part.damaged(name, f"it has {found} rows, not {rows}")


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def chunk_rows(job: AttributionJob, explainer: Explainer | None = None) -> int:
    """Rows read at once: about 16 MiB of inputs, or where a layer is explained of its values, which may be far more."""
    pairs = zip(job.layout.inputs, job.shapes, strict=True)
    row_bytes = sum(feature.dtype.itemsize * int(np.prod(shape)) for feature, shape in pairs)
    if explainer and explainer.model.layer:
        values = sum(int(np.prod(shape)) for shape in explainer.explained_shapes(job.shapes).values())
        row_bytes += explainer.model.layer.dtype.itemsize * values
    return min(MAX_CHUNK_ROWS, max(1, CHUNK_BYTES // max(1, row_bytes)))


def read_examples(shard: Shard, job: AttributionJob, batch_rows: int) -> Iterator[tuple[Examples, list[Refusal]]]:
    """The decoded rows of a shard, and those refused, batch by batch."""
    selection = Selection(job.layout.columns, shard.rows, batch_rows, job.max_record_bytes)
    with open_file(shard.path) as file:
        for raw in read_rows(file, shard.source, selection):
            yield extract(raw, job.layout, shard.name)


def _explained(
    shard: Shard,
    job: AttributionJob,
    explainer: Explainer,
    refusals: list[Refusal],
    feeding: AbstractContextManager[Any],
) -> Generator[list[Explained], None, None]:
    """The rows of every chunk that can be explained, with their explanations, in buckets of one length; those rows that
    cannot are added to `refusals`."""
    under_way: deque[tuple[Bucket, bool]] = deque()

    def batches() -> Iterator[Batch]:
        for examples, refused in read_examples(shard, job, chunk_rows(job, explainer)):
            refusals.extend(refused)
            if examples.labels is not None:
                faults = targets.label_faults(examples.labels, explainer.model.classes)
                examples, refused = examples.refuse(faults, shard.name)
                refusals.extend(refused)
            found = buckets(examples, job.layout)
            for bucket in found:
                under_way.append((bucket, bucket is found[-1]))
                yield bucket.batch

    def fed() -> Generator[Batch, None, None]:
        with feeding:
            yield from ahead(batches(), DEPTH)

    # closed at once, here and by the caller, whatever fails: an error would keep the lock that the next shard waits for
    chunk = list[Explained]()
    with closing(fed()) as fields:
        for explanation in explainer.stream(fields):
            bucket, last = under_way.popleft()
            refusals.extend(bucket.examples.refuse(explanation.faults, shard.name)[1])
            chunk.append((bucket.examples, cropped(explanation, bucket.batch, explainer.model, explainer.config)))
            if last:
                yield chunk
                chunk = []


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
    """One shard after the other, each begun as soon as nothing more of the one before it is to be fed."""

    def __init__(self, job: AttributionJob, handle: shared.Shared) -> None:
        self._job, self._handle, self._references = job, handle, shared.Shared()

    def setup(self) -> None:
        job = self._job
        explainer = self._handle.acquire(lambda: Explainer.load(job.model, job.attribution, job.trusted))
        self._place = open_place(job.root)
        references = self._references.acquire(lambda: read_references(self._place, job.baselines))
        self._explainer = explainer.with_references(references)
        self._pool, self._feeding = ThreadPoolExecutor(SHARDS_AT_ONCE, "shard"), threading.Lock()

    def start_bundle(self) -> None:
        self._running = deque[Future[ShardResult]]()

    def process(self, shard: Shard) -> Iterator[ShardResult]:
        if len(self._running) == SHARDS_AT_ONCE:
            yield self._next()
        worker = self._job, self._explainer, self._place, self._feeding
        self._running.append(self._pool.submit(attribute_shard, shard, *worker))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._running:
            yield WindowedValue(self._next(), MIN_TIMESTAMP, [GlobalWindow()])

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _next(self) -> ShardResult:
        try:
            return self._running.popleft().result()
        except BaseException:
            wait(self._running)  # what is under way is published before the bundle fails: nothing is computed twice
            raise
