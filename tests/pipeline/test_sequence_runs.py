"""Jobs over rows of varying length, from files to files: closed forms, formats, order, faults, what is written."""

from __future__ import annotations

import io
import json
import pathlib
from typing import Any

import datasets
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from datasets import Built, launch, read
from rich.console import Console

from pipeline.evaluation import Request, evaluate
from pipeline.preview import preview
from transforms.errors import UsageError
from transforms.runs.verify import completeness_faults, verify_run
from transforms.storage.place import open_place

WEIGHTS = np.array([0.5, -2.0], np.float32)
ROWS = 40
LENGTHS = np.random.default_rng(4).integers(1, 60, ROWS)
STEPS = [np.random.default_rng(row).normal(size=(length, 2)).astype(np.float32) for row, length in enumerate(LENGTHS)]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}  # values below 30, by the rule's eight nodes: sums of eight, each to 2^-24


def saved(path: pathlib.Path, function: Any, features: dict[str, Any], **shapes: tuple[Any, str]) -> Built:
    """A SavedModel; `shapes`: its arguments, name = (shape of one example, dtype)."""
    module = tf.Module()
    specs = [tf.TensorSpec((None, *shape), dtype, name) for name, (shape, dtype) in shapes.items()]
    module.run = tf.function(function, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(path), module.run)
    return Built({"path": str(path)}, features)


def squares(path: pathlib.Path) -> Built:
    """F(x) = Σ w x² over steps and channels."""
    shapes = {"x": ((None, 2), "float32")}
    return saved(path, lambda x: tf.reduce_sum(WEIGHTS * x * x, axis=[1, 2]), {"x": "steps"}, **shapes)


def two_lengths(path: pathlib.Path) -> Built:
    """F = Σ x² over the steps that a mask of whole numbers leaves, plus Σ y² of another length."""

    def function(x: Any, mask: Any, y: Any) -> Any:
        kept = tf.cast(tf.gather([0, 1], mask), tf.float32)[:, :, tf.newaxis]
        return tf.reduce_sum(kept * x * x, axis=[1, 2]) + tf.reduce_sum(y * y, axis=1)

    shapes = {"x": ((None, 2), "float32"), "mask": ((None,), "int32"), "y": ((None,), "float32")}
    return saved(path, function, {"x": "steps", "mask": "mask", "y": "other"}, **shapes)


def one_length(path: pathlib.Path) -> Built:
    """F(x) = Σ w x² over exactly 64 steps, with a weight for each step."""
    weights = np.linspace(1, 2, 64, dtype=np.float32)[:, None] * WEIGHTS
    features = {"x": {"column": "steps", "shape": [None, 2]}}
    shapes = {"x": ((64, 2), "float32")}
    return saved(path, lambda x: tf.reduce_sum(weights * x * x, axis=[1, 2]), features, **shapes)


def columns(**more: Any) -> dict[str, Any]:
    nested = pa.array([row.tolist() for row in STEPS], pa.list_(pa.list_(pa.float32())))
    return {"steps": nested, "label": np.zeros(ROWS, np.int64), "name": [f"r{row}" for row in range(ROWS)], **more}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """The same rows, nested, flat, and as TFRecord."""
    folder = tmp_path_factory.mktemp("sequences")
    flat = columns(steps=pa.array([row.ravel().tolist() for row in STEPS], pa.list_(pa.float32())))
    records = columns(steps=[row.ravel() for row in STEPS])
    return {
        "nested": datasets.write_parquet(folder / "nested.parquet", columns()),
        "flat": datasets.write_parquet(folder / "flat.parquet", flat),
        "tfrecord": datasets.write_tfrecord(folder / "rows.tfrecord", records),
    }


def values(table: pa.Table, name: str = "x", width: int = 2) -> list[np.ndarray]:
    return [np.array(row, np.float64).reshape(-1, width) for row in table[f"attribution_{name}"].to_pylist()]


