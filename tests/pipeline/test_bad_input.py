"""Bad input: each case with its code, cause, place and remedy; bad rows are set apart, bad files stop the run."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import launch

from transforms.errors import AttribeamError, QuarantineError, UsageError
from transforms.runs.verify import verify_run
from transforms.storage import manifest as names
from transforms.storage.place import open_place

BAD, FILE = 7, "bad [é].parquet"


def column(values: list[Any], row: Any, kind: pa.DataType | None = None) -> pa.Array:
    """A column in which one row is replaced."""
    return pa.array([row if index == BAD else value for index, value in enumerate(values)], kind)


def pixels(row: Any) -> dict[str, Any]:
    return {"pixels": column([list(map(float, value)) for value in datasets.rows()["pixels"]], row)}


def labels(row: Any) -> dict[str, Any]:
    return {"label": column(datasets.rows()["label"].tolist(), row)}


ROW_CASES = {
    "null": (pixels(None), "E_FEATURE_MISSING", ["'x'", "null", "leave the row out"]),
    "null inside": (pixels([1.0, None, 2.0, 3.0]), "E_FEATURE_NULL", ["'x'", "null", "fill it"]),
    "wrong shape": (pixels([1.0] * 3), "E_FEATURE_SHAPE", ["'x'", "3 values", "4", "correct"]),
    "nan": (pixels([1.0, float("nan"), 2.0, 3.0]), "E_FEATURE_NONFINITE", ["'x'", "nan", "[1]", "correct it"]),
    "target out of range": (labels(3), "E_TARGET_RANGE", ["target 3", "0 to 2"]),
    "negative target": (labels(-1), "E_TARGET_RANGE", ["target -1", "0 to 2"]),
    "label missing": (labels(None), "E_LABEL_MISSING", ["'label'", "null", "leave the row out"]),
}


def refused(out: str | pathlib.Path) -> list[dict[str, Any]]:
    """The rows in quarantine."""
    return [row for file in sorted(pathlib.Path(out, "_quarantine").glob("part-*")) for row in read_rows(file)]


def read_rows(file: pathlib.Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def said(error: AttribeamError, kind: type[AttribeamError], code: str, parts: list[str]) -> None:
    assert type(error) is kind
    assert error.code == code
    assert error.exit_code == {UsageError: 2, QuarantineError: 3, AttribeamError: 1}[kind]
    assert len(str(error)) <= 500
    for part in parts:
        assert part in str(error)


@pytest.mark.parametrize(("replaced", "code", "parts"), list(ROW_CASES.values()), ids=list(ROW_CASES))
def test_a_bad_row_goes_to_quarantine_and_the_rest_goes_on(
    job_of: Any, tmp_path: pathlib.Path, replaced: dict[str, Any], code: str, parts: list[str]
) -> None:
    path = datasets.write_parquet(tmp_path / FILE, datasets.rows() | replaced)
    job = job_of(datasets.keras_classifier, path, limits={"quarantined": 0.1}, output={"shard_bytes": 500})
    out = launch(job)
    (row,) = refused(out.root)
    assert (row["row_id"], row["source_file"], row["source_row"]) == (f"{FILE}#{BAD}", FILE, BAD)
    assert row["code"] == code
    assert len(row["message"]) <= 500
    for part in [FILE, f"row {BAD}", *parts]:
        assert part in row["message"]
    wanted = [number for number in range(datasets.ROWS) if number != BAD]
    assert datasets.read(out.root)["source_row"].to_pylist() == wanted
    assert (out.manifest["rows"], out.manifest["quarantined"]) == (len(wanted), 1)
    assert verify_run(open_place(out.root), deep=True) == []


def test_a_record_of_another_kind_or_with_flipped_bits_is_set_apart(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows() | {"label": [None if row == 4 else int(x) for row, x in enumerate(datasets.rows()["label"])]}
    rows["pixels"] = [np.arange(4) if row == 9 else value for row, value in enumerate(rows["pixels"])]
    path = datasets.write_tfrecord(tmp_path / "flipped.tfrecord", rows)
    flip(path, record_offset(rows, 2) + 12 + 20)
    out = launch(job_of(datasets.keras_classifier, path, limits={"quarantined": 0.2}))
    found = {row["source_row"]: (row["code"], row["message"]) for row in refused(out.root)}
    assert {row: code for row, (code, _) in found.items()} == {
        2: "E_RECORD_CRC",
        4: "E_LABEL_MISSING",
        9: "E_FEATURE_DTYPE",
    }
    assert "flipped.tfrecord row 2" in found[2][1]
    assert "write the file again" in found[2][1]


def test_over_the_limit_there_is_no_success_and_a_higher_limit_computes_nothing(
    job_of: Any, tmp_path: pathlib.Path
) -> None:
    path = datasets.write_parquet(tmp_path / FILE, datasets.rows() | pixels(None))
    job = job_of(datasets.keras_classifier, path)
    with pytest.raises(QuarantineError) as caught:
        launch(job)
    said(caught.value, QuarantineError, "E_QUARANTINE_LIMIT", ["1 of 23", "0.001", "_quarantine", "raise the limit"])
    assert not (pathlib.Path(job.output.path) / names.SUCCESS).exists()
    raised = job.model_copy(update={"limits": job.limits.model_copy(update={"quarantined": 0.05})})
    out = launch(raised)
    assert out.computed == 0
    assert out.manifest["quarantined"] == 1
    assert verify_run(open_place(out.root), deep=True) == []


def record_offset(rows: dict[str, Any], number: int) -> int:
    """Where a record begins in an uncompressed TFRecord file of these rows."""
    return sum(16 + len(record) for record in datasets.examples(rows)[:number])


def flip(path: pathlib.Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def truncated(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip_length(path: pathlib.Path) -> None:
    flip(path, record_offset(datasets.rows(), 3) + 1)


def cut_at_a_border(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: record_offset(datasets.rows(), 11)])


def without_trailer(path: pathlib.Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes())[:-8])


def text(path: pathlib.Path) -> None:
    path.write_text("id,pixels\n1,2\n" * 30)


def empty(path: pathlib.Path) -> None:
    path.write_bytes(b"")


def unlink(path: pathlib.Path) -> None:
    path.unlink()


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file spoilt, and what the error must say besides the file's name."""

    name: str
    spoil: Callable[[pathlib.Path], None]
    code: str
    says: list[str]


