"""Inputs of a run's rows, read again: the values that were explained, and a reason where they cannot be had."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import datasets
import numpy as np
import pyarrow as pa
import pytest

from pipeline.audit_originals import NEAR_ROWS, _runs, read_originals
from transforms.records.examples import Layout
from transforms.records.source import index_file
from transforms.runs.plan_file import write_plan
from transforms.runs.shard import InputFile, Shard
from transforms.storage.manifest import RUN
from transforms.storage.place import Place, open_place

FINGERPRINT = "f" * 64
FEATURES = {"x": {"column": "pixels", "shape": [datasets.VALUES], "scale": 0.5, "offset": 1.0}, "open": "age"}


def planned(out: pathlib.Path, path: pathlib.Path, output: Mapping[str, object] | None = None) -> Place:
    """A run's directory, as far as its inputs are read by it: its configuration, and a plan of two shards."""
    with path.open("rb") as file:
        summary = index_file(file, path.name, None)
    input_file = InputFile(str(path), path.name, path.stat().st_size, summary)
    bounds = [(0, 10), (10, summary.rows)]
    shards = [
        Shard(number, str(path), path.name, summary.format, summary.codec, summary.range(*bound), summary.digest)
        for number, bound in enumerate(bounds)
    ]
    place = open_place(str(out))
    write_plan(place, FINGERPRINT, ((shard, input_file) for shard in shards), Layout(inputs=()))
    config = {
        "model": {"path": "m"},
        "input": {"files": str(path), "features": FEATURES},
        "output": {"path": str(out), **(output or {})},
    }
    place.publish_bytes(json.dumps({"config": config, "fingerprint": FINGERPRINT}).encode(), RUN)
    return place


def wanted(path: pathlib.Path, rows: list[int]) -> pa.Table:
    return pa.table({"source_file": [path.name] * len(rows), "source_row": rows})


@pytest.mark.parametrize("kind", datasets.FORMATS)
def test_the_values_that_were_explained(inputs: dict[str, pathlib.Path], tmp_path: pathlib.Path, kind: str) -> None:
    path = inputs[kind]
    found = read_originals(planned(tmp_path / "out", path), wanted(path, [22, 3, 9, 10]), {"open": [1]})
    assert set(found.rows) == {(path.name, row) for row in (3, 9, 10, 22)}
    rows = datasets.rows()
    for row in (3, 9, 10, 22):
        values = found.of(path.name, row)
        assert np.array_equal(values["x"], (rows["pixels"][row].astype(np.float64) * 0.5 + 1).astype(np.float32))
        assert np.array_equal(values["open"], rows["age"][row])
    assert not found.reasons and found.of(path.name, 4) == {}


def test_an_input_that_is_not_explained_is_left_out(inputs: dict[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    path = inputs["parquet"]
    found = read_originals(planned(tmp_path / "out", path), wanted(path, [3]), {})
    assert list(found.of(path.name, 3)) == ["x"]
    assert not found.reasons


@pytest.mark.parametrize(
    ("output", "said"),
    [({"reduce": {"open": [0]}}, 1), ({"groups": {"open": {"all": [0]}}}, 0)],
    ids=["reduce", "groups"],
)
def test_an_input_whose_shape_is_not_known_is_left_out(
    inputs: dict[str, pathlib.Path], tmp_path: pathlib.Path, output: dict[str, object], said: int
) -> None:
    """Its map has another shape; of groups, which have no value of their own, nothing is missed."""
    path = inputs["parquet"]
    found = read_originals(planned(tmp_path / "out", path, output), wanted(path, [3]), {"open": [1]})
    assert list(found.of(path.name, 3)) == ["x"]
    assert len(found.reasons) == said and all("'open'" in reason for reason in found.reasons)


def test_a_file_that_is_gone_or_another_is_said(inputs: dict[str, pathlib.Path], tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "rows.parquet"
    copy.write_bytes(inputs["parquet"].read_bytes())
    place = planned(tmp_path / "out", copy)
    datasets.write_parquet(copy, datasets.rows(seed=2))
    changed = read_originals(place, wanted(copy, [3]), {"open": [1]})
    assert not changed.rows and "no longer the file" in changed.reasons[0]
    copy.unlink()
    gone = read_originals(place, wanted(copy, [3]), {"open": [1]})
    assert not gone.rows and "rows.parquet" in gone.reasons[0]


def test_a_directory_that_is_no_run_is_said(tmp_path: pathlib.Path) -> None:
    found = read_originals(open_place(str(tmp_path)), wanted(tmp_path, [3]), {})
    assert not found.rows and "E_RUN_MISSING" in found.reasons[0]


def test_rows_that_are_near_are_read_in_one_go() -> None:
    near = 5 + NEAR_ROWS
    assert list(_runs([5], NEAR_ROWS)) == [range(5, 6)]
    assert list(_runs([5, near, near + NEAR_ROWS + 1], NEAR_ROWS)) == [
        range(5, near + 1),
        range(near + 1025, near + 1026),
    ]
