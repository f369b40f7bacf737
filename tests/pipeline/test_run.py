"""The whole job, from files to files: values against closed forms and against the Explainer, formats, files left."""

from __future__ import annotations

import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import LINEAR, QUADRATIC, attributions, launch, read

from transforms.attribution.explainer import Explainer
from transforms.runs import checked_parts
from transforms.runs.verify import verify_run
from transforms.storage import manifest as names
from transforms.storage.place import open_place

SAME_REAL = 1e-6  # of the largest value: float32 sums of eight terms, each to 2^-24


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    assert np.abs(wanted).max() > 0.1, "a comparison with zeros proves nothing"
    np.testing.assert_allclose(found, wanted, rtol=SAME_REAL, atol=SAME_REAL * np.abs(wanted).max())


def columns_of(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith("attribution_")]


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_a_linear_form_gives_weight_times_input(job_of: Any, kind: str) -> None:
    table = read(launch(job_of(datasets.linear, kind)).root)
    assert_close(attributions(table), LINEAR * datasets.rows()["pixels"].astype(np.float64))
    assert table["target"].null_count == len(table)


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_a_quadratic_form_gives_x_times_hx(job_of: Any, kind: str) -> None:
    pixels = datasets.rows()["pixels"].astype(np.float64)
    table = read(launch(job_of(datasets.quadratic, kind)).root)
    assert_close(attributions(table), pixels * (pixels @ QUADRATIC))


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_a_product_of_two_inputs_is_shared_equally(job_of: Any, tmp_path: pathlib.Path, kind: str) -> None:
    rows = datasets.rows() | {"weight": datasets.rows(seed=5)["age"]}
    table = read(launch(job_of(datasets.product, datasets.write(tmp_path, kind, rows))).root)
    half = rows["age"].astype(np.float64) * rows["weight"] / 2
    assert_close(attributions(table, "a"), half)
    assert_close(attributions(table, "b"), half)


def test_the_jobs_values_are_the_explainers_for_every_batch_size(job_of: Any) -> None:
    rows = datasets.rows()
    for batch in (1, 7, datasets.ROWS * 8):
        job = job_of(datasets.keras_classifier, out=f"batch-{batch}", attribution={"batch_size": batch})
        direct = Explainer.load(job.model, job.attribution).explain(rows["pixels"], rows["label"])
        table = read(launch(job).root)
        assert np.abs(direct.attributions["x"]).min() > 0, "the twins would agree on nothing"
        np.testing.assert_array_equal(attributions(table), direct.attributions["x"])
        np.testing.assert_array_equal(table["output"], direct.output)
        np.testing.assert_array_equal(table["delta"], direct.delta.astype(np.float32))
        assert table["target"].to_pylist() == rows["label"].tolist()
        assert set(table["steps"].to_pylist()) == {8}


