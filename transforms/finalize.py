"""`FinalizeRun`: every shard accounted for, then `_files.parquet`, `_manifest.json` and `_SUCCESS`."""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.pvalue import PCollection

from transforms.attribute import ShardResult, check_part
from transforms.attribution.methods import is_complete
from transforms.attribution_job import AttributionJob
from transforms.errors import AttribeamError, QuarantineError
from transforms.records import part
from transforms.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

LISTED = pa.schema(
    [("file", pa.string()), ("bytes", pa.int64()), ("sha256", pa.string()), ("rows", pa.int64())]
    + [(status, pa.int64()) for status in part.STATUSES]
)
# Parts read at once: checksums on several cores, waits of an object store side by side; each holds one row group.
PARTS_AT_ONCE = 4
PACKAGES = ("attribeam", "apache-beam", "tensorflow", "keras", "numpy", "pyarrow", "obstore")


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What must be there in the end.

    Attributes:
        shards: all of them, those of earlier invocations too.
        max_quarantined: share of the input's rows.
        started: when this invocation began, seconds since the epoch.
        hoisted: by input, the tensor of the model up to which it runs once a row.
        estimate: by a pilot, for the figures of the manifest, each with its spread.
        baseline_outputs: what the model says at each baseline that all rows share.
    """

    job: AttributionJob
    shards: Sequence[Shard]
    max_quarantined: float
    started: float
    hoisted: Mapping[str, str]
    estimate: Mapping[str, Any] | None = None
    baseline_outputs: Sequence[Mapping[str, Any]] = ()


@dataclasses.dataclass(frozen=True)
class PartRecord:
    """One shard's outcome, read back from its files."""

    entries: list[dict[str, Any]]
    totals: part.Totals
    quarantined: int
    device: str
    batch_size: int


