"""The names of a run's files, and the two that make it final: `_manifest.json` and `_SUCCESS`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from transforms.errors import AttribeamError, quoted
from transforms.storage.place import Place

RUN, PLAN, FILES, MANIFEST, SUCCESS = "_run.json", "_plan.parquet", "_files.parquet", "_manifest.json", "_SUCCESS"
BASELINES = "_baselines.parquet"
QUARANTINE, DAMAGED, PILOT = "_quarantine", "_quarantine/damaged", "_pilot"
EVALUATION = "_evaluation"
COMPARISON = "_compare"
DRAFT = "_draft"
PART = re.compile(r"part-(\d{5,})-([0-9a-f]{12})\.parquet")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
CHUNK_BYTES = 2**20
# What is read of the two records, and of which kind each must be.
_RUN_KINDS = {"fingerprint": str, "decides": dict, "config": dict, "files_sha256": dict}
_COUNTS = ("shards", "input_rows", "rows", "quarantined", "targets")
_MANIFEST_KINDS = {"fingerprint": str, "rows_by_status": dict, "files_sha256": dict} | dict.fromkeys(_COUNTS, int)


def part_name(fingerprint: str, shard: int) -> str:
    """The name of a shard's part: it depends on what is computed, never on the attempt."""
    identity = hashlib.sha256(f"{fingerprint}/{shard}".encode()).hexdigest()[:12]
    return f"part-{shard:05d}-{identity}.parquet"


def published(names: Iterable[str], fingerprint: str, shards: int) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Which shards have a part, bool [shards], and those of the names that are parts of none of them."""
    found, foreign = np.zeros(shards, bool), []
    for name in names:
        if name.startswith("part-"):
            match = PART.fullmatch(name)
            number = int(match[1]) if match else shards
            if number < shards and name == part_name(fingerprint, number):
                found[number] = True
            else:
                foreign.append(name)
    return found, sorted(foreign)


def quarantine_name(part: str) -> str:
    """The file that holds the refused rows of a part's shard."""
    return f"{QUARANTINE}/{part}"


def is_quarantine(name: str, names: Container[str]) -> bool:
    """Whether the file holds the refused rows of a part that is among the names."""
    folder, _, part = name.rpartition("/")
    return folder == QUARANTINE and part in names


def to_json(value: Any) -> bytes:
    """Canonical JSON: the same value gives the same bytes."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def sha256_of(place: Place, name: str) -> tuple[str, int]:
    """The sha256 (hex) and size in bytes of a file."""
    with place.open(name) as file:
        return sha256_of_file(file)


def sha256_of_file(file: BinaryIO) -> tuple[str, int]:
    """The sha256 (hex) and size in bytes of an open file, from its beginning."""
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def write_success(place: Place, manifest: bytes) -> None:
    """Make the run final: the manifest, then its sha256 as `_SUCCESS`.

    Whoever comes second adopts the first one's manifest, so that the two always agree, unless it is of other files.

    Raises:
        AttribeamError: E_RUN_STALE.
    """
    place.publish_bytes(manifest, MANIFEST)
    kept = place.read(MANIFEST)
    if _pins(kept) != _pins(manifest):
        raise stale(place, MANIFEST)
    place.publish_bytes(_vouching(kept), SUCCESS)


def stale(place: Place, name: str) -> AttribeamError:
    """The error for a record of files that are there no more as it says."""
    return AttribeamError(
        "E_RUN_STALE",
        f"{place.root}/{name} is of other files than those that are there: an earlier run left it unfinished; run the"
        " same command again",
    )


def read_manifest(place: Place) -> dict[str, Any]:
    """The manifest of a finished run.

    Raises:
        AttribeamError: E_RUN_UNFINISHED without `_SUCCESS`; E_MANIFEST_DAMAGED when it is not the manifest's sha256;
            E_RUN_DAMAGED when what it vouches for is no manifest.
    """
    if not (place.exists(MANIFEST) and place.exists(SUCCESS)):
        raise AttribeamError(
            "E_RUN_UNFINISHED", f"{place.root} has no {SUCCESS}: the run is not finished; `attribeam status` tells more"
        )
    data = place.read(MANIFEST)
    if place.read(SUCCESS) != _vouching(data):
        raise AttribeamError(
            "E_MANIFEST_DAMAGED",
            f"{place.root}/{MANIFEST} is not what {SUCCESS} vouches for: one of them was changed after the run",
        )
    return _checked(_parsed(data, place, MANIFEST), _MANIFEST_KINDS, place, MANIFEST)


def read_run(place: Place) -> dict[str, Any]:
    """`_run.json`.

    Raises:
        AttribeamError: E_RUN_MISSING when it is not there, E_RUN_DAMAGED when it does not say what a run is.
    """
    return _checked(read_json(place, RUN), _RUN_KINDS, place, RUN)


def read_json(place: Place, name: str) -> dict[str, Any]:
    """One of the run's JSON files.

    Raises:
        AttribeamError: E_RUN_MISSING when it is not there, E_RUN_DAMAGED when it is no JSON object.
    """
    if not place.exists(name):
        raise AttribeamError("E_RUN_MISSING", f"{place.root} has no {name}: it is not the directory of a run")
    return _parsed(place.read(name), place, name)


def _vouching(manifest: bytes) -> bytes:
    return hashlib.sha256(manifest).hexdigest().encode() + b"\n"


def _parsed(data: bytes, place: Place, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    # ValueError: also bytes that are no text, and integers of thousands of digits
    except (ValueError, RecursionError) as error:
        raise _run_damaged(place, name, "is no JSON object") from error
    if not isinstance(value, dict):
        raise _run_damaged(place, name, "is no JSON object")
    return value


def _checked(value: dict[str, Any], kinds: Mapping[str, type], place: Place, name: str) -> dict[str, Any]:
    for key, kind in kinds.items():
        if type(value.get(key)) is not kind:
            raise _run_damaged(place, name, f"has {quoted(value.get(key))} under {key!r}, which is no {kind.__name__}")
    if not _FINGERPRINT.fullmatch(value["fingerprint"]):
        raise _run_damaged(place, name, f"has the fingerprint {quoted(value['fingerprint'])}, which is no sha256")
    return value


def _run_damaged(place: Place, name: str, found: str) -> AttribeamError:
    return AttribeamError("E_RUN_DAMAGED", f"{place.root}/{name} {found}; move the directory away and run again")


def _pins(manifest: bytes) -> Any:
    """By name, the digests that a manifest holds; None when it is no manifest."""
    try:
        return json.loads(manifest)["files_sha256"]
    except (ValueError, KeyError, TypeError):
        return None
