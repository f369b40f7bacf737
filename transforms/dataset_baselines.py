"""`ComputeBaselines`: what the baselines of a run take of its dataset, in one pass over it, before it is explained."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.pvalue import PCollection
from apache_beam.utils import shared

from transforms.attribute import read_examples
from transforms.attribution import targets
from transforms.attribution.baselines.dataset_summary import Request, Summary, merged, nothing, sample_key, summary_of
from transforms.attribution.baselines.references import references_of
from transforms.attribution.explainer import Explainer
from transforms.explaining.explained import chunk_rows
from transforms.explaining.model_files import load_explainer
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.references_file import write_references
from transforms.runs.shard import Shard
from transforms.storage.place import Place, open_place


@dataclasses.dataclass(frozen=True)
class BaselinePlan:
    """What is computed of a dataset.

    Attributes:
        shards: how many it has.
        classes: entries of the model's output: a row whose label is none of them is left out, as it is refused later.
    """

    job: AttributionJob
    shards: int
    request: Request
    classes: int


def summarize_shard(shard: Shard, plan: BaselinePlan) -> Summary:
    """The summary of a shard's rows, those left out that are going to be refused.

    Raises:
        AttribeamError: the input is damaged (E_PARQUET_INVALID, E_TFRECORD_*).
    """
    found, seed = nothing(), plan.request.seed
    for examples, _ in read_examples(shard, plan.job, chunk_rows(plan.job.layout)):
        if examples.labels is not None:
            examples = examples.without(targets.label_faults(examples.labels, plan.classes))
        if len(examples):
            rows = zip(examples.row_ids, examples.source_rows, strict=True)
            keys = [sample_key(seed, name, shard.name, int(row)) for name, row in rows]
            found = merged(found, summary_of(examples.of_one_shape, keys, plan.request), plan.request)
    return found


def publish_baselines(plan: BaselinePlan, summary: Summary, explainer: Explainer, place: Place) -> None:
    """Turn the summary of a whole dataset into baselines, and publish `_baselines.parquet`, once.

    Raises:
        UsageError: E_INPUT_NO_ROWS, E_BASELINE_ENTROPY.
    """
    references = references_of(summary, plan.request, plan.job.attribution, explainer.model)
    write_references(place, references, summary.keys, plan.job.fingerprint)


class ComputeBaselines(beam.PTransform):  # type: ignore[misc]
    """PCollection[Shard] → an empty PCollection, once `_baselines.parquet` is there.

    Args:
        plan: what is computed.
        handle: shares one Explainer among the threads of a worker process.
    """

    def __init__(self, plan: BaselinePlan, handle: shared.Shared) -> None:
        super().__init__()
        self._plan, self._handle = plan, handle

    def expand(self, shards: PCollection[Shard]) -> PCollection[None]:
        return (
            shards
            | "SummarizeShard" >> beam.Map(summarize_shard, plan=self._plan)
            | "MergeSummaries" >> beam.CombineGlobally(_Merge(self._plan.request))
            | "PublishBaselines" >> beam.ParDo(_Publish(self._plan, self._handle))
        )


def merge_summaries(summaries: Iterable[Summary], wanted: Request) -> Summary:
    """The summary of all their rows."""
    return functools.reduce(functools.partial(merged, wanted=wanted), summaries, nothing())


class _Merge(beam.CombineFn):  # type: ignore[misc]
    """`merge_summaries`, one after another: a plain function would have many of them held at once."""

    def __init__(self, wanted: Request) -> None:
        self._wanted = wanted

    def create_accumulator(self) -> Summary:
        return nothing()

    def add_input(self, summary: Summary, other: Summary) -> Summary:
        return merged(summary, other, self._wanted)

    def merge_accumulators(self, summaries: Iterable[Summary]) -> Summary:
        return merge_summaries(summaries, self._wanted)

    def extract_output(self, summary: Summary) -> Summary:
        return summary


class _Publish(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: BaselinePlan, handle: shared.Shared) -> None:
        self._plan, self._handle = plan, handle

    def process(self, summary: Summary) -> Iterator[None]:
        job = self._plan.job
        explainer = self._handle.acquire(lambda: load_explainer(job.model, job.attribution, job.trusted))
        publish_baselines(self._plan, summary, explainer, open_place(job.root))
        yield from ()
