"""Published parts and their quarantine files: checked, counted, and listed with their sha256."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa

from transforms.errors import AttribeamError
from transforms.overlap import side_by_side
from transforms.records import part
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.file_list import LISTED
from transforms.runs.plan_file import read_shards
from transforms.runs.shard import Shard
from transforms.runs.whole_part import Totals, WholePart, listed, read_whole
from transforms.storage import manifest as names
from transforms.storage.place import Place

# Parts read at once: checksums on several cores, waits of an object store side by side; each holds one row group.
PARTS_AT_ONCE = 4
SMALL_BYTES = 2**20
NOTHING: Mapping[int, WholePart] = types.MappingProxyType({})


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


def check_parts(
    numbers: Sequence[int], job: AttributionJob, place: Place, known: Mapping[int, WholePart] = NOTHING
) -> CheckedParts:
    """`check_shard` for the shards of these numbers, a few at once.

    Args:
        known: by number, what the workers that published them found in them.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING, E_PLAN_DAMAGED.
    """
    shards = read_shards(place, job.fingerprint, numbers)
    check = functools.partial(check_shard, job=job, place=place)
    found = list(side_by_side(lambda shard: check(shard, known=known.get(shard.number)), shards, PARTS_AT_ONCE))
    entries = itertools.chain.from_iterable(one.entries for one in found)
    return CheckedParts(sum((one.totals for one in found), Totals()), _table(entries))


def check_shard(shard: Shard, job: AttributionJob, place: Place, known: WholePart | None = None) -> CheckedPart:
    """Read a published part and its quarantine file in full: checksums, identity, and each row of the shard in one of
    the two, whoever wrote them.

    Args:
        known: what was found in the part before it was published; if it still is that file to the byte, it is hashed
            only.

    Raises:
        AttribeamError: E_PART_DAMAGED, E_PART_MISSING.
    """
    name = job.part_of(shard)
    try:
        with _opened(place, name) as file:
            same = known and names.sha256_of_file(file) == (known.sha256, known.bytes)
            whole = known if known and same else read_whole(file, shard, job)
    except FileNotFoundError as error:
        raise missing(1, name) from error
    if not whole.lacking:
        if job.isolation and place.exists(names.quarantine_name(name)):
            raise part.damaged(names.quarantine_name(name), "another attempt refused rows that are in the part")
        return CheckedPart(whole.totals(Counter()), (whole.listed(name),))
    refused, quarantined = _refused(place, names.quarantine_name(name), job.provenance(shard, 0, ""), whole.lacking)
    return CheckedPart(whole.totals(refused), (whole.listed(name), quarantined))


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


def _refused(
    place: Place, name: str, about: part.Provenance, lacking: Sequence[int]
) -> tuple[Counter[str], dict[str, Any]]:
    if not place.exists(name):
        raise part.damaged(name, f"{len(lacking)} rows are not in the part, and this file is not there")
    with _opened(place, name) as file:
        part.check_footer(part.read_footer(file, name), about, len(lacking), name)
        refused, identity = part.read_refused(file, name), names.sha256_of_file(file)
    if sorted(row for row, _ in refused) != list(lacking):
        raise part.damaged(name, "it is of other rows than those that are not in the part")
    return Counter(code for _, code in refused), listed(name, *identity, len(lacking))


def _table(entries: Iterable[Mapping[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{name: entry.get(name) for name in LISTED.names} for entry in entries], LISTED)
