"""Whole runs with `output.groups`, `output.top` and float16: what the files say beside a run that writes everything."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import attributions, launch, read
from rich.console import Console

from pipeline.preview import preview
from transforms.errors import UsageError
from transforms.runs.verify import completeness_faults, verify_run
from transforms.storage.place import open_place

SMALL = {"batch_size": 16}  # the same bytes in every run
# delta, output and baseline_output are float32, as are the values: a rounding of 2^-24 for each, of sums below 32
SUMS = 32 * 8 * 2.0**-24


def held(out: Any) -> pa.Table:
    """A run's rows, once `verify --deep` has found no fault."""
    assert verify_run(open_place(out.root), deep=True) == []
    return read(out.root)


def lists(table: pa.Table, name: str) -> np.ndarray:
    return np.array(table[name].to_pylist(), dtype=float)


def sums(out: Any) -> np.ndarray:
    """Σ of all columns called attribution_* less what the row says they amount to, as any tool would compute it."""
    columns = [name for name in read(out.root).column_names if name.startswith("attribution_")]
    total = " + ".join(f'list_sum("{name}"::DOUBLE[])' for name in columns)
    query = f"SELECT {total} - (output::DOUBLE - baseline_output) - delta FROM '{out.root}/part-*.parquet'"
    return np.array(duckdb.sql(query).fetchall())[:, 0]


def test_groups_of_the_only_input_are_columns_with_names(job_of: Any) -> None:
    whole = attributions(read(launch(job_of(datasets.keras_classifier, out="whole", attribution=SMALL)).root))
    groups = {"income é": [3, 1], "age": [0]}
    out = launch(job_of(datasets.keras_classifier, attribution=SMALL, output={"groups": groups, "shard_bytes": 900}))
    table, wanted = held(out), ["age", "income é", "2"]
    assert out.manifest["shards"] > 1
    assert table.schema.field("attribution_x").type == pa.fixed_shape_tensor(pa.float32(), [3])
    assert json.loads(table.schema.field("attribution_x").metadata[b"attribeam.groups"]) == wanted
    assert out.manifest["groups"] == {"x": wanted}
    record = json.loads((pathlib.Path(out.root) / "_run.json").read_text())
    assert record["config"]["output"]["groups"] == {"": {name: list(places) for name, places in groups.items()}}
    folded = np.stack([whole[:, 0], whole[:, 3] + whole[:, 1], whole[:, 2]], axis=1)
    np.testing.assert_allclose(attributions(table), folded, rtol=2**-22, atol=1e-7)


