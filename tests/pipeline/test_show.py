"""`attribeam show` of whole runs: which row is found, by which parts, and what is said of one that is not there."""

from __future__ import annotations

import pathlib
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Command, launch, read

from pipeline.show.find import find_row
from transforms.errors import AttribeamError, UsageError

NAMED = {"id": "name", "keep": ["counts"]}


def test_a_row_in_the_terminal_as_a_picture_and_as_a_page(
    job_of: Any, attribeam: Command, tmp_path: pathlib.Path
) -> None:
    model = {"classes": ["cat", "dog", "<bird>"]}
    job = job_of(datasets.keras_classifier, model=model, input=NAMED, output={"shard_bytes": 100})
    out = launch(job).root
    stored = read(out).to_pylist()[17]
    code, said, errors = attribeam("show", out, "row/17 é")
    assert (code, errors) == (0, "")
    assert said.startswith("row/17 é\n") and f"{stored['output']:.6g}" in said and "status" in said
    assert f"label            {stored['label']} {model['classes'][stored['label']]}" in " ".join(said.split(" "))
    for value in stored["attribution_x"]:
        assert f"{value:+.4g}" in said
    png, page = tmp_path / "row.png", tmp_path / "row.html"
    code, said, _ = attribeam("show", out, "row/17 é", "--png", png, "--html", page)
    assert (code, said.count("is written")) == (0, 2)
    assert png.read_bytes().startswith(b"\x89PNG") and "row/17 é" in page.read_text(encoding="utf-8")


def test_only_the_row_groups_that_can_hold_a_row_are_read(job_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = launch(job_of(datasets.keras_classifier, input=NAMED, output={"shard_bytes": 100})).root
    opened, real = list[Any](), pq.ParquetFile.read_row_group

    def reading(self: Any, group: int, *columns: Any, **options: Any) -> Any:
        opened.append(columns)
        return real(self, group, *columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", reading)
    assert find_row(out, "row/17 é").row["row_id"].to_pylist() == ["row/17 é"]
    assert len(datasets.parts(out)) > 3
    assert len(opened) < 2 * len(datasets.parts(out))


def test_one_of_several_targets(job_of: Any, attribeam: Command) -> None:
    out = launch(job_of(datasets.keras_classifier, input=NAMED, attribution={"target": {"top_k": 2}})).root
    here = [row for row in read(out).to_pylist() if row["row_id"] == "row/3 é"]
    first, second = (row["target"] for row in here)
    for target, wanted in ((None, first), (first, first), (second, second)):
        found = find_row(out, "row/3 é", target)
        assert found.row["target"].to_pylist() == [wanted] and found.others == [({first, second} - {wanted}).pop()]
    (missing,) = set(range(3)) - {first, second}
    code, _, errors = attribeam("show", out, "row/3 é", "--target", str(missing))
    assert (code, f"not explained at target {missing}, but at" in errors) == (2, True)


def test_a_row_that_is_not_there_and_one_that_was_refused(job_of: Any, tmp_path: pathlib.Path) -> None:
    rows = datasets.rows()
    rows["pixels"][4, 0] = np.nan
    path = datasets.write_parquet(tmp_path / "d" / "d.parquet", rows)
    limits = {"quarantined": 0.5}
    out = launch(job_of(datasets.keras_classifier, path, input=NAMED, limits=limits)).root
    with pytest.raises(UsageError, match=r"E_ROW_UNKNOWN.*'row/1 ', |E_ROW_UNKNOWN.*'row/1 é'"):
        find_row(out, "row/1 e")
    with pytest.raises(UsageError, match=r"E_ROW_UNKNOWN.*was refused: E_FEATURE_NONFINITE"):
        find_row(out, "row/4 é")
    with pytest.raises(AttribeamError, match="E_RUN_UNFINISHED"):
        find_row(str(tmp_path / "nothing"), "row/1")