def assert_squares(table: pa.Table, rows: Any = range(ROWS)) -> None:
    found = values(table)
    assert len(found) == len(list(rows))
    for row, value in zip(rows, found, strict=True):
        np.testing.assert_allclose(value, WEIGHTS * STEPS[row].astype(np.float64) ** 2, **CLOSE)


@pytest.mark.parametrize("kind", ["nested", "flat", "tfrecord"])
def test_every_format_gives_the_closed_form_in_the_inputs_order(job_of: Any, stored: Any, kind: str) -> None:
    job = job_of(squares, stored[kind], input={"id": "name"}, output={"shard_bytes": 3000})
    out = launch(job)
    assert out.manifest["shards"] > 3
    table = read(out.root)
    assert table["row_id"].to_pylist() == [f"r{row}" for row in range(ROWS)]
    assert table["source_row"].to_pylist() == list(range(ROWS))
    assert len(np.unique(np.ceil(LENGTHS / 16))) > 2, "one bucket for all would prove little"
    assert_squares(table)
    assert set(table["status"].to_pylist()) == {"ok"}
    assert verify_run(open_place(out.root), deep=True) == []


def test_what_is_written_is_a_list_that_says_its_shape(job_of: Any, stored: Any) -> None:
    table = read(launch(job_of(squares, stored["flat"])).root)
    field = table.schema.field("attribution_x")
    assert field.type == pa.list_(pa.float32())
    assert json.loads(field.metadata[b"attribeam.shape"]) == [None, 2]
    assert [len(row) for row in table["attribution_x"].to_pylist()] == (2 * LENGTHS).tolist()


def test_reduced_over_channels_there_is_a_number_a_step(job_of: Any, stored: Any) -> None:
    job = job_of(squares, stored["flat"], output={"reduce": {"x": ["channels"]}})
    out = launch(job)
    table = read(out.root)
    assert json.loads(table.schema.field("attribution_x").metadata[b"attribeam.shape"]) == [None]
    for row, found in enumerate(values(table, width=1)):
        np.testing.assert_allclose(found[:, 0], STEPS[row].astype(np.float64) ** 2 @ WEIGHTS, **CLOSE)
    assert verify_run(open_place(out.root), deep=True) == []
    total = duckdb.sql(f"SELECT sum(list_sum(attribution_x)) FROM '{out.root}/part-*.parquet'").fetchall()[0]
    # a sum of 1200 float32 values, in float64
    np.testing.assert_allclose(total, sum((WEIGHTS * row.astype(np.float64) ** 2).sum() for row in STEPS), rtol=1e-5)


def test_reduced_over_steps_every_row_has_one_shape(job_of: Any, stored: Any) -> None:
    table = read(launch(job_of(squares, stored["flat"], output={"reduce": {"x": [0]}})).root)
    assert table.schema.field("attribution_x").type == pa.fixed_shape_tensor(pa.float32(), [2])
    wanted = [(WEIGHTS * row.astype(np.float64) ** 2).sum(axis=0) for row in STEPS]
    np.testing.assert_allclose(datasets.attributions(table), wanted, rtol=1e-5)  # sums of up to 60 terms


def test_the_strongest_steps_of_every_row(job_of: Any, stored: Any) -> None:
    out = launch(job_of(squares, stored["flat"], output={"reduce": {"x": ["channels"]}, "top": 5}))
    table = read(out.root)
    for row, index in enumerate(table["index_x"].to_pylist()):
        exact = STEPS[row].astype(np.float64) ** 2 @ WEIGHTS
        assert len(index) == len(set(index)) == min(5, LENGTHS[row])
        np.testing.assert_allclose(table["attribution_x"][row].as_py(), exact[index], **CLOSE)
        slack = 1e-6 * (np.abs(exact).sum() + len(exact))  # each value is CLOSE, and so is the sum of them
        (rest,) = table["attribution_x_rest"][row].as_py()
        assert abs(rest - np.delete(exact, index).sum()) <= slack
        assert np.abs(exact[index]).min() >= np.abs(np.delete(exact, index)).max(initial=0) - slack
    assert verify_run(open_place(out.root), deep=True) == []


