"""From files to shards: every row in exactly one, the fingerprint over what decides the values, the plan's file."""

from __future__ import annotations

import pathlib
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plan
from pipeline.plan import InputFile, make_shards, rows_per_shard
from transforms.records.examples import Layout
from transforms.records.source import FileSummary
from transforms.storage.place import open_place

FILES = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["none", "gzip"])), min_size=1, max_size=5)


def file(number: int, rows: int, codec: str = "none") -> InputFile:
    name = f"f [{number}]"
    marks = tuple(range(0, max(1, rows), 1024)) if codec == "none" else ()
    return InputFile(f"/d/{name}", name, 9, FileSummary(name, "tfrecord", rows, f"digest {number}", marks, codec))


@given(FILES, st.integers(1, 700))
def test_every_row_is_in_exactly_one_shard_in_order(files: list[tuple[int, str]], size: int) -> None:
    inputs = [file(number, rows, codec) for number, (rows, codec) in enumerate(files)]
    shards = make_shards(inputs, size)
    assert [shard.number for shard in shards] == list(range(len(shards)))
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


def test_the_plan_survives_its_file(tmp_path: pathlib.Path) -> None:
    files = [file(0, 2500), file(1, 3, "gzip")]
    shards = make_shards(files, 700)
    kinds = {"label": pa.int8(), "kept é": pa.dictionary(pa.int32(), pa.string()), "at": pa.timestamp("us", "UTC")}
    place = open_place(str(tmp_path))
    plan.write_plan(place, shards, files, Layout((), carried=kinds, lengths={"x": 7}))
    found = plan.read_plan(place)
    assert found.shards == shards
    assert found.carried == kinds
    assert found.lengths == {"x": 7}
    assert {path: (one.size, one.summary.rows) for path, one in found.files.items()} == {
        one.path: (one.size, one.summary.rows) for one in files
    }


@pytest.mark.parametrize(
    ("path", "root", "name"),
    [
        ("/a/b/c [1].parquet", "/a", "b/c [1].parquet"),
        ("/x/c.parquet", "/a", "/x/c.parquet"),
        ("s3://b/c.parquet", "/a", "s3://b/c.parquet"),
    ],
)
def test_files_are_named_relative_to_the_configuration(path: str, root: str, name: str) -> None:
    assert plan.source_name(path, pathlib.Path(root)) == name
