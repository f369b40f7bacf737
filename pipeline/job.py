"""The Beam job, wired: shards in, a finished run directory out."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.pvalue import PBegin, PCollection
from apache_beam.utils import shared

from pipeline.resources import ANY_WORKER, Resources
from transforms.attribute import AttributeShards
from transforms.dataset_baselines import BaselinePlan, ComputeBaselines
from transforms.finalize import FinalizeRun, RunPlan
from transforms.read_shards import ReadShards


def build_baselines(root: PBegin, plan: BaselinePlan, handle: shared.Shared) -> PCollection[None]:
    """Compute what the baselines take of the dataset, before any of it is explained.

    Args:
        root: a pipeline.
        plan: what is computed.
        handle: shares one Explainer within a worker process.
    """
    return (
        root
        | "Shards" >> ReadShards(plan.job.root, plan.job.fingerprint, range(plan.shards))
        | "ComputeBaselines" >> ComputeBaselines(plan, handle)
    )


def build(
    root: PBegin,
    todo: Sequence[int],
    plan: RunPlan,
    handle: shared.Shared,
    resources: Resources = ANY_WORKER,
) -> PCollection[dict[str, object]]:
    """Attribute the shards that are still to do, then finalize the whole plan.

    Args:
        root: a pipeline.
        todo: numbers of the shards without a part.
        plan: how many shards there are, and what is computed.
        handle: shares one Explainer within a worker process.
        resources: of the workers that attribute.
    """
    return (
        root
        | "Shards" >> ReadShards(plan.job.root, plan.job.fingerprint, todo)
        | "AttributeShards" >> AttributeShards(plan.job, handle).with_resource_hints(**resources.hints())
        | "FinalizeRun" >> FinalizeRun(plan)
    )