def test_positions_of_groups_are_refused(job_of: Any, stored: Any) -> None:
    with pytest.raises(UsageError, match="lengths of their own") as caught:
        launch(job_of(squares, stored["flat"], output={"groups": {"a": [0, 1]}}))
    assert caught.value.code == "E_GROUPS"


def test_a_run_over_them_is_not_evaluated(job_of: Any, stored: Any) -> None:
    out = launch(job_of(squares, stored["flat"]))
    with pytest.raises(UsageError, match="lengths of their own") as caught:
        evaluate([out.root], Request(rows=3))
    assert caught.value.code == "E_EVALUATE_MAP"


def test_halves_hold(job_of: Any, stored: Any) -> None:
    out = launch(job_of(squares, stored["flat"], output={"dtype": "float16"}))
    assert read(out.root).schema.field("attribution_x").type == pa.list_(pa.float16())
    assert verify_run(open_place(out.root), deep=True) == []


def test_verify_sees_a_changed_value(job_of: Any, stored: Any) -> None:
    """`verify --deep` reads lists too: values of another row do not pass."""
    out = launch(job_of(squares, stored["flat"]))
    (path,) = datasets.parts(out.root)
    table = read(out.root)
    swapped = table["attribution_x"].combine_chunks().take(pa.array(np.roll(np.arange(ROWS), 1)))
    place = table.schema.get_field_index("attribution_x")
    pq.write_table(table.set_column(place, "attribution_x", swapped), path)
    assert "delta is not" in completeness_faults(open_place(out.root), path.name)[0]


BAD = {3: None, 7: [], 8: [1.0] * 3, 9: [1.0] * 2 * 200, 11: [1.0, float("nan")]}
CODES = ["E_FEATURE_MISSING", "E_SEQUENCE_EMPTY", "E_FEATURE_SHAPE", "E_SEQUENCE_LENGTH", "E_FEATURE_NONFINITE"]


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_bad_rows_are_quarantined_and_the_rest_goes_on(job_of: Any, tmp_path: pathlib.Path, kind: str) -> None:
    rows = [BAD.get(row, value.ravel().tolist()) for row, value in enumerate(STEPS)]
    given = columns(steps=pa.array(rows, pa.list_(pa.float32())))
    path = tmp_path / "bad"
    if kind == "parquet":
        path = datasets.write_parquet(path.with_suffix(".parquet"), given)
    else:
        path = records(path.with_suffix(".tfrecord"), rows)
    limits = {"quarantined": 0.2, "sequence_length": 100}
    out = launch(job_of(squares, path, input={"label": None}, limits=limits))
    refused = pq.read_table(next(pathlib.Path(out.root, "_quarantine").glob("*.parquet"))).to_pydict()
    assert dict(zip(refused["source_row"], refused["code"], strict=True)) == dict(zip(BAD, CODES, strict=True))
    assert_squares(read(out.root), [row for row in range(ROWS) if row not in BAD])
    assert verify_run(open_place(out.root), deep=True) == []


