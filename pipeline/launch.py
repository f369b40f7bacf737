"""`attribeam run`: everything checked on the launcher, then the job; or the rest of it, when it was interrupted."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.damage import set_damaged_aside, still_finished, withdraw
from pipeline.job import build, build_baselines
from pipeline.other_run import refuse_other_run
from pipeline.outcome import Outcome
from pipeline.pilot import read_estimate
from pipeline.pinned_baselines import draft_baselines, publish_baselines
from pipeline.prepare import prepare
from pipeline.progress import ProgressReport
from pipeline.resources import ANY_WORKER, Resources
from pipeline.runner import describes_only, parse_options, run_pipeline
from pipeline.status import Watch
from pipeline.survey import Prepared
from transforms import errors
from transforms.attribution.baseline_outputs import baseline_outputs, warn
from transforms.attribution.explainer import Explainer
from transforms.dataset_baselines import BaselinePlan
from transforms.explaining.model_files import load_explainer
from transforms.finalize import RunPlan, versions
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.plan_file import fingerprint_of, finished_files, read_layout, read_sizes, write_plan
from transforms.runs.references_file import read_references
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place


def run(
    config: JobConfig,
    root: pathlib.Path,
    beam_options: Sequence[str] = (),
    handle: shared.Shared | None = None,
    trusted: Collection[str] = (),
    resources: Resources = ANY_WORKER,
) -> Outcome:
    """Run the job, or what is left of it.

    Args:
        root: folder that input file names are written relative to.
        beam_options: passed on to Beam; without `--runner`, Beam's in-process runner.
        handle: holds the Explainer of this very configuration already, when several runs in this process share it.
        trusted: modules that the configuration may name functions of.
        resources: of the workers that explain.

    Raises:
        UsageError, AttribeamError, QuarantineError: see docs/errors.md.
    """
    started, options = time.time(), parse_options(beam_options)
    place = open_place(config.output.path)
    handle = handle or shared.Shared()
    explainer = handle.acquire(lambda: load_explainer(config.model, config.attribution, trusted))
    prepared = prepare(config, root, explainer, known_before(place))
    with place.alone():
        plan = _claimed(
            prepared,
            config,
            place,
            explainer,
            lambda plan: _compute_baselines(plan, handle, options),
        )
        del prepared  # what is known of every input file is not held while the job runs
        return _finish(dataclasses.replace(plan, started=started), place, explainer, handle, options, resources)


def _compute_baselines(plan: BaselinePlan, handle: shared.Shared, options: PipelineOptions) -> None:
    if describes_only(options):
        raise errors.UsageError(
            "E_TEMPLATE_BASELINES",
            "the baseline is computed from the dataset, by a job of its own before the one that a template describes;"
            " launch it with launch_scripts/dataflow.sh",
        )
    run_pipeline(lambda pipeline: build_baselines(pipeline, plan, handle), options)


def _claimed(
    prepared: Prepared,
    config: JobConfig,
    place: Place,
    explainer: Explainer,
    compute: Callable[[BaselinePlan], None],
) -> RunPlan:
    """Write down what is going to be computed, in a directory where no other run stands."""
    if place.exists(names.RUN):
        refuse_other_run(place, prepared.survey)
    _claim(place, prepared, config, draft_baselines(prepared, explainer.model.classes, place, compute))
    _record_plan(place, prepared)
    pinned = publish_baselines(prepared, place)
    return RunPlan(
        dataclasses.replace(prepared.job, baselines=pinned),
        len(prepared.shards),
        prepared.shards.rows,
        config.limits.quarantined,
        time.time(),
        explainer.model.stem.tensors if explainer.model.stem else {},
        read_estimate(place, prepared.job.fingerprint),
    )


def _finish(
    plan: RunPlan,
    place: Place,
    explainer: Explainer,
    handle: shared.Shared,
    options: PipelineOptions,
    resources: Resources,
) -> Outcome:
    """Compute what is missing of the plan, and finalize it."""
    if still_finished(plan.job, plan.shards, place):
        return Outcome(place.root, 0, names.read_manifest(place))
    plan, computed = dataclasses.replace(plan, baseline_outputs=_baseline_outputs(plan.job, place, explainer)), 0
    for attempt in range(2):
        todo = _missing(plan, place)
        computed += len(todo)
        try:
            with ProgressReport(Watch(place, plan.job.fingerprint, read_sizes(place))):
                run_pipeline(
                    functools.partial(build, todo=todo, plan=plan, handle=handle, resources=resources), options
                )
            if describes_only(options):
                return Outcome(place.root, 0, {})
            break
        except errors.AttribeamError as error:
            if attempt or error.code not in ("E_PART_DAMAGED", "E_RUN_STALE"):
                raise
            # what earlier invocations left is read when the run is finalized, and not before
            if error.code == "E_RUN_STALE":
                withdraw(place)
            else:
                set_damaged_aside(plan.job, plan.shards, place, {})
    return Outcome(place.root, computed, names.read_manifest(place))


def _missing(plan: RunPlan, place: Place) -> list[int]:
    """The numbers of the shards that have no part, by the names that are there."""
    done, _ = names.published(place.names(), plan.job.fingerprint, plan.shards)
    return [int(number) for number in np.flatnonzero(~done)]


def _baseline_outputs(job: AttributionJob, place: Place, explainer: Explainer) -> list[dict[str, Any]]:
    """What the model says at each baseline that all rows share; a warning where that is not what it is taken for."""
    referring = explainer.with_references(read_references(place, job.baselines))
    inputs = [feature.name for feature in job.layout.inputs]
    found = baseline_outputs(referring, dict(zip(inputs, job.shapes, strict=True)))
    warn(found)
    return [dataclasses.asdict(one) for one in found]


def known_before(place: Place) -> planning.Known:
    """What an earlier invocation found out: input files whose every shard has a part need not be opened again."""
    if not (place.exists(names.RUN) and place.exists(names.PLAN)):
        return planning.Known()
    fingerprint = _recorded(place)["fingerprint"]
    if fingerprint_of(place) != fingerprint:
        return planning.Known()
    shards = len(read_sizes(place))
    done, _ = names.published(place.names(), fingerprint, shards)
    return planning.Known(finished_files(place, done), *read_layout(place))


def _record_plan(place: Place, prepared: Prepared) -> None:
    """Write the plan, unless it is there, once `_run.json` is of this run: one of another was never to be here."""
    job, found = prepared.job, fingerprint_of(place)
    if found not in (None, job.fingerprint):
        place.remove(names.PLAN)
        found = None
    if found is None:
        write_plan(place, job.fingerprint, prepared.shards.with_files(), job.layout)


def _recorded(place: Place) -> dict[str, Any]:
    return names.read_run(place)


def _claim(place: Place, prepared: Prepared, config: JobConfig, baselines: str | None) -> None:
    """Write what this run computes, once; refuse a directory in which another run stands.

    Raises:
        UsageError: E_OUTPUT_OTHER_RUN, with the fields that differ.
    """
    record = {
        "fingerprint": prepared.job.fingerprint,
        "decides": prepared.decides,
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "rows": prepared.shards.rows,
        "shards": len(prepared.shards),
        "files_sha256": {names.BASELINES: baselines} if baselines else {},
    }
    place.publish_bytes(names.to_json(record), names.RUN)
    refuse_other_run(place, prepared.survey)
