"""A part read in full: by the worker that wrote it, before it is published, and by whoever finds it changed."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from transforms.records import part
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard
from transforms.storage.manifest import sha256_of_file


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


@dataclasses.dataclass(frozen=True, slots=True)
class WholePart:
    """What reading a part in full found; small, for a job holds one of each of its shards.

    Attributes:
        sha256, bytes: of the file.
        rows, gradients, rounding: as in `Totals`; by_status: rows, in the order of `STATUSES`.
        batch_size, device: that its footer names.
        lacking: rows of the shard that it has nothing of.
    """

    sha256: str
    bytes: int
    rows: int
    gradients: int
    by_status: tuple[int, ...]
    rounding: tuple[float, float]
    batch_size: int
    device: str
    lacking: tuple[int, ...]

    def totals(self, refused: Counter[str]) -> Totals:
        """With what its quarantine file holds."""
        statuses = Counter(dict(zip(part.STATUSES, self.by_status, strict=True)))
        of_footer = frozenset({self.batch_size}), frozenset({self.device})
        return Totals(1, self.rows, self.gradients, self.bytes, statuses, refused, self.rounding, *of_footer)

    def listed(self, name: str) -> dict[str, Any]:
        """Its entry of `LISTED`, under its name."""
        of_rows = zip((*part.STATUSES, "gradients"), (*self.by_status, self.gradients), strict=True)
        return listed(name, self.sha256, self.bytes, self.rows) | dict(of_rows)


def read_whole(file: BinaryIO, shard: Shard, job: AttributionJob) -> WholePart:
    """Read a shard's part in full: checksums, identity, and how often it has each row of the shard.

    Raises:
        AttribeamError: E_PART_DAMAGED.
    """
    name = job.part_of(shard)
    known, held = part.read_totals(file, name)
    part.check_footer((known, held.rows), job.provenance(shard, 0, ""), held.rows, name)
    lacking = _lacking(held.source_rows, shard, job.attribution.targets, name)
    statuses = tuple(held.by_status[status] for status in part.STATUSES)
    of_footer = int(known.get("batch_size", 0)), known.get("device", "")
    return WholePart(*sha256_of_file(file), held.rows, held.gradients, statuses, held.rounding, *of_footer, lacking)


def listed(name: str, sha256: str, size: int, rows: int) -> dict[str, Any]:
    """What `LISTED` says of every file."""
    return {"file": name, "bytes": size, "sha256": sha256, "rows": rows}


def _lacking(found: npt.NDArray[np.int64], shard: Shard, targets: int, name: str) -> tuple[int, ...]:
    """The rows of a shard that a part has nothing of; of every other one it has as many as there are targets."""
    start, inside = shard.rows.start, (found >= shard.rows.start) & (found < shard.rows.stop)
    counts = np.bincount(found[inside] - start, minlength=shard.size)
    if not (inside.all() and ((counts == 0) | (counts == targets)).all()):
        raise part.damaged(name, "it has rows of another shard, or some too often or too rarely")
    return tuple(int(row) for row in np.flatnonzero(counts == 0) + start)