def test_finalizing_reads_no_part_that_its_worker_has_read(job_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(datasets.keras_classifier, output={"shard_bytes": 700})
    launch(job)
    place = open_place(job.output.path)
    names_before = set(place.names())

    def refuse(*_: Any) -> Any:
        raise RuntimeError("a part was read again")

    monkeypatch.setattr(checked_parts, "read_whole", refuse)
    launch(job_of(datasets.keras_classifier, out="again", output={"shard_bytes": 700}))
    for name in (names.SUCCESS, names.MANIFEST, names.FILES):
        place.remove(name)
    with pytest.raises(RuntimeError, match="read again"):  # of an earlier invocation, nobody has said what they hold
        launch(job)
    assert set(place.names()) < names_before


def test_both_formats_give_the_same_bytes(job_of: Any) -> None:
    given = {"attribution": {"batch_size": 16}}  # one that is tuned may end in other bits
    tables = [read(launch(job_of(datasets.keras_multi_input, kind, kind, **given)).root) for kind in datasets.FORMATS]
    assert columns_of(tables[0]) == ["attribution_x", "attribution_age"]
    for table in tables[1:]:
        for name in [*columns_of(table), "output", "delta", "label", "target", "status", "source_row"]:
            assert table[name].combine_chunks().equals(tables[0][name].combine_chunks()), name


def test_rows_keep_the_inputs_order_over_files_and_shards(job_of: Any, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "many"
    for number in (2, 0, 1):
        datasets.write(folder, "parquet", datasets.rows(5 + number, number), f"part {number} [a]")
    job = job_of(datasets.linear, folder, output={"shard_bytes": 200})
    out = launch(job)
    table = read(out.root)
    wanted = [(f"part {n} [a].parquet", row) for n in range(3) for row in range(5 + n)]
    files = [pathlib.PurePath(file).name for file in table["source_file"].to_pylist()]
    assert list(zip(files, table["source_row"].to_pylist(), strict=True)) == wanted
    assert out.manifest["shards"] > 6
    assert out.manifest["input_rows"] == out.manifest["rows"] == len(wanted)


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_a_row_is_named_by_its_id_or_by_file_and_row(job_of: Any, kind: str) -> None:
    table = read(launch(job_of(datasets.linear, kind, input={"id": "name"})).root)
    assert table["row_id"].to_pylist() == datasets.rows()["name"]
    table = read(launch(job_of(datasets.linear, out="unnamed")).root)
    assert table["row_id"].to_pylist() == [f"{datasets.STEM}.parquet#{row}" for row in range(datasets.ROWS)]


def test_the_same_settings_give_the_same_bytes(job_of: Any) -> None:
    given = {"attribution": {"batch_size": 16}}
    first, second = (launch(job_of(datasets.keras_classifier, out=out, **given)).root for out in ("one", "two"))
    assert [path.name for path in datasets.parts(first)] == [path.name for path in datasets.parts(second)]
    for one, two in zip(datasets.parts(first), datasets.parts(second), strict=True):
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "none"])
def test_other_shards_and_batches_give_the_same_values(job_of: Any, kind: str) -> None:
    usual = launch(job_of(datasets.keras_classifier, kind, "usual"))
    parts = {"output": {"shard_bytes": 300}, "attribution": {"batch_size": 3}}
    other = launch(job_of(datasets.keras_classifier, kind, "other", **parts))
    assert usual.manifest["shards"] == 1 < other.manifest["shards"]
    assert_close(attributions(read(other.root)), attributions(read(usual.root)))


def test_a_run_leaves_exactly_these_files(job_of: Any) -> None:
    out = launch(job_of(datasets.linear, output={"shard_bytes": 400}))
    wanted = {names.part_name(out.manifest["fingerprint"], number) for number in range(out.manifest["shards"])}
    wanted |= {"_run.json", "_plan.parquet", "_files.parquet", "_manifest.json", "_SUCCESS"}
    assert len(wanted) > 7
    assert {path.name for path in pathlib.Path(out.root).iterdir()} == wanted


EVERY = [
    (name, kind)
    for name in datasets.MODELS
    for kind in datasets.FORMATS
    if name == "saved_model" or kind in ("parquet", "none")  # a codec ends where the records are read
]


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_every_format_and_model_makes_a_run_that_holds(job_of: Any, name: str, kind: str) -> None:
    out = launch(job_of(datasets.MODELS[name], kind))
    assert verify_run(open_place(out.root), deep=True) == []
    assert out.manifest["rows_by_status"]["ok"] == out.manifest["rows"] == datasets.ROWS
    assert out.manifest["gradients"] == datasets.ROWS * 8


def test_an_integer_input_of_a_saved_model_is_explained(job_of: Any) -> None:
    counts = datasets.rows()["counts"].astype(np.float64)
    assert_close(attributions(read(launch(job_of(datasets.int_saved_model)).root)), counts**2)


def test_targets_predicted_and_index(job_of: Any) -> None:
    tables = {
        target: read(launch(job_of(datasets.keras_classifier, out=f"{target}", attribution={"target": target})).root)
        for target in ("predicted", 0, 1, 2)
    }
    outputs = np.stack([tables[index]["output"].to_numpy() for index in range(datasets.CLASSES)], axis=1)
    assert len(set(outputs.argmax(axis=1))) > 1, "one class for all would prove little"
    assert tables["predicted"]["target"].to_pylist() == outputs.argmax(axis=1).tolist()
    np.testing.assert_array_equal(tables["predicted"]["output"], outputs.max(axis=1))
    assert set(tables[2]["target"].to_pylist()) == {2}


