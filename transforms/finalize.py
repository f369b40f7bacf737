"""`FinalizeRun`: every shard accounted for, then `_files.parquet`, `_manifest.json` and `_SUCCESS`."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.coders import FastPrimitivesCoder
from apache_beam.pvalue import AsSingleton, PCollection

from transforms.attribution.methods import is_complete
from transforms.errors import AttribeamError, QuarantineError
from transforms.records import part
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.checked_parts import CheckedParts, check_parts, missing
from transforms.runs.file_list import LISTED
from transforms.runs.plan_file import piece_of, pieces
from transforms.runs.whole_part import Totals, WholePart
from transforms.runs.work_done import ShardResult, WorkDone
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

PACKAGES = ("attribeam", "apache-beam", "tensorflow", "keras", "numpy", "pyarrow", "obstore")
PACKED = FastPrimitivesCoder()


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What must be there in the end; the shards themselves stand in `_plan.parquet`.

    Attributes:
        shards: how many there are, those of earlier invocations too.
        input_rows: that they hold together.
        max_quarantined: share of the input's rows.
        started: when this invocation began, seconds since the epoch.
        hoisted: by input, the tensor of the model up to which it runs once a row.
        estimate: by a pilot, for the figures of the manifest, each with its spread.
        baseline_outputs: what the model says at each baseline that all rows share.
    """

    job: AttributionJob
    shards: int
    input_rows: int
    max_quarantined: float
    started: float
    hoisted: Mapping[str, str]
    estimate: Mapping[str, Any] | None = None
    baseline_outputs: Sequence[Mapping[str, Any]] = ()


def every_shard(plan: RunPlan, place: Place) -> Iterator[Sequence[int]]:
    """The numbers of all shards, piece by piece, once every one of them is found to have a part.

    Raises:
        AttribeamError: E_PART_MISSING, E_PART_FOREIGN.
    """
    found, foreign = names.published(place.names(), plan.job.fingerprint, plan.shards)
    if lost := np.flatnonzero(~found).tolist():
        raise missing(len(lost), names.part_name(plan.job.fingerprint, lost[0]))
    if foreign:
        raise AttribeamError(
            "E_PART_FOREIGN",
            f"{plan.job.root} holds {len(foreign)} parts that this run did not plan, the first is {foreign[0]}; move"
            " them away, or write to another output.path",
        )
    return pieces(range(plan.shards))


def finalize_run(plan: RunPlan, place: Place, checked: Iterable[CheckedParts], done: WorkDone) -> dict[str, Any]:
    """List every file, write the manifest and, if the limit holds, `_SUCCESS`.

    Safe to repeat: what is there already is adopted, if it is of the very same files.

    Args:
        checked: all parts of the plan, some at a time; they are not held.

    Raises:
        AttribeamError: E_RUN_STALE, when it is not.
        QuarantineError: E_QUARANTINE_LIMIT; the manifest is there, `_SUCCESS` is not.
    """
    manifest = _manifest(plan, place, _publish_listing(place, checked), done)
    if manifest["quarantined"] > plan.max_quarantined * manifest["input_rows"]:
        place.publish_bytes(names.to_json(manifest), names.MANIFEST)
        raise QuarantineError(
            "E_QUARANTINE_LIMIT",
            f"{manifest['quarantined']} of {manifest['input_rows']} rows were refused, more than limits.quarantined ="
            f" {plan.max_quarantined:g} allows. {plan.job.root}/{names.QUARANTINE} says why; mend the input,"
            " or raise the limit and run again: nothing is computed twice",
        )
    names.write_success(place, names.to_json(manifest))
    return manifest


def _publish_listing(place: Place, checked: Iterable[CheckedParts]) -> Totals:
    totals = Totals()
    with place.scratch() as scratch:
        with pq.ParquetWriter(scratch / "files", LISTED, compression="zstd", write_page_checksum=True) as writer:
            for some in checked:
                writer.write_table(some.listing)
                totals += some.totals
        if not place.publish(scratch / "files", names.FILES) and not _same_listing(place, scratch / "files"):
            raise names.stale(place, names.FILES)
    return totals


