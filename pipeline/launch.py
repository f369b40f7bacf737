"""`attribeam run`: everything checked on the launcher, then the job; or the rest of it, when it was interrupted."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils import shared

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.job import build, build_baselines
from pipeline.pilot import read_estimate
from pipeline.pinned_baselines import pin_baselines
from pipeline.prepare import Prepared, prepare
from pipeline.progress import ProgressReport
from pipeline.runner import parse_options, run_pipeline
from transforms import errors
from transforms.attribution.baseline_outputs import baseline_outputs, warn
from transforms.attribution.explainer import Explainer
from transforms.attribution_job import AttributionJob
from transforms.finalize import RunPlan, inspect_part, versions
from transforms.model_files import load_explainer
from transforms.records import part
from transforms.references_file import read_references
from transforms.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What `run` did.

    Attributes:
        computed: shards of this invocation; the others were there already.
        manifest: as written.
    """

    root: str
    computed: int
    manifest: Mapping[str, Any]


def run(
    config: JobConfig,
    root: pathlib.Path,
    beam_options: Sequence[str] = (),
    handle: shared.Shared | None = None,
    trusted: Collection[str] = (),
) -> Outcome:
    """Run the job, or what is left of it.

    Args:
        root: folder that input file names are written relative to.
        beam_options: passed on to Beam; without `--runner`, Beam's in-process runner.
        handle: holds the Explainer of this very configuration already, when several runs in this process share it.
        trusted: modules that the configuration may name functions of.

    Raises:
        UsageError, AttribeamError, QuarantineError: see docs/errors.md.
    """
    started, options = time.time(), parse_options(beam_options)
    place = open_place(config.output.path)
    handle = handle or shared.Shared()
    explainer = handle.acquire(lambda: load_explainer(config.model, config.attribution, trusted))
    prepared = prepare(config, root, explainer, known_before(place))
    hoisted = explainer.model.stem.tensors if explainer.model.stem else {}
    estimate = read_estimate(place, prepared.job.fingerprint)
    with place.alone():
        if place.exists(names.RUN):
            refuse_other_run(place, prepared)
        pinned = pin_baselines(
            prepared,
            explainer.model.classes,
            place,
            lambda plan: run_pipeline(lambda pipeline: build_baselines(pipeline, plan, handle), options),
        )
        _claim(place, prepared, config, pinned)
        job = dataclasses.replace(prepared.job, baselines=pinned)
        plan = RunPlan(job, prepared.shards, config.limits.quarantined, started, hoisted, estimate)
        return _finish(plan, place, explainer, handle, options)


def _finish(
    plan: RunPlan, place: Place, explainer: Explainer, handle: shared.Shared, options: PipelineOptions
) -> Outcome:
    """Compute what is missing of the plan; two launchers must not do so at once, for one removes what the other has
    just finalized."""
    pinned = _pinned(place)
    todo = [shard for shard in plan.shards if not _has_valid_part(shard, plan.job, place, pinned or {})]
    if not todo and pinned is not None:
        return Outcome(place.root, 0, names.read_manifest(place))
    _remove_unfinished(place)
    plan = dataclasses.replace(plan, baseline_outputs=_baseline_outputs(plan.job, place, explainer))
    with ProgressReport(place, plan.job.fingerprint, plan.shards):
        run_pipeline(lambda pipeline: build(pipeline, todo, plan, handle), options)
    return Outcome(place.root, len(todo), names.read_manifest(place))


def _baseline_outputs(job: AttributionJob, place: Place, explainer: Explainer) -> list[dict[str, Any]]:
    """What the model says at each baseline that all rows share; a warning where that is not what it is taken for."""
    referring = explainer.with_references(read_references(place, job.baselines))
    inputs = [feature.name for feature in job.layout.inputs]
    found = baseline_outputs(referring, dict(zip(inputs, job.shapes, strict=True)))
    warn(found)
    return [dataclasses.asdict(one) for one in found]


def known_before(place: Place) -> planning.Known:
    """What an earlier invocation found out: input files whose every shard has a part need not be opened again."""
    if not place.exists(names.PLAN):
        return planning.Known()
    plan, fingerprint, done = planning.read_plan(place), _recorded(place)["fingerprint"], set(place.names())
    unfinished = {shard.path for shard in plan.shards if names.part_name(fingerprint, shard.number) not in done}
    files = {path: file for path, file in plan.files.items() if path not in unfinished}
    return planning.Known(files, plan.carried, plan.lengths)


def _recorded(place: Place) -> dict[str, Any]:
    return names.read_json(place, names.RUN)


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
        "rows": sum(shard.size for shard in prepared.shards),
        "shards": len(prepared.shards),
        "files_sha256": {names.BASELINES: baselines} if baselines else {},
    }
    place.publish_bytes(names.to_json(record), names.RUN)
    refuse_other_run(place, prepared)
    planning.write_plan(place, prepared.shards, prepared.files, prepared.job.layout)


def refuse_other_run(place: Place, prepared: Prepared) -> None:
    """Refuse a directory in which another run stands.

    Raises:
        UsageError: E_OUTPUT_OTHER_RUN, with the fields that differ.
    """
    found = _recorded(place)
    if found["fingerprint"] != prepared.job.fingerprint:
        differing = differences(found["decides"], prepared.decides)
        raise errors.UsageError(
            "E_OUTPUT_OTHER_RUN",
            f"{place.root} holds another run; give another output.path, or restore what differs: {differing}",
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """The keys under which two mappings differ, with what is there and what is now."""
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(f"{key} ({errors.quoted(old.get(key))} there, {errors.quoted(new.get(key))} now)" for key in keys)


def _pinned(place: Place) -> dict[str, str] | None:
    """By file, the sha256 that a finished run vouches for; None when it is not finished, or its records are damaged."""
    try:
        manifest = names.read_manifest(place)
    except errors.AttribeamError:
        return None
    if not place.exists(names.FILES) or names.sha256_of(place, names.FILES)[0] != manifest["files_sha256"][names.FILES]:
        return None
    with place.open(names.FILES) as file:
        return {row["file"]: row["sha256"] for row in pq.read_table(file).to_pylist()}


def _has_valid_part(shard: Shard, job: AttributionJob, place: Place, pinned: Mapping[str, str]) -> bool:
    name = job.part_of(shard)
    if not place.exists(name):
        return False
    try:
        for entry in inspect_part(shard, job, place).entries:
            if pinned.get(entry["file"], entry["sha256"]) != entry["sha256"]:
                raise part.damaged(entry["file"], "it is no longer the file that the manifest vouches for")
    except errors.StoreError:
        raise
    except errors.AttribeamError as error:
        log.warning("%s; moved to %s", error, names.DAMAGED)
        for damaged in (name, names.quarantine_name(name)):
            if place.exists(damaged):
                place.set_aside(damaged, f"{names.DAMAGED}/{time.time_ns()}-{pathlib.PurePosixPath(damaged).name}")
        return False
    return True


def _remove_unfinished(place: Place) -> None:
    """What an interrupted finalize left; parts are never removed."""
    for name in (names.SUCCESS, names.MANIFEST, names.FILES):
        if place.exists(name):
            place.remove(name)
