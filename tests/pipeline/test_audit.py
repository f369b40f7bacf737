"""`attribeam audit`: the tables that a run gets, by Beam what the plain reading of its parts gives."""

import pathlib
from typing import Any

import datasets
import pytest

from pipeline.audit import audit
from pipeline.launch import run
from transforms.auditing.audit_tables import AuditTables
from transforms.auditing.audited_parts import AuditJob, audit_parts
from transforms.errors import AttribeamError
from transforms.storage.manifest import PART
from transforms.storage.place import Place, open_place
from transforms.verify import verify_run


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