def test_groups_by_input_leave_the_other_inputs_as_they_are(job_of: Any) -> None:
    given = {"output": {"groups": {"x": {"all": [0, 1, 2, 3]}}}, "attribution": SMALL}
    whole = read(launch(job_of(datasets.keras_multi_input, out="whole", attribution=SMALL)).root)
    out = launch(job_of(datasets.keras_multi_input, **given))
    table = held(out)
    np.testing.assert_allclose(attributions(table), attributions(whole).sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(attributions(table, "age"), attributions(whole, "age"))
    assert out.manifest["groups"] == {"x": ["all"]}
    assert np.abs(sums(out)).max() < SUMS


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_strongest_values_and_all_that_completeness_needs(job_of: Any, dtype: str) -> None:
    whole = attributions(read(launch(job_of(datasets.keras_multi_input, out="whole", attribution=SMALL)).root))
    out = launch(job_of(datasets.keras_multi_input, attribution=SMALL, output={"top": 2, "dtype": dtype}))
    table = held(out)
    order = np.argsort(-np.abs(whole), axis=1, kind="stable")[:, :2]
    assert len({tuple(row) for row in order}) > 3, "the same places in every row would prove little"
    np.testing.assert_array_equal(lists(table, "index_x"), order)
    kept = np.take_along_axis(whole, order, axis=1)
    np.testing.assert_array_equal(lists(table, "attribution_x"), kept.astype(dtype))
    np.testing.assert_allclose(table["share_x"], np.abs(kept).sum(axis=1) / np.abs(whole).sum(axis=1), rtol=1e-6)
    left = whole.sum(axis=1) - kept.sum(axis=1)
    np.testing.assert_allclose(attributions(table, "x_rest")[:, 0], left, atol=1e-6)
    assert set(table["share_age"].to_pylist()) == {1.0} and not attributions(table, "age_rest").any()
    if dtype == "float32":
        assert np.abs(sums(out)).max() < SUMS


def test_a_value_moved_to_another_place_of_the_list_is_no_fault_but_a_lost_one_is(job_of: Any) -> None:
    out = launch(job_of(datasets.keras_classifier, output={"top": 2}))
    (path,) = datasets.parts(out.root)
    table = pq.read_table(path)
    values = table["attribution_x"].to_pylist()
    for change, faults in ((lambda row: row[::-1], 0), (lambda row: row[:1], 1)):
        values[3] = change(values[3])
        column = pa.array(values, pa.list_(pa.float32()))
        changed = table.set_column(table.column_names.index("attribution_x"), "attribution_x", column)
        pq.write_table(changed, path, write_page_checksum=True)
        assert len(completeness_faults(open_place(out.root), path.name)) == faults


def test_what_rounding_to_halves_changed_stands_in_the_row_and_in_the_manifest(job_of: Any) -> None:
    small = {"shard_bytes": 400}
    whole = attributions(read(launch(job_of(datasets.quadratic, out="whole", attribution=SMALL)).root))
    job = job_of(datasets.quadratic, attribution=SMALL, output={"dtype": "float16", **small})
    out = launch(job)
    table = held(out)
    changed = np.abs(attributions(table) - whole).sum(axis=1) / np.abs(whole).sum(axis=1)
    np.testing.assert_allclose(table["rounding"], changed, rtol=2**-23)
    assert 0 < changed.max() <= 2**-11
    wanted = {"largest": changed.max(), "mean": changed.mean()}
    assert out.manifest["rounding"] == pytest.approx(wanted, rel=2**-23)
    datasets.parts(out.root)[1].unlink()
    again = launch(job)
    assert 1 == again.computed < again.manifest["shards"]
    assert again.manifest["rounding"] == out.manifest["rounding"]


def test_in_float32_there_is_nothing_to_say_about_rounding(job_of: Any) -> None:
    out = launch(job_of(datasets.linear))
    assert out.manifest["rounding"] is None
    assert "rounding" not in read(out.root).column_names


def test_a_row_beyond_halves_does_not_count_as_rounded(job_of: Any, tmp_path: pathlib.Path) -> None:
    pixels = np.full((4, 4), 1.1, np.float32)
    pixels[1] = 1e6
    path = datasets.write_parquet(tmp_path / "large.parquet", datasets.rows(4) | {"pixels": pixels})
    out = launch(job_of(datasets.linear, path, output={"dtype": "float16"}))
    table = held(out)
    assert [value is None for value in table["rounding"].to_pylist()] == [False, True, False, False]
    (one,) = {value for value in table["rounding"].to_pylist() if value is not None}
    assert out.manifest["rounding"] == {"largest": one, "mean": pytest.approx(one)}
    assert out.manifest["rows_by_status"]["nonfinite"] == 1


def test_values_below_the_smallest_half_are_honestly_lost(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = datasets.write_parquet(
        tmp_path / "small.parquet", datasets.rows(4) | {"pixels": np.full((4, 4), 1e-8, np.float32)}
    )
    out = launch(job_of(datasets.linear, path, output={"dtype": "float16"}))
    assert not attributions(held(out)).any()
    assert out.manifest["rounding"] == {"largest": 1.0, "mean": 1.0}


def test_a_kept_column_must_not_have_the_name_of_one_that_is_written(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"index_x": np.arange(datasets.ROWS)}
    path = datasets.write_parquet(tmp_path / "kept.parquet", rows)
    source = {"input": {"keep": ["index_x"]}}
    assert read(launch(job_of(datasets.linear, path, **source)).root)["index_x"].to_pylist() == rows["index_x"].tolist()
    with pytest.raises(UsageError, match=r"E_KEEP_NAME.*index_x"):
        launch(job_of(datasets.linear, path, out="other", **source, output={"top": 2}))


def test_wrong_groups_are_refused_before_anything_is_written(job_of: Any) -> None:
    job = job_of(datasets.linear, output={"groups": {"a": [0, 4]}})
    with pytest.raises(UsageError, match=r"E_GROUPS.*position 4"):
        launch(job)
    assert not pathlib.Path(job.output.path).exists()


def test_a_plan_says_what_will_be_written(job_of: Any, tmp_path: pathlib.Path) -> None:
    for output, said in (
        ({"groups": {"a": [0, 1]}}, "x [3] groups"),
        ({"top": 2}, "x [4], of which the 2 strongest"),
        ({"top": 2, "groups": {"a": [0, 1]}}, "x [3] groups, of which the 2 strongest"),
    ):
        console = Console(record=True, width=200)
        preview(job_of(datasets.linear, output=output), tmp_path, console)
        assert said in console.export_text()