def test_a_baseline_can_stand_in_a_column(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"blank": datasets.rows(seed=9)["pixels"]}
    for kind in ("parquet", "none"):
        path = datasets.write(tmp_path, kind, rows)
        baseline = {"baseline": {"x": {"column": "blank"}}}
        table = read(launch(job_of(datasets.linear, path, kind, attribution=baseline)).root)
        assert_close(attributions(table), LINEAR * (rows["pixels"].astype(np.float64) - rows["blank"]))


def test_halves_are_rounded_and_hold(job_of: Any) -> None:
    out = launch(job_of(datasets.quadratic, output={"dtype": "float16"}))
    table = read(out.root)
    assert table.schema.field("attribution_x").type == pa.fixed_shape_tensor(pa.float16(), [4])
    whole = read(launch(job_of(datasets.quadratic, out="whole")).root)
    np.testing.assert_allclose(attributions(table), attributions(whole), rtol=2**-11, atol=2**-24)
    assert verify_run(open_place(out.root), deep=True) == []


def test_values_beyond_half_precision_are_flagged(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows(4) | {"pixels": np.full((4, 4), 1e6, np.float32)}
    path = datasets.write_parquet(tmp_path / "large.parquet", rows)
    out = launch(job_of(datasets.linear, path, output={"dtype": "float16"}))
    assert out.manifest["rows_by_status"]["nonfinite"] == 4
    assert verify_run(open_place(out.root), deep=True) == []


def test_an_image_can_be_reduced_over_its_channels(job_of: Any, tmp_path: pathlib.Path) -> None:
    usual = launch(job_of(datasets.pixel_grid))
    reduced = launch(job_of(datasets.pixel_grid, out="reduced", output={"reduce": {"x": ["channels"]}}))
    whole, summed = attributions(read(usual.root)), attributions(read(reduced.root))
    assert whole.shape == (datasets.ROWS, 1, 2, 2)
    assert summed.shape == (datasets.ROWS, 1, 2)
    np.testing.assert_allclose(summed, whole.sum(axis=-1), rtol=1e-6, atol=1e-7)
    assert verify_run(open_place(reduced.root), deep=True) == []


KEPT = {
    "text é": pa.array([f"t{row}" for row in range(datasets.ROWS)]),
    "kind.of": pa.array(["a", "b", None] * 7 + ["a", "b"]).dictionary_encode(),
    "at": pa.array(range(datasets.ROWS), pa.timestamp("us", "UTC")),
    "many": pa.array([[row, row + 1] for row in range(datasets.ROWS)], pa.list_(pa.int32())),
    "bytes": pa.array([b"\x00\xff"] * datasets.ROWS, pa.binary()),
    "flag": pa.array([True, None, False] * 7 + [True, True]),
    "price": pa.array([2] * datasets.ROWS).cast(pa.decimal128(21, 2)),
    "pair": pa.array([{"a": 1, "b": "x"}] * datasets.ROWS),
}


def test_kept_columns_of_any_type_are_carried(job_of: Any, tmp_path: pathlib.Path) -> None:
    path = datasets.write_parquet(tmp_path / "kept.parquet", datasets.rows() | KEPT)
    source = {"keep": list(KEPT), "label": "label"}
    table = read(launch(job_of(datasets.linear, path, input=source, output={"shard_bytes": 900})).root)
    stored = pq.read_table(path)
    for name in [*KEPT, "label"]:
        assert table.schema.field(name).type == stored.schema.field(name).type, name
        assert table[name].to_pylist() == stored[name].to_pylist(), name


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.float64(), pa.dictionary(pa.int8(), pa.int64())], ids=str)
def test_labels_of_any_whole_type(job_of: Any, tmp_path: pathlib.Path, kind: pa.DataType) -> None:
    label = pa.array(datasets.rows()["label"])
    coded = label.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else label.cast(kind)
    path = datasets.write_parquet(tmp_path / "l.parquet", datasets.rows() | {"label": coded})
    table = read(launch(job_of(datasets.keras_classifier, path)).root)
    assert table.schema.field("label").type == pq.read_table(path).schema.field("label").type
    assert table["target"].to_pylist() == label.to_pylist()
