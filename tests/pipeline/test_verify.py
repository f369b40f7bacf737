"""`verify`: a finished run that is no longer what it was is always found out."""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import launch

from transforms.errors import AttribeamError
from transforms.runs.verify import completeness_faults, require_valid, verify_run
from transforms.storage.place import open_place


@pytest.fixture
def out(job_of: Any) -> pathlib.Path:
    return pathlib.Path(launch(job_of(datasets.keras_classifier, output={"shard_bytes": 600})).root)


def faults(out: pathlib.Path) -> list[str]:
    """What `verify` says, errors included."""
    try:
        return verify_run(open_place(str(out)))
    except AttribeamError as error:
        return [str(error)]


def test_a_missing_and_an_extra_file_are_named(out: pathlib.Path) -> None:
    first = datasets.parts(out)[0]
    kept = first.read_bytes()
    first.unlink()
    assert faults(out) == [f"{first.name}: missing"]
    first.write_bytes(kept)
    shutil.copy(first, out / "part-00099-0123456789ab.parquet")
    (out / "_quarantine").mkdir()
    (out / "_quarantine/x é.txt").write_text("hello")
    assert faults(out) == [
        "_quarantine/x é.txt: not a file of this run",
        "part-00099-0123456789ab.parquet: not a file of this run",
    ]


def test_audits_and_set_aside_files_are_no_faults(out: pathlib.Path) -> None:
    for name in ("_audit/report.html", "_quarantine/damaged/1-part.parquet"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("x")
    assert faults(out) == []


def rewritten(path: pathlib.Path, column: str, change: float) -> None:
    """A part as an honest writer would leave it, but with one value changed."""
    table = pq.read_table(path)
    values = table[column].to_numpy().copy()
    values[2] += change
    changed = table.set_column(table.column_names.index(column), column, pa.array(values, pa.float32()))
    pq.write_table(changed, path, compression="zstd", write_page_checksum=True)


@pytest.mark.parametrize("column", ["delta", "output", "baseline_output"])
def test_a_row_that_does_not_add_up_is_found(out: pathlib.Path, column: str) -> None:
    path = datasets.parts(out)[0]
    place = open_place(str(out))
    assert completeness_faults(place, path.name) == []
    largest = float(np.abs(pq.read_table(path)["output"].to_numpy()).max())
    rewritten(path, column, 1e-4 * largest)
    (fault,) = completeness_faults(place, path.name)
    assert path.name in fault
    assert f"in 1 rows, first {datasets.STEM}.parquet#2" in fault


def test_deep_verification_reaches_the_rows(out: pathlib.Path) -> None:
    """A forged run whose every checksum is right: only the sums give it away."""
    path = datasets.parts(out)[0]
    rewritten(path, "delta", 0.5)
    forge_records(out, path)
    place = open_place(str(out))
    assert verify_run(place) == []
    (fault,) = verify_run(place, deep=True)
    assert "delta is not" in fault
    with pytest.raises(AttribeamError, match=r"E_VERIFY: 1 faults"):
        require_valid(place, deep=True)


def forge_records(out: pathlib.Path, part: pathlib.Path) -> None:
    """Make `_files.parquet`, `_manifest.json` and `_SUCCESS` vouch for a changed part."""
    import hashlib
    import json

    def digest(path: pathlib.Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    listed = pq.read_table(out / "_files.parquet")
    rows = listed.to_pylist()
    for row in rows:
        if row["file"] == part.name:
            row |= {"sha256": digest(part), "bytes": part.stat().st_size}
    pq.write_table(pa.Table.from_pylist(rows, listed.schema), out / "_files.parquet")
    manifest = json.loads((out / "_manifest.json").read_text())
    manifest["files_sha256"]["_files.parquet"] = digest(out / "_files.parquet")
    (out / "_manifest.json").write_text(json.dumps(manifest))
    (out / "_SUCCESS").write_text(digest(out / "_manifest.json") + "\n")
