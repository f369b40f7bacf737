"""Published parts and their quarantine files, read in full: checked, counted, and listed with their sha256."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.attribute import check_part
from transforms.errors import AttribeamError
from transforms.overlap import side_by_side
from transforms.records import part
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.file_list import LISTED
from transforms.runs.plan_file import read_shards
from transforms.runs.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place

# Parts read at once: checksums on several cores, waits of an object store side by side; each holds one row group.
PARTS_AT_ONCE = 4
SMALL_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Totals:
    """What some parts and their quarantine files hold, counted from their rows.

    Attributes:
        shards: of which the parts are.
        rows, gradients, by_status, bytes: of the parts.
        refused: rows of the quarantine files, by code.
        rounding: what rounding to float16 changed of a row, the largest over the rows and their sum.
    """

    shards: int = 0
    rows: int = 0
    gradients: int = 0
    bytes: int = 0
    by_status: Counter[str] = dataclasses.field(default_factory=Counter)
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    rounding: tuple[float, float] = (0.0, 0.0)
    batch_sizes: frozenset[int] = frozenset()
    devices: frozenset[str] = frozenset()

    def __add__(self, other: Totals) -> Totals:
        """Of both."""
        return Totals(
            self.shards + other.shards,
            self.rows + other.rows,
            self.gradients + other.gradients,
            self.bytes + other.bytes,
            self.by_status + other.by_status,
            self.refused + other.refused,
            (max(self.rounding[0], other.rounding[0]), self.rounding[1] + other.rounding[1]),
            self.batch_sizes | other.batch_sizes,
            self.devices | other.devices,
        )


@dataclasses.dataclass(frozen=True)
class CheckedPart:
    """A shard's files: what they hold, and an entry of `LISTED` for each."""

    totals: Totals
    entries: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class CheckedParts:
    """Those of some shards; `listing` is a table of `LISTED`."""

    totals: Totals
    listing: pa.Table


def check_parts(numbers: Sequence[int], job: AttributionJob, place: Place) -> CheckedParts:
    """`check_shard` for the shards of these numbers, a few at once.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING, E_PLAN_DAMAGED.
    """
    shards = read_shards(place, job.fingerprint, numbers)
    found = list(side_by_side(lambda shard: check_shard(shard, job, place), shards, PARTS_AT_ONCE))
    entries = itertools.chain.from_iterable(one.entries for one in found)
    return CheckedParts(sum((one.totals for one in found), Totals()), _table(entries))


def check_shard(shard: Shard, job: AttributionJob, place: Place) -> CheckedPart:
    """Read a published part and its quarantine file in full: checksums, identity, and each row of the shard in one of
    the two, whoever wrote them.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING.
    """
    name, about = job.part_of(shard), job.provenance(shard, 0, "")
    try:
        with _opened(place, name) as file:
            known, held = part.read_totals(file, name)
            listed = _listed(file, name, held.rows)
    except FileNotFoundError as error:
        raise missing(1, name) from error
    check_part((known, held.rows), about, held.rows, name)
    entries = [{**listed, **held.by_status, "gradients": held.gradients}]
    lacking, quarantine = _lacking(held.source_rows, shard, job.attribution.targets, name), names.quarantine_name(name)
    refused = Counter[str]()
    if lacking:
        refused, listed = _refused(place, quarantine, about, lacking)
        entries.append(listed)
    elif job.isolation and place.exists(quarantine):
        raise part.damaged(quarantine, "another attempt refused rows that are in the part")
    totals = Totals(
        1,
        held.rows,
        held.gradients,
        entries[0]["bytes"],
        Counter(held.by_status),
        refused,
        held.rounding,
        frozenset({int(known.get("batch_size", 0))}),
        frozenset({known.get("device", "")}),
    )
    return CheckedPart(totals, tuple(entries))


def missing(count: int, first: str) -> AttribeamError:
    """The error for parts that are not there."""
    return AttribeamError(
        "E_PART_MISSING", f"{count} parts are missing, the first is {first}; run the same command again"
    )


@contextlib.contextmanager
def _opened(place: Place, name: str) -> Iterator[BinaryIO]:
    """A file that is read more than once; a small one is fetched whole, for the store is asked once then."""
    with place.open(name) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        yield io.BytesIO(file.read()) if size <= SMALL_BYTES else file


def _listed(file: BinaryIO, name: str, rows: int) -> dict[str, Any]:
    digest, size = names.sha256_of_file(file)
    return {"file": name, "bytes": size, "sha256": digest, "rows": rows}


def _lacking(found: npt.NDArray[np.int64], shard: Shard, targets: int, name: str) -> list[int]:
    """The rows of a shard that a part has nothing of; of every other one it has as many as there are targets."""
    start, inside = shard.rows.start, (found >= shard.rows.start) & (found < shard.rows.stop)
    counts = np.bincount(found[inside] - start, minlength=shard.size)
    if not (inside.all() and ((counts == 0) | (counts == targets)).all()):
        raise part.damaged(name, "it has rows of another shard, or some too often or too rarely")
    return [int(row) for row in np.flatnonzero(counts == 0) + start]


def _refused(
    place: Place, name: str, about: part.Provenance, lacking: Sequence[int]
) -> tuple[Counter[str], dict[str, Any]]:
    if not place.exists(name):
        raise part.damaged(name, f"{len(lacking)} rows are not in the part, and this file is not there")
    with _opened(place, name) as file:
        check_part(part.read_footer(file, name), about, len(lacking), name)
        refused, listed = part.read_refused(file, name), _listed(file, name, len(lacking))
    if sorted(row for row, _ in refused) != lacking:
        raise part.damaged(name, "it is of other rows than those that are not in the part")
    return Counter(code for _, code in refused), listed


def _table(entries: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: entry.get(name) for name in LISTED.names} for entry in entries], LISTED)
