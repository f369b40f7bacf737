"""`attribeam audit`: the tables that a run gets, by Beam what the plain reading of its parts gives."""

import json
import pathlib
import re
from collections import Counter
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.audit import audit
from pipeline.launch import run
from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.audited_parts import AuditJob, audit_parts
from transforms.errors import AttribeamError
from transforms.runs.verify import verify_run
from transforms.storage.manifest import PART
from transforms.storage.place import Place, open_place


@pytest.fixture
def place(job_of: Any, tmp_path: pathlib.Path) -> Place:
    """A run of several parts."""
    run(job_of(datasets.linear, output={"shard_bytes": 400}), tmp_path)
    return open_place(str(tmp_path / "out"))


def test_the_audit_of_a_run(place: Place, tmp_path: pathlib.Path) -> None:
    parts = [name for name in place.names() if PART.fullmatch(name)]
    assert len(parts) > 1
    found = audit(place.root, command="attribeam audit out")
    plain = audit_parts(parts, AuditJob(place.root), place)
    for name, table in plain.tables.items():
        assert str(found.tables[name].to_pylist()) == str(table.to_pylist()), name
    assert AuditTables.read(place) == found.tables
    about = found.tables.about
    assert about["run"]["rows"] == found.tables["slices"]["rows"][0].as_py() == datasets.ROWS
    assert about["run"]["command"] == "attribeam audit out" and about["findings"] == []
    # nothing that a run vouches for has changed, and it resumes as if there were no audit
    assert verify_run(place, deep=True) == []
    standing = audit(place.root, again=False)
    assert not standing.computed and standing.tables == found.tables
    assert audit(place.root).computed


def test_a_run_without_an_end_has_no_audit(place: Place) -> None:
    place.remove("_SUCCESS")
    with pytest.raises(AttribeamError, match="E_RUN_UNFINISHED"):
        audit(place.root)


def test_a_part_that_is_lost_or_damaged_is_named(place: Place) -> None:
    first = next(name for name in place.names() if PART.fullmatch(name))
    file = pathlib.Path(place.root) / first
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    with pytest.raises(AttribeamError, match=f"E_PART_DAMAGED: {first}"):
        audit(place.root)
    file.unlink()
    with pytest.raises(AttribeamError, match=f"E_PART_MISSING: {first}"):
        audit(place.root)


# One more of each than an audit shows: 1,000 values of a slice, 1,000 ids that occur twice
VALUES, REFUSED = 1005, 7


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory, build: Any) -> pathlib.Path:
    """A run of 2,010 rows, of which the first seven are refused: every two rows have one name, and every 1,005th the
    same batch. Then its audit."""
    folder, count = tmp_path_factory.mktemp("crowded"), 2 * VALUES
    rows = datasets.rows(count)
    pixels = [None if row < REFUSED else values.tolist() for row, values in enumerate(rows["pixels"])]
    rows |= {
        "pixels": pa.array(pixels, pa.list_(pa.float32())),
        "name": [f"row {row // 2}" for row in range(count)],
        "batch": np.arange(count) % VALUES,
    }
    file, model = datasets.write_parquet(folder / "rows.parquet", rows, 500), build(datasets.linear)
    kept = {"id": "name", "keep": ["batch"]}
    limits = {"quarantined": 0.5}
    run(datasets.job(folder / "out", model.model, file, model.features, input=kept, limits=limits), folder)
    audit(str(folder / "out"))
    return folder / "out"


def test_refused_rows_are_counted_by_code_and_nowhere_else(crowded: pathlib.Path) -> None:
    found = AuditTables.read(open_place(str(crowded)))
    refused = [row for file in crowded.glob("_quarantine/part-*") for row in pq.read_table(file).to_pylist()]
    assert len(refused) == REFUSED
    codes = Counter(row["code"] for row in refused)
    assert {row["code"]: row["rows"] for row in found["quarantine"].to_pylist()} == codes
    messages = [row["message"][:200] for row in refused]
    assert all(row["message"] in messages for row in found["quarantine"].to_pylist())
    assert found["slices"]["rows"][0].as_py() == found.about["run"]["rows"] == 2 * VALUES - REFUSED
    assert found.about["run"]["quarantined"] == REFUSED
    page = (crowded / "_audit/report.html").read_text(encoding="utf-8")
    assert all(code in page for code in codes)


def test_of_too_many_values_the_rest_is_one_slice(crowded: pathlib.Path) -> None:
    found = AuditTables.read(open_place(str(crowded)))
    counts = {row["value"]: row["rows"] for row in found["slices"].to_pylist() if row["slice"] == "keep:batch"}
    rest = VALUES - 1000
    # the refused rows were the first of the batches 0 to 6
    expected = {str(value): 1 if value < REFUSED else 2 for value in range(1000)}
    assert counts == expected | {"(other)": 2 * rest}
    values = datasets.read(crowded)
    other = datasets.attributions(values)[values["batch"].to_numpy() >= 1000]
    means = {
        row["position"]: (row["rows"], row["mean"])
        for row in found["features"].to_pylist()
        if (row["slice"], row["value"]) == ("keep:batch", "(other)")
    }
    # ten float64 numbers are added
    assert means == {
        place: (2 * rest, pytest.approx(mean, rel=10 * 2**-52)) for place, mean in enumerate(other.mean(axis=0))
    }
    assert any("keep:batch has more than 1000 values" in said for said in found.about["limits"])


def test_of_too_many_repeated_ids_the_first_are_shown_and_all_are_counted(crowded: pathlib.Path) -> None:
    found = AuditTables.read(open_place(str(crowded)))
    # of `row 0` to `row 3` at most one row was left
    repeated = [f"row {number}" for number in range((REFUSED + 1) // 2, VALUES)]
    assert found.about["duplicates"] == {"repeated": len(repeated), "sampled": 1.0}
    assert len(repeated) > 1000
    assert found["duplicates"]["row_id"].to_pylist() == repeated[:1000]
    assert set(found["duplicates"]["rows"].to_pylist()) == {2}
    page = (crowded / "_audit/report.html").read_text(encoding="utf-8")
    assert re.search(f"the first 1,000 of {len(repeated):,}", page)
    assert json.loads((crowded / "_manifest.json").read_bytes())["rows"] == 2 * VALUES - REFUSED