def records(path: pathlib.Path, rows: list[Any]) -> pathlib.Path:
    """Examples, also with an empty list, which `datasets` does not write."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            stored = {} if row is None else {"steps": tf.train.Feature(float_list=tf.train.FloatList(value=row))}
            writer.write(tf.train.Example(features=tf.train.Features(feature=stored)).SerializeToString())
    return path


def test_several_inputs_of_a_row_have_lengths_of_their_own(job_of: Any, tmp_path: pathlib.Path) -> None:
    masks = [(np.arange(length) % 3 > 0).astype(np.int32) for length in LENGTHS]
    others = [np.random.default_rng(row).normal(size=1 + 3 * row % 50).astype(np.float32) for row in range(ROWS)]
    given = columns(
        mask=pa.array([list(map(int, row)) for row in masks]), other=pa.array([row.tolist() for row in others])
    )
    out = launch(job_of(two_lengths, datasets.write_parquet(tmp_path / "two.parquet", given)))
    table = read(out.root)
    for row, (x, y) in enumerate(zip(values(table), values(table, "y", 1), strict=True)):
        np.testing.assert_allclose(x, masks[row][:, None] * STEPS[row].astype(np.float64) ** 2, **CLOSE)
        np.testing.assert_allclose(y[:, 0], others[row].astype(np.float64) ** 2, **CLOSE)
    assert verify_run(open_place(out.root), deep=True) == []


def test_a_model_of_one_length_is_fed_shorter_rows(job_of: Any, stored: Any) -> None:
    table = read(launch(job_of(one_length, stored["flat"])).root)
    for row, found in enumerate(values(table)):
        weights = np.linspace(1, 2, 64)[: LENGTHS[row], None] * WEIGHTS
        np.testing.assert_allclose(found, weights * STEPS[row].astype(np.float64) ** 2, **CLOSE)


def test_a_baseline_column_has_the_rows_length(job_of: Any, tmp_path: pathlib.Path) -> None:
    starts = [
        np.random.default_rng(99 + row).normal(size=value.shape).astype(np.float32) for row, value in enumerate(STEPS)
    ]
    stored = [value.ravel().tolist() for value in starts]
    stored[5] = stored[5] + [0.0, 0.0]
    path = datasets.write_parquet(tmp_path / "based.parquet", columns(start=pa.array(stored, pa.list_(pa.float32()))))
    given = {"attribution": {"baseline": {"x": {"column": "start"}}}, "limits": {"quarantined": 0.1}}
    out = launch(job_of(squares, path, **given))
    refused = pq.read_table(next(pathlib.Path(out.root, "_quarantine").glob("*.parquet"))).to_pydict()
    assert (refused["source_row"], refused["code"]) == ([5], ["E_BASELINE_LENGTH"])
    kept = [row for row in range(ROWS) if row != 5]
    for row, found in zip(kept, values(read(out.root)), strict=True):
        x, start = STEPS[row].astype(np.float64), starts[row].astype(np.float64)
        # x² − x'² = (x − x')(x + x'): each of the two to 2^-24 of values below 5
        np.testing.assert_allclose(found, WEIGHTS * (x**2 - start**2), rtol=1e-5, atol=1e-5)


def test_a_constant_baseline_and_a_pad_of_another_value(job_of: Any, stored: Any) -> None:
    """What the model sees of the padding is the same at both ends of the path."""
    features = {"x": {"column": "steps", "pad": 3.0}}
    job = job_of(
        squares, stored["flat"], input={"features": features}, attribution={"baseline": {"constant": [1.0, -1.0]}}
    )
    table = read(launch(job).root)
    for row, found in enumerate(values(table)):
        np.testing.assert_allclose(found, WEIGHTS * (STEPS[row].astype(np.float64) ** 2 - 1), rtol=1e-5, atol=1e-5)
    assert set(table["status"].to_pylist()) == {"ok"}


def test_the_plan_tells_of_lengths_and_a_resumed_run_keeps_them(job_of: Any, stored: Any) -> None:
    job = job_of(squares, stored["flat"], limits={"sequence_length": 60})
    shown = io.StringIO()
    preview(job, stored["flat"].parent, Console(file=shown, width=500), pilot_rows=8)
    told = shown.getvalue()
    mean = int(np.ceil(LENGTHS[:5].mean()))  # of the first row group
    assert f"x about {mean} steps by the first rows, at most 60" in told
    assert f"about {ROWS * (64 + 4 * 2 * mean):,} bytes" in told
    assert "x [any, 2]" in told
    assert "pilot: 8 rows" in told
    first = launch(job)
    assert first.computed == 1
    assert launch(job).computed == 0