def _same_listing(place: Place, mine: pathlib.Path) -> bool:
    """Whether the listing that stands there says the same, in whatever order."""
    try:
        with place.open(names.FILES) as file:
            standing = pq.read_table(file, page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return False
    return bool(standing.sort_by("file").equals(pq.read_table(mine).sort_by("file")))


def _manifest(plan: RunPlan, place: Place, totals: Totals, done: WorkDone) -> dict[str, Any]:
    measured = {
        "seconds": round(time.time() - plan.started, 3),
        "gradients": totals.gradients,
        "output_bytes": totals.bytes,
    }
    planned = {name: {**figure, "measured": measured[name]} for name, figure in (plan.estimate or {}).items()}
    return {
        "schema_version": part.SCHEMA_VERSION,
        "fingerprint": plan.job.fingerprint,
        "shards": totals.shards,
        "input_rows": plan.input_rows,
        "rows": totals.rows,
        "targets": plan.job.attribution.targets,
        "complete": is_complete(plan.job.attribution),
        "quarantined": totals.refused.total(),
        "quarantined_by_code": dict(totals.refused),
        "rows_by_status": {status: totals.by_status[status] for status in part.STATUSES},
        "groups": {columns.input: list(columns.groups.names) for columns in plan.job.attributions if columns.groups},
        "rounding": _rounding(plan.job, totals),
        "model_trusted": plan.job.model.trust,
        "hoisted": dict(plan.hoisted),
        "baseline_outputs": list(plan.baseline_outputs),
        "batch_sizes": sorted(totals.batch_sizes),
        "devices": sorted(totals.devices),
        "versions": versions(),
        **measured,
        "pilot": planned,
        "resumed_shards": plan.shards - done.shards,
        "peak_memory_bytes": done.peak_memory_bytes,
        "out_of_memory": done.out_of_memory,
        "programs_compiled": done.programs,
        "reading_s": round(done.reading_s, 3),
        "computing_s": round(done.computing_s, 3),
        "writing_s": round(done.writing_s, 3),
        "files_sha256": {name: names.sha256_of(place, name)[0] for name in (names.RUN, names.PLAN, names.FILES)}
        | ({names.BASELINES: plan.job.baselines} if plan.job.baselines else {}),
    }


def _rounding(job: AttributionJob, totals: Totals) -> dict[str, float] | None:
    """What rounding to float16 changed, the largest of the rows and their mean; None in float32."""
    if all(columns.dtype == "float32" for columns in job.attributions):
        return None
    largest, total = totals.rounding
    return {"largest": largest, "mean": total / max(1, totals.rows - totals.by_status["nonfinite"])}


def versions() -> dict[str, str]:
    """Python's and the packages' versions that decide what is computed."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


class FinalizeRun(beam.PTransform):  # type: ignore[misc]
    """PCollection[ShardResult] → PCollection[the manifest], once every shard has a result.

    The parts are checked by all workers, a piece of the plan at a time; one of them then writes down what they found.
    """

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, results: PCollection[ShardResult]) -> PCollection[dict[str, Any]]:
        done = results | "WhatItTook" >> beam.CombineGlobally(_AddUp())
        planned = done | "EveryShard" >> beam.FlatMap(_every_shard, self._plan)
        read = results | "ReadBefore" >> beam.FlatMap(_read_before)
        return (
            {"planned": planned, "read": read}
            | "ByPiece" >> beam.CoGroupByKey()
            | "CheckParts" >> beam.Map(_check_parts, self._plan.job)
            | "Gather" >> beam.GroupBy(_all_the_same)
            | "Publish" >> beam.Map(_finalize, self._plan, AsSingleton(done))
        )


class _AddUp(beam.CombineFn):  # type: ignore[misc]
    def create_accumulator(self) -> WorkDone:
        return WorkDone()

    def add_input(self, done: WorkDone, result: ShardResult) -> WorkDone:
        return done + WorkDone.of(result)

    def merge_accumulators(self, several: Iterable[WorkDone]) -> WorkDone:
        return sum(several, WorkDone())

    def extract_output(self, done: WorkDone) -> WorkDone:
        return done


def _every_shard(_: WorkDone, plan: RunPlan) -> Iterator[tuple[int, Sequence[int]]]:
    return enumerate(every_shard(plan, open_place(plan.job.root)))


def _read_before(result: ShardResult) -> Iterator[tuple[int, tuple[int, bytes]]]:
    """What a worker found in its part, under the piece of the plan that it is in."""
    if result.whole:
        # packed, for Beam's in-process runner holds one for every shard: a fifth of what the values would take
        yield piece_of(result.number), (result.number, PACKED.encode(dataclasses.astuple(result.whole)))


def _check_parts(piece: tuple[int, Mapping[str, Iterable[Any]]], job: AttributionJob) -> CheckedParts:
    (numbers,) = piece[1]["planned"]
    known = {number: WholePart(*PACKED.decode(found)) for number, found in piece[1]["read"]}
    return check_parts(numbers, job, open_place(job.root), known)


def _all_the_same(_: CheckedParts) -> int:
    return 0


def _finalize(gathered: tuple[int, Iterable[CheckedParts]], plan: RunPlan, done: WorkDone) -> dict[str, Any]:
    return finalize_run(plan, open_place(plan.job.root), gathered[1], done)
