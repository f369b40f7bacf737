"""All that the launcher can find out before a worker starts: model, columns, shards, one real batch."""

from __future__ import annotations

import pathlib
from contextlib import closing

from pipeline.config import JobConfig
from pipeline.plan import Known
from pipeline.survey import Prepared, planned, survey
from transforms.attribution.explainer import Explainer
from transforms.explaining import buckets
from transforms.explaining.trial import try_one_batch
from transforms.isolation.shards import IsolatedShards
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard


def prepare(config: JobConfig, root: pathlib.Path, explainer: Explainer, known: Known) -> Prepared:
    """Check the configuration against the model and the data, and plan the shards.

    The data of a run that is resumed was checked before, and is not read.

    Raises:
        UsageError: whatever is wrong with the configuration, the model or the dataset as a whole.
    """
    found = survey(config, root, explainer.model, known)
    shapes = buckets.explained_shapes(found.layout, explainer)
    prepared = planned(config, found, explainer.model, shapes, explainer.trusted)
    if known.carried is None:
        _try_one_batch(prepared.shards[0], prepared.job, explainer)
    return prepared


def _try_one_batch(shard: Shard, job: AttributionJob, explainer: Explainer) -> None:
    """Here, or in a child where a row may be poison."""
    if job.isolation is None:
        try_one_batch(shard, job, explainer)
        return
    with closing(IsolatedShards(job)) as isolated:
        isolated.try_one_batch(shard)
