"""From files to shards: every row in exactly one, the fingerprint over what decides the values, the plan's file."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import plan
from pipeline.plan import Shards, rows_per_shard
from transforms.errors import AttribeamError
from transforms.records.examples import Layout
from transforms.records.source import FileSummary
from transforms.runs import plan_file
from transforms.runs.plan_file import PLAN, finished_files, read_layout, read_shards, read_sizes, write_plan
from transforms.runs.shard import InputFile
from transforms.storage.place import Place, open_place

KINDS = {"label": pa.int8(), "kept é": pa.dictionary(pa.int32(), pa.string()), "at": pa.timestamp("us", "UTC")}
FILES = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["none", "gzip"])), min_size=1, max_size=5)


def file(number: int, rows: int, codec: str = "none") -> InputFile:
    name = f"f [{number}]"
    marks = tuple(range(0, max(1, rows), 1024)) if codec == "none" else ()
    return InputFile(f"/d/{name}", name, 9, FileSummary(name, "tfrecord", rows, f"digest {number}", marks, codec))


@given(FILES, st.integers(1, 700))
def test_every_row_is_in_exactly_one_shard_in_order(files: list[tuple[int, str]], size: int) -> None:
    inputs = [file(number, rows, codec) for number, (rows, codec) in enumerate(files)]
    planned = Shards(inputs, size)
    shards = list(planned)
    assert [shard.number for shard in shards] == list(range(len(planned)))
    assert planned[len(shards) // 2 :][:1] == shards[len(shards) // 2 :][:1]
    assert planned.rows == sum(rows for rows, _ in files)
    found = [(shard.path, row) for shard in shards for row in range(shard.rows.start, shard.rows.stop)]
    assert found == [(one.path, row) for one in inputs for row in range(one.summary.rows)]
    for shard in shards:
        assert shard.codec != "none" or 0 < shard.size <= size
        assert shard.rows.offset_row <= shard.rows.start


@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 10**9))
def test_a_shard_holds_at_most_shard_bytes(rows: int, row_bytes: int, shard_bytes: int) -> None:
    size = rows_per_shard(rows, row_bytes, shard_bytes)
    assert size >= 1
    assert size == 1 or size * row_bytes <= shard_bytes


def test_the_fingerprint_is_of_contents_and_settings_not_of_paths(job_of: Any) -> None:
    files = [file(0, 9)]
    job = job_of(datasets.linear)

    def printed(other: Any = job, digest: str = "m", listing: Any = files) -> str:
        return plan.fingerprint(plan.deciding_values(other, digest, listing))

    moved = job_of(datasets.linear, out="elsewhere", limits={"quarantined": 0.9})
    assert printed(moved) == printed()
    changed = [
        printed(digest="another model"),
        printed(listing=[file(1, 9)]),
        printed(job_of(datasets.linear, attribution={"steps": 9})),
        printed(job_of(datasets.linear, attribution={"batch_size": 9})),
        printed(job_of(datasets.linear, output={"dtype": "float16"})),
        printed(job_of(datasets.linear, output={"shard_bytes": 77})),
        printed(job_of(datasets.linear, input={"keep": ["age"]})),
    ]
    assert len({printed(), *changed}) == len(changed) + 1


@pytest.fixture
def written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Place, list[InputFile], Shards]:
    """The plan of three files in row groups of two shards."""
    monkeypatch.setattr(plan_file, "GROUP_SHARDS", 2)
    files = [file(0, 2500), file(1, 3, "gzip"), file(2, 900)]
    shards, place = Shards(files, 700), open_place(str(tmp_path))
    write_plan(place, "print", shards.with_files(), Layout((), carried=KINDS, lengths={"x": 7}))
    return place, files, shards


def test_the_plan_survives_its_file(written: tuple[Place, list[InputFile], Shards]) -> None:
    place, _, shards = written
    assert read_shards(place, "print", range(len(shards))) == list(shards)
    assert read_sizes(place).tolist() == [shard.size for shard in shards]
    assert read_layout(place) == (KINDS, {"x": 7})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_of_its_shards_can_be_read_alone(
    written: tuple[Place, list[InputFile], Shards], data: st.DataObject
) -> None:
    place, _, shards = written
    numbers = sorted(data.draw(st.sets(st.integers(0, len(shards) - 1), min_size=1)))
    assert read_shards(place, "print", numbers) == [shards[number] for number in numbers]


def test_another_runs_plan_and_one_that_is_too_short_are_refused(
    written: tuple[Place, list[InputFile], Shards],
) -> None:
    place, _, shards = written
    with pytest.raises(AttribeamError, match="E_PLAN_DAMAGED"):
        read_shards(place, "another", [0])
    with pytest.raises(AttribeamError, match=f"E_PLAN_DAMAGED.*{PLAN}"):
        read_shards(place, "print", [0, len(shards)])


def test_a_file_is_finished_when_its_every_shard_is(written: tuple[Place, list[InputFile], Shards]) -> None:
    place, files, shards = written
    done = np.ones(len(shards), bool)
    done[1] = False  # the second piece of the first file
    known = [dataclasses.replace(one, summary=dataclasses.replace(one.summary, offsets=())) for one in files[1:]]
    assert finished_files(place, done) == {one.path: one for one in known}
    assert len(finished_files(place, ~done)) == 0


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/a/b/c [1].parquet", "/a", "b/c [1].parquet"),
        ("/x/c.parquet", "/a", "/x/c.parquet"),
        ("/ab/c.parquet", "/a", "/ab/c.parquet"),
        ("/b/c.parquet", "/", "b/c.parquet"),
        ("s3://b/c.parquet", "/a", "s3://b/c.parquet"),
    ],
)
def test_files_are_named_relative_to_the_configuration(path: str, root: str, name: str) -> None:
    assert plan.source_name(path, pathlib.Path(root)) == name
