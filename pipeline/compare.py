"""`attribeam compare`: what changed between two finished runs over the same rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import JobConfig, parse_config
from pipeline.runner import parse_options, run_pipeline
from transforms.compare import CompareRuns
from transforms.compared_unit import ComparisonJob, Side
from transforms.comparing.units import Piece, units
from transforms.comparison_files import clear, read_comparison
from transforms.errors import quoted
from transforms.runs.plan_file import read_shards, read_sizes
from transforms.runs.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place

# Parts whose footers are looked at for the size of a row.
LOOKED_AT = 8
UNKNOWN_ROW_BYTES = 4096.0
MAX_DIFFERENCES = 50


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A comparison as it is written.

    Attributes:
        where: its directory.
        summary: `compare.json`; tables: by file name.
        grids: by input that is an image, rows and columns of its features.
    """

    where: str
    summary: dict[str, Any]
    tables: dict[str, pa.Table]
    grids: dict[str, tuple[int, int]]

    @property
    def drift(self) -> float | None:
        """Of the two runs; None where no row can be measured."""
        found: float | None = self.summary["drift"]["mean"]
        return found


@dataclasses.dataclass(frozen=True)
class _Run:
    """A finished run, as far as it is compared."""

    place: Place
    manifest: dict[str, Any]
    record: dict[str, Any]
    config: JobConfig
    pieces: list[Piece]
    schema: pa.Schema
    row_bytes: float


def compare_runs(root_a: str, root_b: str, out: str | None = None, beam_options: Sequence[str] = ()) -> Comparison:
    """Compare two finished runs, and write what is found; an earlier comparison there is replaced.

    Args:
        out: the directory it is written to; None: OUT_B/_compare/<12 hex of OUT_A's fingerprint>.

    Raises:
        AttribeamError: E_RUN_UNFINISHED, E_RUN_MISSING, E_RUN_DAMAGED, E_MANIFEST_DAMAGED, E_PLAN_DAMAGED,
            E_PART_DAMAGED.
        UsageError: E_COMPARE_COLUMNS, E_COMPARE_ROWS, E_RUNNER.
    """
    options = parse_options(beam_options)
    a, b = _read(root_a), _read(root_b)
    place = b.place if out is None else open_place(out)
    folder = f"{names.COMPARISON}/{a.manifest['fingerprint'][:12]}/" if out is None else ""
    least = max(run.config.attribution.tolerance for run in (a, b))
    side_a, side_b = (Side(run.place.root, run.schema) for run in (a, b))
    job = ComparisonJob(side_a, side_b, place.root, folder, least, _about(a, b, least))
    features = job.how.features
    wanted = units(a.pieces, b.pieces, a.row_bytes + b.row_bytes)
    with place.alone():
        clear(place, folder)
        run_pipeline(lambda root: root | CompareRuns(wanted, job), options)
    summary, tables = read_comparison(place, folder)
    return Comparison(f"{place.root}/{folder}".rstrip("/"), summary, tables, dict(features.grids))


def exceeds(found: Comparison, max_drift: float | None) -> str:
    """Why the drift is over the limit, in a line; nothing where it is not, or there is no limit."""
    if max_drift is None:
        return ""
    if found.drift is None:
        return f"no row can be measured, so that nothing says whether the drift is at most --max-drift {max_drift:g}"
    return f"the drift, {found.drift:.4g}, is over --max-drift {max_drift:g}" if found.drift > max_drift else ""


def _read(root: str) -> _Run:
    place = open_place(root)
    manifest, record = names.read_manifest(place), names.read_json(place, names.RUN)
    fingerprint = str(manifest["fingerprint"])
    shards = read_shards(place, fingerprint, range(len(read_sizes(place))))
    pieces = [_piece(shard, fingerprint) for shard in shards]
    schema, row_bytes = _stored(place, [piece.part for piece in pieces])
    return _Run(place, manifest, record, parse_config(record["config"]), pieces, schema, row_bytes)


def _piece(shard: Shard, fingerprint: str) -> Piece:
    part = names.part_name(fingerprint, shard.number)
    return Piece(part, (shard.name, shard.input_digest), shard.rows.start, shard.rows.stop)


def _stored(place: Place, parts: Sequence[str]) -> tuple[pa.Schema, float]:
    """The schema of the parts, and the bytes of a row before compression, as the first parts have them."""
    size = rows = 0
    for name in parts[:LOOKED_AT]:
        with place.open(name) as file:
            footer = pq.ParquetFile(file)
            groups = [footer.metadata.row_group(group) for group in range(footer.num_row_groups)]
        size += sum(group.total_byte_size for group in groups)
        rows += sum(group.num_rows for group in groups)
    return footer.schema_arrow.remove_metadata(), size / rows if rows else UNKNOWN_ROW_BYTES


def _about(a: _Run, b: _Run, least_change: float) -> dict[str, Any]:
    """What the summary says of the two runs."""
    decides = [run.record["decides"] for run in (a, b)]
    differing = sorted(key for key in {*decides[0], *decides[1]} if decides[0].get(key) != decides[1].get(key))
    return {
        "schema_version": 1,
        "runs": {"a": _run(a), "b": _run(b)},
        "differences": {key: [quoted(one.get(key)) for one in decides] for key in differing[:MAX_DIFFERENCES]},
        "least_change": least_change,
    }


def _run(run: _Run) -> dict[str, Any]:
    settings = run.config.attribution.model_dump(mode="json")
    return {
        "output": run.place.root,
        "fingerprint": run.manifest["fingerprint"],
        "model": run.config.model.path,
        **{name: settings[name] for name in ("method", "baseline", "target", "tolerance")},
        **{name: run.manifest[name] for name in ("rows", "quarantined", "rows_by_status", "versions")},
    }
