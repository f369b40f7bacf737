"""One row explained for real before a run begins: whatever does not fit shows here, not on a worker an hour later."""

from __future__ import annotations

import dataclasses

import numpy as np

from transforms.attribute import read_examples
from transforms.attribution.baselines.references import References, references_of_rows
from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError
from transforms.explaining import buckets
from transforms.explaining.first_rows import SAMPLE_ROWS, usable
from transforms.records.examples import Examples
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard


def references_of_first_rows(shard: Shard, job: AttributionJob, explainer: Explainer) -> References:
    """What the baselines would take of a dataset of the first usable rows alone: enough to try with.

    Raises:
        UsageError: not one of them can be used; E_BASELINE_DATASET, E_BASELINE_ENTROPY.
    """
    return references_of_rows(_first_rows(shard, job).of_one_shape, job.attribution, explainer.model)


def try_one_batch(shard: Shard, job: AttributionJob, explainer: Explainer) -> None:
    """Explain the first usable row.

    Where it cannot be explained, the next: a few bad rows go to quarantine, but all of them are a wrong model, or ids
    of another vocabulary.

    Raises:
        UsageError: not one of the first rows can be used, or explained.
    """
    examples = _first_rows(shard, job)
    explainer = explainer.with_references(references_of_rows(examples.of_one_shape, job.attribution, explainer.model))
    for row in range(len(examples)):
        one = examples.some(np.array([row]))
        labels = None if one.labels is None else one.labels % explainer.model.classes
        (bucket,) = buckets.buckets(dataclasses.replace(one, labels=labels), job.layout)
        (explanation,) = explainer.stream([bucket.batch])
        if not explanation.faults:
            return
    fault = explanation.faults[0]
    raise UsageError(fault.code, f"not one of the first {len(examples)} rows can be explained: {fault.message}")


def _first_rows(shard: Shard, job: AttributionJob) -> Examples:
    examples, refused = next(iter(read_examples(shard, job, SAMPLE_ROWS)))
    return usable(examples, refused)
