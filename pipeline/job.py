"""The Beam job, wired: shards in, a finished run directory out."""

from __future__ import annotations

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.utils import shared

from transforms.attribute import AttributeShards
from transforms.dataset_baselines import BaselinePlan, ComputeBaselines
from transforms.finalize import FinalizeRun, RunPlan
from transforms.shard import Shard


def build_baselines(root: PBegin, plan: BaselinePlan, handle: shared.Shared) -> PCollection[None]:
    """Compute what the baselines take of the dataset, before any of it is explained.

    Args:
        root: a pipeline.
        plan: what is computed.
        handle: shares one Explainer within a worker process.
    """
    return (
        root
        | "Shards" >> beam.Create(list(plan.shards))
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "ComputeBaselines" >> ComputeBaselines(plan, handle)
    )


def build(root: PBegin, todo: Sequence[Shard], plan: RunPlan, handle: shared.Shared) -> PCollection[dict[str, object]]:
    """Attribute the shards that are still to do, then finalize the whole plan.

    Args:
        root: a pipeline.
        todo: shards without a valid part.
        plan: all shards, and what is computed.
        handle: shares one Explainer within a worker process.
    """
    return (
        root
        | "Shards" >> beam.Create(list(todo))
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "AttributeShards" >> AttributeShards(plan.job, handle)
        | "FinalizeRun" >> FinalizeRun(plan)
    )
