"""What the baselines take of the dataset: computed once, before `_run.json` is written, which then vouches for it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.prepare import Prepared
from transforms.dataset_baselines import BaselinePlan
from transforms.references_file import check_references, fingerprint_of
from transforms.storage import manifest as names
from transforms.storage.place import Place


def pin_baselines(
    prepared: Prepared, classes: int, place: Place, compute: Callable[[BaselinePlan], None]
) -> str | None:
    """The sha256 of `_baselines.parquet`, which is computed unless this run has it; None when nothing is wanted.

    A file that `_run.json` does not vouch for yet was left by a launcher that was killed. It is kept when it is of
    this run, else removed: nothing was computed from it.

    Args:
        prepared: of a directory where no other run stands.
        classes: entries of the model's output.
        compute: publishes the file.

    Raises:
        AttribeamError: E_BASELINES_DAMAGED, and what `compute` raises.
    """
    if not prepared.request.inputs:
        return None
    if place.exists(names.RUN):
        pinned: str = names.read_json(place, names.RUN)["files_sha256"][names.BASELINES]
        check_references(place, pinned)
        return pinned
    if fingerprint_of(place) != prepared.job.fingerprint:
        if place.exists(names.BASELINES):
            place.remove(names.BASELINES)
        compute(BaselinePlan(prepared.job, len(prepared.shards), prepared.request, classes))
    return names.sha256_of(place, names.BASELINES)[0]
