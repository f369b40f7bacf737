"""Is a finished run still what it was: every file, count and checksum, and deeply, every row's completeness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import AttribeamError, StoreError, one_line
from transforms.records import part
from transforms.records.columns import ATTRIBUTION
from transforms.records.values import row_values
from transforms.runs.file_list import read_file_list
from transforms.storage import manifest as names
from transforms.storage.place import Place

EXTRA_FOLDERS = (
    "_audit/",
    names.DAMAGED + "/",
    names.PILOT + "/",
    names.EVALUATION + "/",
    names.COMPARISON + "/",
    names.DRAFT + "/",
)
# What may separate a row's stored delta from the sum of its stored attributions, as a share of the sizes involved:
# delta, output and baseline_output are rounded to float32 (2^-24 each, of which three), and a reduction rounds its
# sums once more; float16 rounds each value (2^-11) before they are summed, the smallest ones to multiples of 2^-24.
SLACK = {"float": 2**-21, "halffloat": 2**-10}
HALF_STEP = {"float": 0.0, "halffloat": 2**-25}
COMPLETENESS = ("output", "baseline_output", "delta")
RECORDS = frozenset({names.RUN, names.PLAN, names.FILES, names.BASELINES})
# also what a file that is no part, but listed as one, answers
_DAMAGE = (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError)


def verify_run(place: Place, deep: bool = False) -> list[str]:
    """Every fault of a finished run, one line each, as errors are; none when it holds.

    Args:
        deep: also read every value, check each page's checksum, and recompute each row's completeness.

    Raises:
        AttribeamError: E_RUN_UNFINISHED, E_MANIFEST_DAMAGED, E_RUN_DAMAGED: there is nothing to verify against.
    """
    return [one_line(fault) for fault in _faults(place, deep)]


def _faults(place: Place, deep: bool) -> list[str]:
    manifest = names.read_manifest(place)
    faults = list(_record_faults(place, manifest))
    if faults:
        return faults
    listed, found = read_file_list(place), set(place.names())
    faults += _name_faults(found, {*listed, *manifest["files_sha256"]})
    for name, row in listed.items():
        # only what the place itself lists: a list from a stranger may name files anywhere
        if name in found:
            faults += _file_faults(place, row, manifest["fingerprint"])
    faults += _count_faults(listed, manifest)
    if deep and not faults:
        parts = [name for name in listed if names.PART.fullmatch(name)]
        faults += [fault for name in parts for fault in completeness_faults(place, name)]
    return faults


def _record_faults(place: Place, manifest: Mapping[str, Any]) -> Iterator[str]:
    pinned = manifest["files_sha256"]
    if not {names.RUN, names.PLAN, names.FILES} <= pinned.keys() <= RECORDS:
        yield f"{names.MANIFEST}: it vouches for other files than those of a run"
        return
    for name, digest in pinned.items():
        if not place.exists(name):
            yield f"{name}: missing"
        elif names.sha256_of(place, name)[0] != digest:
            yield f"{name}: its sha256 is not the manifest's"


def _name_faults(found: Set[str], listed: Set[str]) -> Iterator[str]:
    known = {*listed, names.MANIFEST, names.SUCCESS}
    for name in sorted(known - found):
        yield f"{name}: missing"
    for name in sorted(found - known):
        if not name.startswith(EXTRA_FOLDERS):
            yield f"{name}: not a file of this run"


def _file_faults(place: Place, row: Mapping[str, Any], fingerprint: str) -> Iterator[str]:
    name = row["file"]
    digest, size = names.sha256_of(place, name)
    if size != row["bytes"]:
        yield f"{name}: {size} bytes, {row['bytes']} in the manifest"
    elif digest != row["sha256"]:
        yield f"{name}: its sha256 is not the manifest's"
    else:
        try:
            with place.open(name) as file:
                footer, rows = part.read_footer(file, name)
        except StoreError:
            raise
        except AttribeamError as error:
            yield error.message
            return
        if rows != row["rows"]:
            yield f"{name}: {rows} rows, {row['rows']} in the manifest"
        if footer.get("fingerprint") != fingerprint:
            yield f"{name}: of another run"


def _count_faults(listed: Mapping[str, Mapping[str, Any]], manifest: Mapping[str, Any]) -> Iterator[str]:
    parts = [row for name, row in listed.items() if names.PART.fullmatch(name)]
    rows = sum(row["rows"] for row in parts)
    refused = sum(row["rows"] for row in listed.values()) - rows
    targets = manifest["targets"]
    counted = {
        "shards": len(parts),
        "rows": rows,
        "quarantined": refused,
        "input_rows": rows // targets + refused if targets > 0 else None,
        "rows_by_status": {status: sum(row[status] or 0 for row in parts) for status in part.STATUSES},
    }
    for key, value in counted.items():
        if manifest[key] != value:
            yield f"{names.MANIFEST}: {key} is {manifest[key]}, but the files hold {value}"


def completeness_faults(place: Place, name: str) -> list[str]:
    """The rows of a part whose delta is not Σ attributions − (output − baseline_output), as at most one line."""
    try:
        with place.open(name) as file:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)
            wrong = [
                row
                for group in range(parquet.num_row_groups)
                for row in _incomplete_rows(parquet.read_row_group(group, use_threads=False))
            ]
    except _DAMAGE as error:
        return [f"{name}: cannot be read: {str(error)[:200]}"]
    if not wrong:
        return []
    return [f"{name}: delta is not Σ attributions − (F(x) − F(x′)) in {len(wrong)} rows, first {wrong[0]}"]


def _incomplete_rows(table: pa.Table) -> list[str]:
    total, slack = np.zeros((2, len(table)))
    for name in table.column_names:
        if name.startswith(ATTRIBUTION):
            values, rows = row_values(table[name])
            kind = str(table.schema.field(name).type.value_type)
            size, count = np.bincount(rows, np.abs(values), len(table)), np.bincount(rows, minlength=len(table))
            total += np.bincount(rows, values, len(table))
            slack += SLACK[kind] * size + HALF_STEP[kind] * count
    output, start, delta = (table[name].to_numpy().astype(np.float64) for name in COMPLETENESS)
    with np.errstate(invalid="ignore"):
        gap = np.abs(total - (output - start) - delta)
        wrong = gap > slack + SLACK["float"] * (np.abs(output) + np.abs(start) + np.abs(delta))
    finite = np.array(table["status"].to_pylist()) != "nonfinite"
    return [str(table["row_id"][int(row)].as_py()) for row in np.flatnonzero(wrong & finite)]


def require_valid(place: Place, deep: bool = False) -> None:
    """`verify_run`, as an error.

    Raises:
        AttribeamError: E_VERIFY, with the first faults, and what `verify_run` raises.
    """
    faults = verify_run(place, deep)
    if faults:
        raise AttribeamError("E_VERIFY", f"{len(faults)} faults in {place.root}: " + "; ".join(faults[:3]))
