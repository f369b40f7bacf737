"""`finalize_run`: every part accounted for, or no `_SUCCESS`; safe to repeat."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from pipeline import plan
from pipeline.prepare import prepare
from transforms.attribute import attribute_shard
from transforms.attribution.explainer import Explainer
from transforms.errors import AttribeamError
from transforms.finalize import RunPlan, every_shard, finalize_run
from transforms.runs.checked_parts import check_parts
from transforms.runs.plan_file import write_plan
from transforms.runs.work_done import WorkDone
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place


@pytest.fixture
def ready(job_of: Any) -> tuple[RunPlan, Place]:
    """Every part published, nothing finalized."""
    config = job_of(datasets.keras_classifier, output={"shard_bytes": 700})
    explainer = Explainer.load(config.model, config.attribution)
    made = prepare(config, pathlib.Path("/"), explainer, plan.Known())
    place = open_place(made.job.root)
    for shard in made.shards:
        attribute_shard(shard, made.job, explainer, place)
    place.publish_bytes(b"{}\n", names.RUN)
    write_plan(place, made.job.fingerprint, made.shards.with_files(), made.job.layout)
    return RunPlan(made.job, len(made.shards), made.shards.rows, 0.0, 0.0, {"x": "dense:0"}), place


def finalize(planned: RunPlan, place: Place) -> dict[str, Any]:
    """What the transform does, without Beam."""
    checked = (check_parts(numbers, planned.job, place) for numbers in every_shard(planned, place))
    return finalize_run(planned, place, checked, WorkDone())


def test_it_is_safe_to_repeat(ready: tuple[RunPlan, Place]) -> None:
    planned, place = ready
    first = finalize(planned, place)
    before = {name: place.read(name) for name in place.names()}
    assert finalize(planned, place).keys() == first.keys()
    assert {name: place.read(name) for name in place.names()} == before
    assert names.read_manifest(place) == first
    assert (first["targets"], first["hoisted"], first["out_of_memory"]) == (1, {"x": "dense:0"}, 0)
    assert first["rows"] == first["input_rows"] == datasets.ROWS
    assert first["shards"] == first["resumed_shards"] == planned.shards


def fail(ready: tuple[RunPlan, Place], code: str, *parts: str) -> None:
    planned, place = ready
    with pytest.raises(AttribeamError) as caught:
        finalize(planned, place)
    assert caught.value.code == code
    for part in parts:
        assert part in str(caught.value)
    assert not {names.SUCCESS, names.MANIFEST} & set(place.names())


def test_a_missing_part_is_named(ready: tuple[RunPlan, Place]) -> None:
    lost = datasets.parts(ready[1].root)[1]
    lost.unlink()
    fail(ready, "E_PART_MISSING", lost.name, "run the same command again")


def test_a_foreign_part_is_named(ready: tuple[RunPlan, Place]) -> None:
    foreign = "part-00000-000000000000.parquet"
    shutil.copy(datasets.parts(ready[1].root)[0], pathlib.Path(ready[1].root, foreign))
    fail(ready, "E_PART_FOREIGN", foreign, "move")


def test_a_part_with_another_shards_rows_is_named(ready: tuple[RunPlan, Place]) -> None:
    first, second, *_ = datasets.parts(ready[1].root)
    shutil.copy(first, second)
    fail(ready, "E_PART_DAMAGED", second.name, "shard")


def test_a_part_that_was_cut_is_named(ready: tuple[RunPlan, Place]) -> None:
    path = datasets.parts(ready[1].root)[0]
    path.write_bytes(path.read_bytes()[:-30])
    fail(ready, "E_PART_DAMAGED", path.name, "run the same command again")


def stale_listing(place: Place) -> None:
    """One of an earlier time: another part stood there."""
    path = pathlib.Path(place.root, names.FILES)
    table = pq.read_table(path)
    sizes = table["bytes"].to_pylist()
    pq.write_table(table.set_column(1, "bytes", [[size + 1 for size in sizes]]), path)


def stale_manifest(place: Place) -> None:
    path = pathlib.Path(place.root, names.MANIFEST)
    path.write_bytes(path.read_bytes().replace(b'"_files.parquet": "', b'"_files.parquet": "0'))


@pytest.mark.parametrize("stale", [stale_listing, stale_manifest])
def test_a_record_of_other_files_is_not_adopted(ready: tuple[RunPlan, Place], stale: Any) -> None:
    finalize(*ready)
    place = ready[1]
    place.remove(names.SUCCESS)
    stale(place)
    with pytest.raises(AttribeamError, match=r"E_RUN_STALE: .*run the same command again"):
        finalize(*ready)
    assert not place.exists(names.SUCCESS)


def test_a_listing_in_another_order_is_adopted(ready: tuple[RunPlan, Place]) -> None:
    finalize(*ready)
    place = ready[1]
    for name in (names.SUCCESS, names.MANIFEST):
        place.remove(name)
    path = pathlib.Path(place.root, names.FILES)
    pq.write_table(pq.read_table(path).sort_by([("file", "descending")]), path)
    finalize(*ready)
    assert names.read_manifest(place)["shards"] == ready[0].shards
