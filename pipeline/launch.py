"""`attribeam run`: everything checked on the launcher, then the job; or the rest of it, when it was interrupted."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils import shared

from pipeline import plan as planning
from pipeline.config import JobConfig
from pipeline.job import build
from pipeline.prepare import Prepared, prepare
from pipeline.progress import ProgressReport
from transforms import errors
from transforms.attribution.explainer import Explainer
from transforms.finalize import RunPlan, inspect_part, versions
from transforms.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import LocalPlace, Place, open_place

log = logging.getLogger(__name__)
_RAISED_ON_WORKER = re.compile(
    r"transforms\.errors\.(\w+): (E_[A-Z0-9_]+)(?: \[while running '[^']*'\])?: (.+?)(?: \[while running '[^']*'\])?$",
    re.MULTILINE,
)


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


def run(config: JobConfig, root: pathlib.Path, beam_options: Sequence[str] = ()) -> Outcome:
    """Run the job, or what is left of it.

    Args:
        root: folder that input file names are written relative to.
        beam_options: passed on to Beam; without `--runner`, Beam's in-process runner.

    Raises:
        UsageError, AttribeamError, QuarantineError: see docs/errors.md.
    """
    started = time.time()
    place = open_place(config.output.path)
    handle = shared.Shared()
    explainer = handle.acquire(lambda: Explainer.load(config.model, config.attribution))
    prepared = prepare(config, root, explainer, _finished_files(place))
    _claim(place, prepared, config)
    todo = [shard for shard in prepared.shards if not _has_valid_part(shard, prepared, place)]
    if not todo and place.exists(names.SUCCESS):
        return Outcome(place.root, 0, names.read_manifest(place))
    _remove_unfinished(place)
    run_plan = RunPlan(prepared.job, prepared.shards, config.limits.quarantined, started)
    with ProgressReport(place, prepared.job.fingerprint, prepared.shards):
        _run_pipeline(run_plan, todo, handle, beam_options)
    if isinstance(place, LocalPlace):
        place.clear_scratch()
    return Outcome(place.root, len(todo), names.read_manifest(place))


def _finished_files(place: Place) -> dict[str, planning.InputFile]:
    """Input files whose every shard has a part: they need not be opened again."""
    if not place.exists(names.PLAN):
        return {}
    shards, files = planning.read_plan(place)
    recorded = _recorded(place)
    done = {name for name in place.names() if names.PART.fullmatch(name)}
    open_paths = {shard.path for shard in shards if names.part_name(recorded["fingerprint"], shard.number) not in done}
    return {path: file for path, file in files.items() if path not in open_paths}


def _recorded(place: Place) -> dict[str, Any]:
    return names.read_json(place, names.RUN)


def _claim(place: Place, prepared: Prepared, config: JobConfig) -> None:
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
    }
    place.publish_bytes(names.to_json(record), names.RUN)
    found = _recorded(place)
    if found["fingerprint"] != prepared.job.fingerprint:
        differing = _differences(found["decides"], prepared.decides)
        raise errors.UsageError(
            "E_OUTPUT_OTHER_RUN",
            f"{place.root} holds another run; these differ: {differing}. Give another output.path, or restore them",
        )
    planning.write_plan(place, prepared.shards, prepared.files)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(f"{key} ({errors.quoted(old.get(key))} there, {errors.quoted(new.get(key))} now)" for key in keys)


def _has_valid_part(shard: Shard, prepared: Prepared, place: Place) -> bool:
    name = prepared.job.part_of(shard)
    if not place.exists(name):
        return False
    try:
        inspect_part(shard, prepared.job, place)
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
    if isinstance(place, LocalPlace):
        place.clear_scratch()


def _run_pipeline(plan: RunPlan, todo: Sequence[Shard], handle: shared.Shared, beam_options: Sequence[str]) -> None:
    options = PipelineOptions(list(beam_options))
    options.view_as(SetupOptions).save_main_session = False
    runner = None if options.view_as(StandardOptions).runner else FnApiRunner()
    try:
        with beam.Pipeline(runner=runner, options=options) as pipeline:
            build(pipeline, todo, plan, handle)
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        raise known from error


def _known(error: Exception) -> errors.AttribeamError | None:
    """Our own error, which Beam hands on as the text of a traceback, or with a step's name put into it."""
    kinds = {"UsageError": errors.UsageError, "QuarantineError": errors.QuarantineError}
    found = _RAISED_ON_WORKER.findall(f"transforms.errors.{type(error).__name__}: {error}")
    if not found:
        return None
    kind, code, message = found[-1]
    return kinds.get(kind, errors.AttribeamError)(code, message)
