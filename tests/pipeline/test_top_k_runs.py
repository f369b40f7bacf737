"""Whole runs with `target: {top_k: k}`: k rows of the output for each of the input, and every count of either."""

from __future__ import annotations

import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import attributions, launch, read

from pipeline.status import open_watch
from transforms.attribution.explainer import Explainer
from transforms.errors import UsageError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

K = 2
TOP = {"target": {"top_k": K}, "batch_size": 16}
SMALL = {"shard_bytes": 300}


def outputs(job: Any) -> np.ndarray:
    """F at every row, [rows, classes]."""
    config = job.attribution.model_copy(update={"target": 0})
    model = Explainer.load(job.model, config).model
    return np.asarray(model.outputs([datasets.rows()["pixels"]]))


@pytest.mark.parametrize("kind", ["parquet", "none"])
@pytest.mark.parametrize("steps", [8, "auto"])
def test_every_row_has_its_largest_outputs_in_their_order(job_of: Any, kind: str, steps: Any) -> None:
    job = job_of(
        datasets.keras_classifier, kind, attribution=TOP | {"steps": steps}, input={"id": "name"}, output=SMALL
    )
    out = launch(job)
    table, rows = read(out.root), datasets.ROWS
    assert table["target_rank"].type == pa.int32() and table["target_rank"].to_pylist() == list(range(K)) * rows
    assert table["row_id"].to_pylist() == np.repeat(datasets.rows()["name"], K).tolist()
    assert table["source_row"].to_pylist() == np.repeat(np.arange(rows), K).tolist()
    assert table["label"].to_pylist() == np.repeat(datasets.rows()["label"], K).tolist()
    order = np.argsort(-outputs(job), axis=1)[:, :K]
    assert table["target"].to_pylist() == order.ravel().tolist() and len(set(order[:, 0])) > 1
    assert out.manifest["targets"] == K
    assert (out.manifest["rows"], out.manifest["input_rows"], out.manifest["quarantined"]) == (K * rows, rows, 0)
    assert sum(out.manifest["rows_by_status"].values()) == K * rows
    assert out.manifest["gradients"] == sum(table["steps"].to_pylist())
    assert verify_run(open_place(out.root), deep=True) == []


def test_the_values_are_those_of_each_target_on_its_own(job_of: Any) -> None:
    table = read(launch(job_of(datasets.keras_classifier, attribution=TOP)).root)
    single = [
        attributions(read(launch(job_of(datasets.keras_classifier, out=f"{n}", attribution={"target": n})).root))
        for n in range(datasets.CLASSES)
    ]
    wanted = [
        single[target][row]
        for row, target in zip(table["source_row"].to_pylist(), table["target"].to_pylist(), strict=True)
    ]
    # float32: another batch size takes another kernel of the matrix product
    np.testing.assert_allclose(attributions(table), wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())
    assert np.abs(single[0] - single[1]).max() > 0.1, "one target for another would do"


def test_one_target_has_no_rank(job_of: Any) -> None:
    out = launch(job_of(datasets.keras_classifier))
    assert "target_rank" not in read(out.root).column_names and out.manifest["targets"] == 1
    top = launch(job_of(datasets.keras_classifier, out="one", attribution={"target": {"top_k": 1}}))
    assert read(top.root)["target_rank"].to_pylist() == [0] * datasets.ROWS


def test_more_than_there_are_is_refused_at_launch(job_of: Any) -> None:
    job = job_of(datasets.keras_classifier, attribution={"target": {"top_k": datasets.CLASSES + 1}})
    with pytest.raises(UsageError, match=r"E_TARGET_RANGE.*top 4, but the model's output has 3"):
        launch(job)
    assert not pathlib.Path(job.output.path).exists()


@pytest.fixture
def with_bad_rows(tmp_path: pathlib.Path) -> pathlib.Path:
    """The usual rows, of which three hold a NaN."""
    rows = datasets.rows()
    rows["pixels"][[2, 3, 20], 1] = np.nan
    return datasets.write_parquet(tmp_path / "nan.parquet", rows)


def test_refused_rows_are_counted_as_rows_of_the_input(job_of: Any, with_bad_rows: pathlib.Path) -> None:
    limits = {"quarantined": 0.5}
    out = launch(job_of(datasets.keras_classifier, with_bad_rows, attribution=TOP, output=SMALL, limits=limits))
    assert (out.manifest["input_rows"], out.manifest["rows"], out.manifest["quarantined"]) == (23, 20 * K, 3)
    assert verify_run(open_place(out.root), deep=True) == []
    found = open_watch(open_place(out.root)).look()
    assert (found.rows, found.rows_done, found.quarantined) == (23, 23, 3)
    metadata = pq.read_schema(datasets.parts(out.root)[0]).metadata
    assert metadata[b"attribeam.targets"] == str(K).encode()


def test_a_killed_run_goes_on(job_of: Any, with_bad_rows: pathlib.Path) -> None:
    limits = {"quarantined": 0.5}
    job = job_of(datasets.keras_classifier, with_bad_rows, attribution=TOP, output=SMALL, limits=limits)
    out = launch(job)
    parts = {path.name: path.read_bytes() for path in datasets.parts(out.root)}
    for name in ("_SUCCESS", "_manifest.json", "_files.parquet", sorted(parts)[1]):
        (pathlib.Path(out.root) / name).unlink()
    again = launch(job)
    assert (again.computed, again.manifest["quarantined"], again.manifest["rows"]) == (1, 3, 20 * K)
    assert {path.name: path.read_bytes() for path in datasets.parts(out.root)} == parts
    assert verify_run(open_place(out.root), deep=True) == []


def test_another_number_of_targets_is_another_run(job_of: Any) -> None:
    launch(job_of(datasets.keras_classifier, attribution=TOP))
    with pytest.raises(UsageError, match=r"E_OUTPUT_OTHER_RUN.*attribution.target"):
        launch(job_of(datasets.keras_classifier, attribution=TOP | {"target": {"top_k": 3}}))