FILE_CASES = [
    Damage("cut.tfrecord", truncated, "E_TFRECORD_TRUNCATED", ["record 22", "ends", "again"]),
    Damage("length.tfrecord", flip_length, "E_TFRECORD_LENGTH", ["record 3", "checksum", "again"]),
    Damage("border.tfrecord", cut_at_a_border, "E_INPUT_ROWS", ["input.rows", "23", "11", "restore"]),
    Damage("end.tfrecord.gz", without_trailer, "E_TFRECORD_COMPRESSION", ["gzip", "trailer", "again"]),
    Damage("text.parquet", text, "E_PARQUET_INVALID", ["no Parquet", "again"]),
    Damage("cut.parquet", truncated, "E_PARQUET_INVALID", ["no Parquet", "again"]),
    Damage("empty.parquet", empty, "E_FILE_EMPTY", ["0 bytes", "again"]),
    Damage("gone.parquet", unlink, "E_INPUT_NOT_FOUND", ["input.files", "relative"]),
]


@pytest.mark.parametrize("case", FILE_CASES, ids=lambda case: case.name)
def test_a_damaged_file_stops_the_run_before_it_begins(job_of: Any, tmp_path: pathlib.Path, case: Damage) -> None:
    write = datasets.write_parquet if case.name.endswith("parquet") else datasets.write_tfrecord
    path = write(tmp_path / case.name, datasets.rows())
    case.spoil(path)
    job = job_of(datasets.keras_classifier, path, input={"rows": datasets.ROWS})
    with pytest.raises(AttribeamError) as caught:
        launch(job)
    said(caught.value, UsageError, case.code, [case.name, *case.says])
    assert not pathlib.Path(job.output.path).exists()


