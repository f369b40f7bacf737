"""What the baselines take of the dataset: drafted before `_run.json` is written, which vouches for it, published after.

A draft stands in a folder named by its fingerprint, so that configurations which begin together in one place do not
meet before one of them has claimed it.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable

from pipeline.survey import Prepared
from transforms.dataset_baselines import BaselinePlan
from transforms.runs.plan_file import fingerprint_of, write_plan
from transforms.runs.references_file import check_references
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place


def draft_baselines(
    prepared: Prepared, classes: int, place: Place, compute: Callable[[BaselinePlan], None]
) -> str | None:
    """The sha256 that `_run.json` has to pin; None when nothing is wanted.

    What a launcher that was killed had drafted is kept.

    Args:
        prepared: of a directory where no other run stands.
        classes: entries of the model's output.
        compute: publishes `_baselines.parquet` in the place that the plan's job names.
    """
    if not prepared.request.inputs:
        return None
    if place.exists(names.RUN):
        return _pinned(place)
    draft, job = _draft(place, prepared), prepared.job
    if not draft.exists(names.BASELINES):
        if fingerprint_of(draft) is None:
            write_plan(draft, job.fingerprint, prepared.shards.with_files(), job.layout)
        job = dataclasses.replace(job, root=draft.root)
        compute(BaselinePlan(job, len(prepared.shards), prepared.request, classes))
    return names.sha256_of(draft, names.BASELINES)[0]


def publish_baselines(prepared: Prepared, place: Place) -> str | None:
    """The sha256 that `_run.json`, which is this run's now, vouches for; the file stands there.

    Raises:
        AttribeamError: E_BASELINES_DAMAGED.
    """
    pinned = _pinned(place) if prepared.request.inputs else None
    if pinned is not None:
        draft = _draft(place, prepared)
        if _digest(place) != pinned and _digest(draft) == pinned:
            _copy(draft, place)
        check_references(place, pinned)
    place.clear(names.DRAFT)
    return pinned


def _draft(place: Place, prepared: Prepared) -> Place:
    return open_place(f"{place.root}/{names.DRAFT}/{prepared.job.fingerprint[:12]}")


def _pinned(place: Place) -> str:
    return str(names.read_run(place)["files_sha256"].get(names.BASELINES))


def _digest(place: Place) -> str | None:
    return names.sha256_of(place, names.BASELINES)[0] if place.exists(names.BASELINES) else None


def _copy(draft: Place, place: Place) -> None:
    """In place of another that stands there, from which nothing was computed: `_run.json` did not vouch for it."""
    with place.scratch() as scratch:
        with draft.open(names.BASELINES) as source, (scratch / "baselines").open("wb") as target:
            shutil.copyfileobj(source, target)
        if place.exists(names.BASELINES):
            place.remove(names.BASELINES)
        place.publish(scratch / "baselines", names.BASELINES)
