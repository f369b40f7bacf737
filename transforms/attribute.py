"""`AttributeShards`: every shard read, explained, written and published, by a worker that holds one Explainer."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils import shared
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from transforms.attribution.engine.memory import peak_memory_bytes
from transforms.attribution.explainer import Explainer
from transforms.explaining.explained import ALONE, Explained, SourceRows, chunk_rows
from transforms.explaining.model_files import load_explainer
from transforms.isolation.oversight import Oversight
from transforms.isolation.shards import IsolatedShards
from transforms.metrics import count_shard
from transforms.overlap import behind
from transforms.records import part
from transforms.records.examples import Examples, Refusal, extract
from transforms.records.part_writer import PartWriter, write_quarantine
from transforms.records.source import Selection, read_rows
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.references_file import read_references
from transforms.runs.shard import Shard
from transforms.runs.whole_part import WholePart, read_whole
from transforms.runs.work_done import Clocks, ShardResult, Tally
from transforms.storage.listing import open_file
from transforms.storage.manifest import part_name, quarantine_name
from transforms.storage.place import Place, open_place
from transforms.storage.staging import Staging

# Explained batches that wait to be written.
DEPTH = 2
# Shards of one bundle under way: while one's last calls are computed and its part is closed, the next one begins.
SHARDS_AT_ONCE = 2


def attribute_shard(
    shard: Shard,
    job: AttributionJob,
    explainer: Explainer,
    place: Place,
    feeding: AbstractContextManager[Any] = ALONE,
    oversight: Oversight | None = None,
) -> ShardResult:
    """Explain one shard and publish its part, and before it the quarantine file if any row was refused.

    A part that is there already is adopted: another attempt published it, and was lost before its result arrived.

    Args:
        feeding: held while the explainer is fed, which is until the last rows are about to be computed.
        oversight: of one who watches where this is, and may leave rows out.

    Raises:
        AttribeamError: the input is damaged (E_PARQUET_INVALID, E_TFRECORD_*), or what was written (E_PART_DAMAGED).
    """
    started, clocks = time.monotonic(), Clocks()
    about = job.about(shard, explainer)
    if place.exists(job.part_of(shard)):
        return _adopted(place, about, started)
    oversight = oversight or Oversight(read_examples)
    read = clocks.reading.timed(oversight.read(shard, job, chunk_rows(job.layout, explainer)))
    rows = SourceRows(shard.name, read, job.layout, explainer, feeding, clocks)
    with place.scratch() as scratch, contextlib.ExitStack() as finishing:
        with PartWriter(scratch / "part", lambda: job.schema(job.about(shard, explainer))) as writer:
            gradients = _write(writer, rows, job, job.schema(about), clocks, oversight)
            finishing.enter_context(clocks.writing.running())  # closing the part is a good deal of it
        refused = rows.refused(oversight.refused)
        whole = _checked(scratch, shard, job, refused)
        published = _publish(scratch, place, refused, about)
    pa.default_memory_pool().release_unused()  # else what threads that ended had freed stays theirs for a while
    counts = shard.number, whole.rows, refused.num_rows
    worker = peak_memory_bytes(), explainer.take_out_of_memory()
    codes = Counter(refused["code"].to_pylist())
    result = ShardResult(*counts, published, time.monotonic() - started, *worker, gradients, codes, *clocks.seconds)
    return dataclasses.replace(result, whole=whole) if published else _as_it_stands(result, place, about)


def _write(
    writer: PartWriter, rows: SourceRows, job: AttributionJob, schema: pa.Schema, clocks: Clocks, oversight: Oversight
) -> int:
    """Write all rows; the number of gradients that they took."""
    gradients = 0

    def write(chunk: list[Explained]) -> None:
        with clocks.writing.running():
            writer.write(rows.output(chunk, schema, job.attributions))
        oversight.written(1 + max(int(examples.source_rows.max()) for examples, _ in chunk))

    with behind(write, DEPTH) as later, closing(rows.explained()) as found:
        for chunk in found:
            gradients += sum(int(explanation.steps.sum()) for _, explanation in chunk)
            later(chunk)
    return gradients


def _checked(scratch: pathlib.Path, shard: Shard, job: AttributionJob, refused: pa.RecordBatch) -> WholePart:
    """The part as it was written, read again in full: with the refused rows it has every row of the shard."""
    with (scratch / "part").open("rb") as written:
        whole = read_whole(written, shard, job)
    if list(whole.lacking) != sorted(refused["source_row"].to_pylist()):
        raise part.damaged(job.part_of(shard), "it lacks other rows than those that were refused")
    return whole


def _publish(scratch: pathlib.Path, place: Place, refused: pa.RecordBatch, about: part.Provenance) -> bool:
    """Whether this attempt's part is the one that stands there; its quarantine file stands before it."""
    name = part_name(about.fingerprint, about.shard)
    if refused.num_rows and not place.exists(name):
        write_quarantine(scratch / "refused", refused, about)
        place.publish(scratch / "refused", quarantine_name(name))
    return place.publish(scratch / "part", name)