def test_a_page_damaged_in_the_middle_stops_the_run_and_publishes_no_false_part(
    job_of: Any, tmp_path: pathlib.Path
) -> None:
    values = {"pixels": np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32), "label": np.arange(400) % 3}
    path = tmp_path / FILE
    table = pa.table({"pixels": pa.array(list(values["pixels"])), "label": pa.array(values["label"])})
    pq.write_table(table, path, row_group_size=100, write_page_checksum=True)
    flip(path, int(path.stat().st_size * 0.9) // 2 * 2 - 1500)
    job = job_of(datasets.keras_classifier, path, output={"shard_bytes": 8000})
    with pytest.raises(AttribeamError) as caught:
        launch(job)
    said(caught.value, AttribeamError, "E_PARQUET_INVALID", [FILE, "rows", "again"])
    assert not (pathlib.Path(job.output.path) / names.SUCCESS).exists()
    for part in datasets.parts(job.output.path):
        assert pq.read_table(part)["status"].to_pylist() == ["ok"] * pq.read_metadata(part).num_rows


SETTINGS = {
    "missing column": ({"features": {"x": "pixls"}}, {}, "E_COLUMN_MISSING", ["'pixls'", "'pixels'", "correct"]),
    "column of another dtype": ({"features": {"x": "name"}}, {}, "E_FEATURE_DTYPE", ["'x'", "'name'", "float32"]),
    "column of another shape": ({"features": {"x": "age"}}, {}, "E_FEATURE_SHAPE", ["'x'"]),
    "missing label": ({"label": "lable"}, {}, "E_COLUMN_MISSING", ["'lable'", "'label'"]),
    "shape of another size": (
        {"features": {"x": {"column": "pixels", "shape": [5]}}},
        {},
        "E_FEATURE_SHAPE",
        ["input.features.x.shape", "5", "4", "correct"],
    ),
    "no such model input": ({"features": {"image": "pixels"}}, {}, "E_FEATURE_INPUTS", ["'image'", "'x'"]),
    "no such signature": ({}, {"signature": "serve"}, "E_MODEL_SIGNATURE", ["'serve'", "'explain'", "model.signature"]),
    "no such output": ({}, {"output": "probs"}, "E_MODEL_OUTPUT", ["'probs'", "'logits'", "model.output"]),
    "no such model": ({}, {"path": "/nowhere/model"}, "E_MODEL_MISSING", ["/nowhere/model", "model.path"]),
}


@pytest.mark.parametrize("kind", ["parquet", "none"])
@pytest.mark.parametrize(("source", "model", "code", "says"), list(SETTINGS.values()), ids=list(SETTINGS))
def test_a_configuration_that_does_not_fit_is_refused_at_launch(
    job_of: Any, kind: str, source: dict[str, Any], model: dict[str, Any], code: str, says: list[str]
) -> None:
    job = job_of(datasets.saved_model, kind, input=source, model=model)
    with pytest.raises(AttribeamError) as caught:
        launch(job)
    tolerant = kind == "none" and code in ("E_COLUMN_MISSING", "E_FEATURE_SHAPE")  # a TFRecord lists no columns
    said(caught.value, UsageError, code, says[:1] if tolerant else says)
    assert not pathlib.Path(job.output.path).exists()


def test_another_runs_directory_is_refused_with_the_fields_that_differ(job_of: Any) -> None:
    out = pathlib.Path(launch(job_of(datasets.keras_classifier)).root)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError) as caught:
        launch(job_of(datasets.keras_classifier, attribution={"steps": 9, "target": 1}))
    says = ["attribution.steps (8 there, 9 now)", "attribution.target ('label' there, 1 now)", "output.path"]
    said(caught.value, UsageError, "E_OUTPUT_OTHER_RUN", [str(out)[:40], *says])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
