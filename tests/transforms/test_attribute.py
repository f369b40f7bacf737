"""`AttributeShards`: it travels to workers, equals its pure twin, and its errors come back as they were raised."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.internal import pickler
from apache_beam.utils import shared

from pipeline import plan
from pipeline.config import JobConfig
from pipeline.prepare import prepare
from pipeline.survey import Prepared
from transforms import attribute
from transforms.attribute import AttributeShards, attribute_shard
from transforms.attribution.explainer import Explainer
from transforms.errors import AttribeamError
from transforms.explaining import explained
from transforms.records.part_writer import PartWriter
from transforms.runs.shard import Shard
from transforms.storage.manifest import quarantine_name
from transforms.storage.place import open_place


@pytest.fixture
def config(job_of: Any) -> JobConfig:
    """Of a batch size whose bytes do not depend on what the machine does fastest."""
    parts = {"output": {"shard_bytes": 700}, "input": {"keep": ["name"], "label": "label"}}
    return job_of(datasets.keras_classifier, **parts, attribution={"batch_size": 16})


@pytest.fixture
def prepared(config: JobConfig) -> tuple[Prepared, Explainer]:
    explainer = Explainer.load(config.model, config.attribution)
    return prepare(config, pathlib.Path("/"), explainer, plan.Known()), explainer


def test_what_travels_to_workers_survives_the_journey(prepared: tuple[Prepared, Explainer]) -> None:
    job, shards = prepared[0].job, prepared[0].shards
    for value in (job, *shards):
        assert pickler.loads(pickler.dumps(value)) == value
    sent = pickler.loads(pickler.dumps(AttributeShards(job, shared.Shared())))
    assert sent._job == job


def test_the_job_publishes_what_the_function_does(
    prepared: tuple[Prepared, Explainer], config: JobConfig, tmp_path: pathlib.Path
) -> None:
    made, explainer = prepared
    twin = dataclasses.replace(made.job, root=str(tmp_path / "twin"))
    results = [attribute_shard(shard, twin, explainer, open_place(twin.root)) for shard in made.shards]
    assert len(results) > 1
    assert [result.rows for result in results] == [shard.size for shard in made.shards]
    out = datasets.launch(config).root
    by_job = datasets.read(out).drop_columns(["source_file", "row_id"])
    assert by_job.equals(datasets.read(twin.root).drop_columns(["source_file", "row_id"]))


def test_the_loser_of_a_race_adopts_the_winners_part(
    prepared: tuple[Prepared, Explainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, explainer = prepared
    place, read, results = open_place(made.job.root), attribute.read_examples, []

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(attribute, "read_examples", read)
        results.append(attribute_shard(made.shards[0], made.job, explainer, place))
        return read(*given)

    monkeypatch.setattr(attribute, "read_examples", overtaken)
    results.append(attribute_shard(made.shards[0], made.job, explainer, place))
    winner, loser = results
    assert (winner.published, loser.published) == (True, False)
    assert winner.gradients == loser.gradients > 0
    assert place.names() == [made.job.part_of(made.shards[0])]


def test_a_part_that_a_lost_worker_published_is_adopted_without_reading_its_input(
    job_of: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"label": datasets.np.array([99] * 3 + [1] * 20)}
    path = datasets.write_parquet(tmp_path / "labels.parquet", datasets.rows(23) | labels)
    config = job_of(datasets.keras_classifier, path, input={"label": "label"}, attribution={"batch_size": 16})
    explainer = Explainer.load(config.model, config.attribution)
    made = prepare(config, pathlib.Path("/"), explainer, plan.Known())
    (shard,), place = made.shards[:], open_place(made.job.root)
    first = attribute_shard(shard, made.job, explainer, place)
    monkeypatch.setattr(attribute, "read_examples", lambda *_: 1 / 0)
    second = attribute_shard(shard, made.job, explainer, place)
    assert (first.rows, first.quarantined, sum(first.refused.values())) == (20, 3, 3)
    assert (second.rows, second.quarantined, second.refused) == (20, 3, first.refused)
    assert (first.published, second.published, second.gradients) == (True, False, 0)
    pathlib.Path(made.job.root, quarantine_name(made.job.part_of(shard))).write_bytes(b"")
    with pytest.raises(AttribeamError, match="E_PART_DAMAGED"):
        attribute_shard(shard, made.job, explainer, place)


def test_a_part_that_another_plan_left_under_the_name_is_not_adopted(prepared: tuple[Prepared, Explainer]) -> None:
    made, explainer = prepared
    place = open_place(made.job.root)
    other = dataclasses.replace(made.shards[0], input_digest="another file")
    attribute_shard(other, made.job, explainer, place)
    with pytest.raises(AttribeamError, match=r"E_PART_DAMAGED.*input_digest.*again"):
        attribute_shard(made.shards[0], made.job, explainer, place)


def test_an_error_leaves_neither_a_part_nor_scratch(prepared: tuple[Prepared, Explainer]) -> None:
    made, explainer = prepared
    rows = dataclasses.replace(made.shards[0].rows, stop=10_000)
    with pytest.raises(AttribeamError, match="E_PARQUET_INVALID"):
        attribute_shard(dataclasses.replace(made.shards[0], rows=rows), made.job, explainer, open_place(made.job.root))
    assert list((pathlib.Path(made.job.root) / "_scratch").iterdir()) == []
    assert open_place(made.job.root).names() == []


def test_a_part_that_is_not_as_it_was_written_is_not_published(
    prepared: tuple[Prepared, Explainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoilt(PartWriter):
        def __exit__(self, *error: Any) -> None:
            super().__exit__(*error)
            with self.path.open("r+b") as file:
                file.seek(-2000, 2)
                (byte,) = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))

        def __init__(self, path: pathlib.Path, schema: Any) -> None:
            super().__init__(path, schema)
            self.path = path

    made, explainer = prepared
    place = open_place(made.job.root)
    monkeypatch.setattr(attribute, "PartWriter", Spoilt)
    with pytest.raises(AttribeamError, match="E_PART_DAMAGED"):
        attribute_shard(next(iter(made.shards)), made.job, explainer, place)
    assert not list(place.names())


def test_a_workers_error_keeps_its_code_and_kind(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "page [while running 'x'].parquet"
    pq.write_table(pa.table({"pixels": [[1.0, 2.0, 3.0, 4.0]] * 40}), path, row_group_size=10, write_page_checksum=True)
    data, column = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(3).column(0)
    data[column.data_page_offset + column.total_compressed_size - 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(AttribeamError) as caught:
        datasets.launch(job_of(datasets.linear, path, output={"shard_bytes": 800}, input={"label": None}))
    assert (type(caught.value), caught.value.code) == (AttribeamError, "E_PARQUET_INVALID")
    assert f"{path.name} rows 30 to 39 cannot be read" in str(caught.value)
    assert "AttributeShards" not in str(caught.value)


@pytest.fixture
def bundle(prepared: tuple[Prepared, Explainer]) -> Iterator[Any]:
    """bundle(shards) → what a worker gives for a bundle of them."""
    made, explainer = prepared
    worker = attribute._AttributeShard(made.job, shared.Shared())
    worker._handle = type("Handle", (), {"acquire": staticmethod(lambda load: explainer)})
    worker.setup()

    def results(shards: list[Shard]) -> list[Any]:
        worker.start_bundle()
        found = [result for shard in shards for result in worker.process(shard)]
        return found + [last.value for last in worker.finish_bundle()]

    yield results
    worker.teardown()


def test_a_shard_begins_before_the_one_before_it_is_done(
    bundle: Any, prepared: tuple[Prepared, Explainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def meet(shard: Shard, *worker: Any) -> Any:
        both.wait(timeout=60)
        return attribute_shard(shard, *worker)

    monkeypatch.setattr(attribute, "attribute_shard", meet)
    shards = prepared[0].shards[:2]
    assert [result.number for result in bundle(shards)] == [shard.number for shard in shards]


def test_what_is_under_way_is_published_when_a_shard_fails(bundle: Any, prepared: tuple[Prepared, Explainer]) -> None:
    made = prepared[0]
    broken, whole = made.shards[:2]
    rows = dataclasses.replace(broken.rows, stop=10_000)
    with pytest.raises(AttribeamError, match="E_PARQUET_INVALID"):
        bundle([dataclasses.replace(broken, rows=rows), whole])
    assert open_place(made.job.root).names() == [made.job.part_of(whole)]


def test_a_shard_that_cannot_be_written_does_not_hold_up_the_next(
    bundle: Any, prepared: tuple[Prepared, Explainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, whole = prepared[0], explained.record_batch
    first, second = made.shards[:2]
    rows = {first.rows.start}

    def full(examples: Any, *rest: Any) -> Any:
        if rows & set(examples.source_rows.tolist()):
            raise OSError("no space left on device")
        return whole(examples, *rest)

    monkeypatch.setattr(explained, "record_batch", full)
    monkeypatch.setattr(attribute, "chunk_rows", lambda layout, explainer: 1)  # it fails while there is more to be fed
    with pytest.raises(OSError, match="no space left"):
        bundle([first, second])
    assert open_place(made.job.root).names() == [made.job.part_of(second)]