def inspect_part(shard: Shard, job: AttributionJob, place: Place) -> PartRecord:
    """Read a published part and its quarantine file in full: checksums, counts, identity.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    name = job.part_of(shard)
    about = job.provenance(shard, 0, "")
    with place.open(name) as file:
        known, rows = part.read_footer(file, name)
    check_part((known, rows), about, rows, name)
    with place.open(name) as file:
        totals = part.read_totals(file, name)
    check_part((known, rows), about, totals.rows, name)
    entries = [{**_listed(place, name, totals.rows), **totals.by_status}]
    refused = shard.size - totals.rows // job.attribution.targets
    if refused:
        entries.append(_quarantine(place, names.quarantine_name(name), about, refused))
    return PartRecord(entries, totals, refused, known.get("device", ""), int(known.get("batch_size", 0)))


def finalize_run(plan: RunPlan, place: Place, results: Sequence[ShardResult]) -> dict[str, Any]:
    """Check every planned part, list the files, write the manifest and, if the limit holds, `_SUCCESS`.

    Safe to repeat: whatever is there already is adopted.

    Raises:
        AttribeamError: E_PART_MISSING, E_PART_FOREIGN, E_PART_DAMAGED.
        QuarantineError: E_QUARANTINE_LIMIT; the manifest is there, `_SUCCESS` is not.
    """
    _check_names(plan, place)
    with ThreadPoolExecutor(PARTS_AT_ONCE, "finalize") as pool:
        records = list(pool.map(lambda shard: inspect_part(shard, plan.job, place), plan.shards))
    entries = [entry for record in records for entry in record.entries]
    _publish_listing(place, entries)
    manifest = _manifest(plan, place, records, results)
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


def _check_names(plan: RunPlan, place: Place) -> None:
    expected = {plan.job.part_of(shard) for shard in plan.shards}
    found = {name for name in place.names() if name.startswith("part-")}
    if missing := sorted(expected - found):
        raise AttribeamError(
            "E_PART_MISSING", f"{len(missing)} parts are missing, the first is {missing[0]}; run the same command again"
        )
    if foreign := sorted(found - expected):
        raise AttribeamError(
            "E_PART_FOREIGN",
            f"{plan.job.root} holds {len(foreign)} parts that this run did not plan, the first is {foreign[0]}; move"
            " them away, or write to another output.path",
        )


def _listed(place: Place, name: str, rows: int) -> dict[str, Any]:
    digest, size = names.sha256_of(place, name)
    return {"file": name, "bytes": size, "sha256": digest, "rows": rows}


def _quarantine(place: Place, name: str, about: part.Provenance, refused: int) -> dict[str, Any]:
    if not place.exists(name):
        raise part.damaged(name, f"{refused} rows are not in the part, and this file is not there")
    with place.open(name) as file:
        check_part(part.read_footer(file, name), about, refused, name)
    with place.open(name) as file:
        part.check_pages(file, name)
    return _listed(place, name, refused)


def _publish_listing(place: Place, entries: Iterable[Mapping[str, Any]]) -> None:
    table = pa.Table.from_pylist([{name: entry.get(name) for name in LISTED.names} for entry in entries], LISTED)
    with place.scratch() as scratch:
        pq.write_table(table, scratch / "files", compression="zstd", write_page_checksum=True)
        place.publish(scratch / "files", names.FILES)


def _manifest(
    plan: RunPlan, place: Place, records: Sequence[PartRecord], results: Sequence[ShardResult]
) -> dict[str, Any]:
    by_status = {status: sum(record.totals.by_status[status] for record in records) for status in part.STATUSES}
    measured = {
        "seconds": round(time.time() - plan.started, 3),
        "gradients": sum(record.totals.gradients for record in records),
        "output_bytes": sum(record.entries[0]["bytes"] for record in records),
    }
    planned = {name: {**figure, "measured": measured[name]} for name, figure in (plan.estimate or {}).items()}
    return {
        "schema_version": part.SCHEMA_VERSION,
        "fingerprint": plan.job.fingerprint,
        "shards": len(plan.shards),
        "input_rows": sum(shard.size for shard in plan.shards),
        "rows": sum(record.totals.rows for record in records),
        "targets": plan.job.attribution.targets,
        "complete": is_complete(plan.job.attribution),
        "quarantined": sum(record.quarantined for record in records),
        "rows_by_status": by_status,
        "groups": {columns.input: list(columns.groups.names) for columns in plan.job.attributions if columns.groups},
        "rounding": _rounding(plan.job, [record.totals for record in records]),
        "hoisted": dict(plan.hoisted),
        "baseline_outputs": list(plan.baseline_outputs),
        "batch_sizes": sorted({record.batch_size for record in records}),
        "devices": sorted({record.device for record in records}),
        "versions": versions(),
        **measured,
        "pilot": planned,
        "resumed_shards": len(plan.shards) - len(results),
        "peak_memory_bytes": max((result.peak_memory_bytes for result in results), default=0),
        "out_of_memory": sum(result.out_of_memory for result in results),
        "files_sha256": {name: names.sha256_of(place, name)[0] for name in (names.RUN, names.PLAN, names.FILES)}
        | ({names.BASELINES: plan.job.baselines} if plan.job.baselines else {}),
    }


def _rounding(job: AttributionJob, parts: Sequence[part.Totals]) -> dict[str, float] | None:
    """What rounding to float16 changed, the largest of the rows and their mean; None in float32."""
    if all(columns.dtype == "float32" for columns in job.attributions):
        return None
    rows = sum(totals.rows - totals.by_status["nonfinite"] for totals in parts)
    largest, total = max(totals.rounding[0] for totals in parts), sum(totals.rounding[1] for totals in parts)
    return {"largest": largest, "mean": total / max(1, rows)}


def versions() -> dict[str, str]:
    """Python's and the packages' versions that decide what is computed."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


class FinalizeRun(beam.PTransform):  # type: ignore[misc]
    """PCollection[ShardResult] → PCollection[the manifest]: `finalize_run`, once every shard has a result."""

    def __init__(self, plan: RunPlan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, results: PCollection[ShardResult]) -> PCollection[dict[str, Any]]:
        return results | beam.combiners.ToList() | beam.ParDo(_Finalize(self._plan))


class _Finalize(beam.DoFn):  # type: ignore[misc]
    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan

    def process(self, results: list[ShardResult]) -> Iterable[dict[str, Any]]:
        yield finalize_run(self._plan, open_place(self._plan.job.root), results)
