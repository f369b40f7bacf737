"""`finalize_run`: every part accounted for, or no `_SUCCESS`; safe to repeat."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Mapping
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
from transforms.runs import checked_parts
from transforms.runs.checked_parts import NOTHING, check_parts
from transforms.runs.plan_file import write_plan
from transforms.runs.whole_part import WholePart
from transforms.runs.work_done import WorkDone
from transforms.storage import manifest as names
from transforms.storage.place import Place, open_place


@pytest.fixture
def ready(job_of: Any) -> tuple[RunPlan, Place]:
    """Every part published, nothing finalized."""
    return published(job_of)[:2]


def published(job_of: Any) -> tuple[RunPlan, Place, dict[int, WholePart]]:
    """The same, with what was found in each part before it was published."""
    config = job_of(datasets.keras_classifier, output={"shard_bytes": 700})
    explainer = Explainer.load(config.model, config.attribution)
    made = prepare(config, pathlib.Path("/"), explainer, plan.Known())
    place = open_place(made.job.root)
    results = [attribute_shard(shard, made.job, explainer, place) for shard in made.shards]
    place.publish_bytes(b"{}\n", names.RUN)
    write_plan(place, made.job.fingerprint, made.shards.with_files(), made.job.layout)
    planned = RunPlan(made.job, len(made.shards), made.shards.rows, 0.0, 0.0, {"x": "dense:0"})
    return planned, place, {result.number: result.whole for result in results if result.whole}


def finalize(planned: RunPlan, place: Place, known: Mapping[int, WholePart] = NOTHING) -> dict[str, Any]:
    """What the transform does, without Beam."""
    checked = (check_parts(numbers, planned.job, place, known) for numbers in every_shard(planned, place))
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


def again(planned: RunPlan, place: Place, known: Mapping[int, WholePart]) -> tuple[dict[str, Any], Any]:
    """Manifest and listing, as if nothing had been finalized before."""
    for name in {names.SUCCESS, names.MANIFEST, names.FILES} & set(place.names()):
        place.remove(name)
    manifest = finalize(planned, place, known)
    return manifest | {"seconds": None}, pq.read_table(pathlib.Path(place.root, names.FILES))


def test_parts_that_workers_have_read_are_hashed_and_say_the_same(job_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, place, known = published(job_of)
    assert len(known) == planned.shards
    manifest, listing = again(planned, place, {})

    def refuse(*_: Any) -> Any:
        raise AssertionError("a part was read again")

    monkeypatch.setattr(checked_parts, "read_whole", refuse)
    found = again(planned, place, known)
    assert found[0] == manifest and found[1].equals(listing)
    with pytest.raises(AssertionError, match="read again"):
        again(planned, place, {number: whole for number, whole in known.items() if number})


def test_a_part_that_changed_after_a_worker_read_it_is_read_again(job_of: Any) -> None:
    planned, place, known = published(job_of)
    first, second, *_ = datasets.parts(place.root)
    chunk = pq.read_metadata(first).row_group(0).column(0)
    data = bytearray(first.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    first.write_bytes(data)
    with pytest.raises(AttribeamError, match=f"E_PART_DAMAGED: {first.name}"):
        again(planned, place, known)
    shutil.copy(second, first)
    with pytest.raises(AttribeamError, match=f"E_PART_DAMAGED: {first.name}: its footer says shard='1'"):
        again(planned, place, known)


def test_another_attempts_part_is_listed_as_it_is(job_of: Any) -> None:
    planned, place, known = published(job_of)
    first = datasets.parts(place.root)[0]
    pq.write_table(pq.read_table(first), first, compression="none", write_page_checksum=True)
    _, listing = again(planned, place, known)
    digests = dict(zip(listing["file"].to_pylist(), listing["sha256"].to_pylist(), strict=True))
    assert digests[first.name] == names.sha256_of(place, first.name)[0] != known[0].sha256