def _as_it_stands(mine: ShardResult, place: Place, about: part.Provenance) -> ShardResult:
    """What was done here, for the part that another attempt published: which rows crash their process, it may have
    found otherwise."""
    winner = _adopted(place, about, 0.0)
    return dataclasses.replace(mine, rows=winner.rows, quarantined=winner.quarantined, refused=winner.refused)


def _adopted(place: Place, about: part.Provenance, started: float) -> ShardResult:
    """The result for a part that another attempt published, once its footer, and its quarantine file, are checked."""
    name, codes = part_name(about.fingerprint, about.shard), Counter[str]()
    with place.open(name) as file:
        footer = part.read_footer(file, name)
    refused = max(0, about.rows - footer[1] // about.targets)
    part.check_footer(footer, about, (about.rows - refused) * about.targets, name)
    if refused:
        quarantine = quarantine_name(name)
        if not place.exists(quarantine):
            raise part.damaged(name, f"{refused} rows are not in it, and {quarantine} is not there")
        with place.open(quarantine) as file:
            part.check_footer(part.read_footer(file, quarantine), about, refused, quarantine)
            codes = Counter(code for _, code in part.read_refused(file, quarantine))
    seconds = time.monotonic() - started
    return ShardResult(about.shard, footer[1], refused, False, seconds, peak_memory_bytes(), 0, refused=codes)


def read_examples(shard: Shard, job: AttributionJob, batch_rows: int) -> Iterator[tuple[Examples, list[Refusal]]]:
    """The decoded rows of a shard, and those refused, batch by batch."""
    selection = Selection(job.layout.columns, shard.rows, batch_rows, job.max_record_bytes)
    with open_file(shard.path) as file:
        for raw in read_rows(file, shard.source, selection):
            yield extract(raw, job.layout, shard.name)


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
        self._job, self._handle, self._references, self._stagings = job, handle, shared.Shared(), shared.Shared()
        self._tallies, self._children = shared.Shared(), shared.Shared()

    def setup(self) -> None:
        self._place, self._staging = open_place(self._job.root), self._stagings.acquire(Staging)
        self._isolated: IsolatedShards | None = None
        if self._job.isolation:
            self._isolated = self._children.acquire(lambda: IsolatedShards(self._job))
        else:
            self._load()
        self._pool, self._feeding = ThreadPoolExecutor(SHARDS_AT_ONCE, "shard"), threading.Lock()

    def start_bundle(self) -> None:
        self._running = deque[Future[ShardResult]]()

    def process(self, shard: Shard) -> Iterator[ShardResult]:
        if len(self._running) == SHARDS_AT_ONCE:
            yield self._next()
        self._running.append(self._pool.submit(self._attribute, shard))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        while self._running:
            yield WindowedValue(self._next(), MIN_TIMESTAMP, [GlobalWindow()])

    def teardown(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._staging.close()
        if self._isolated:
            self._isolated.close()

    def _load(self) -> None:
        job = self._job
        explainer = self._handle.acquire(lambda: load_explainer(job.model, job.attribution, job.trusted))
        references = self._references.acquire(lambda: read_references(self._place, job.baselines))
        self._explainer, self._programs = explainer.with_references(references), self._tallies.acquire(Tally)

    def _attribute(self, shard: Shard) -> ShardResult:
        with shard.staged(self._staging) as local:
            if self._isolated:
                return self._isolated.attribute(local)
            result = attribute_shard(local, self._job, self._explainer, self._place, self._feeding)
            return dataclasses.replace(result, programs=self._programs.take(self._explainer.traces()))

    def _next(self) -> ShardResult:
        try:
            result = self._running.popleft().result()
        except BaseException:
            wait(self._running)  # what is under way is published before the bundle fails: nothing is computed twice
            raise
        count_shard(result)
        return result
