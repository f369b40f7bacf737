"""Parts that are no longer what they were: found, and moved aside so that they are computed anew."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Iterable, Mapping

import numpy as np

from transforms import errors
from transforms.overlap import side_by_side
from transforms.records import part
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.checked_parts import PARTS_AT_ONCE, check_shard
from transforms.runs.file_list import read_file_list
from transforms.runs.plan_file import pieces, read_shards
from transforms.runs.shard import Shard
from transforms.storage import manifest as names
from transforms.storage.place import Place

log = logging.getLogger(__name__)


def still_finished(job: AttributionJob, shards: int, place: Place) -> bool:
    """Whether the run is finished and whole; what vouches for one that is not is removed.

    Nothing is removed while there is no `_SUCCESS`: where nothing locks, another launcher may be about to publish it.

    Args:
        shards: how many the plan has.
    """
    if not place.exists(names.SUCCESS):
        return False
    pinned = _pinned(place)
    if pinned is not None:
        set_damaged_aside(job, shards, place, pinned)
        if place.exists(names.SUCCESS) and names.published(place.names(), job.fingerprint, shards)[0].all():
            return True
    withdraw(place)
    return False


def set_damaged_aside(job: AttributionJob, shards: int, place: Place, pinned: Mapping[str, str]) -> None:
    """Read every part that is there in full, and move those away that are damaged; their inputs are not opened.

    What vouches for the parts goes before any of them: whoever finds `_SUCCESS` finds every part, also when this is
    interrupted. All are read before that, since it takes with it what they are compared with.

    Args:
        shards: how many the plan has.
        pinned: by file, the sha256 that a finished run vouches for.
    """
    done, _ = names.published(place.names(), job.fingerprint, shards)
    faults = list[tuple[str, str]]()
    for numbers in pieces(np.flatnonzero(done).tolist()):
        some = read_shards(place, job.fingerprint, numbers)
        found = side_by_side(lambda shard: _fault(shard, job, place, pinned), some, PARTS_AT_ONCE)
        faults += [fault for fault in found if fault]
    if faults:
        withdraw(place)
        _move(place, faults)


def withdraw(place: Place) -> None:
    """Remove what makes a run final, `_SUCCESS` first, or what an interrupted finalize left; never a part."""
    for name in (names.SUCCESS, names.MANIFEST, names.FILES):
        if place.exists(name):
            place.remove(name)


def _pinned(place: Place) -> dict[str, str] | None:
    """By file, the sha256 that a finished run vouches for; None when its records are damaged."""
    try:
        pinned = names.read_manifest(place)["files_sha256"].get(names.FILES)
        if not place.exists(names.FILES) or names.sha256_of(place, names.FILES)[0] != pinned:
            return None
        return {name: row["sha256"] for name, row in read_file_list(place).items()}
    except errors.StoreError:
        raise
    except errors.AttribeamError:
        return None


def _fault(shard: Shard, job: AttributionJob, place: Place, pinned: Mapping[str, str]) -> tuple[str, str] | None:
    """The part's name, and what is wrong with it or its quarantine file."""
    name = job.part_of(shard)
    try:
        for entry in check_shard(shard, job, place).entries:
            if pinned.get(entry["file"], entry["sha256"]) != entry["sha256"]:
                raise part.damaged(entry["file"], "it is no longer the file that the manifest vouches for")
    except errors.StoreError:
        raise
    except errors.AttribeamError as error:
        return name, str(error)
    return None


def _move(place: Place, faults: Iterable[tuple[str, str]]) -> None:
    for name, fault in faults:
        log.warning("%s; moved to %s", fault, names.DAMAGED)
        for damaged in (name, names.quarantine_name(name)):
            if place.exists(damaged):
                place.set_aside(damaged, f"{names.DAMAGED}/{time.time_ns()}-{pathlib.PurePosixPath(damaged).name}")
