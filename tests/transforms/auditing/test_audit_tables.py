"""An audit is written and read as it is, put over an older one, and refused when it was changed since."""

import pathlib

import pyarrow as pa
import pytest

from transforms.auditing.audit_tables import SCHEMAS, AuditTables
from transforms.errors import AttribeamError
from transforms.storage.place import open_place

COUNTS = pa.table({"rows": pa.array([3, 1], pa.int32()), "label": ["0", "1"], "predicted": ["0", "0"]})


@pytest.fixture
def audit() -> AuditTables:
    return AuditTables.of({"confusion": COUNTS}, {"run": {"rows": 4}})


def test_every_table_is_there_in_its_schema(audit: AuditTables) -> None:
    assert {name: table.schema for name, table in audit.tables.items()} == dict(SCHEMAS)
    assert audit["confusion"].to_pylist()[0] == {"label": "0", "predicted": "0", "rows": 3}
    assert len(audit["slices"]) == 0


def test_a_table_that_an_audit_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError, match="'confusions'"):
        AuditTables.of({"confusions": COUNTS}, {})


def test_rows_carry_the_columns_of_the_run(audit: AuditTables) -> None:
    row = {"slice": ["all"], "value": [""], "kind": ["worst"], "rank": [0], "score": [0.5], "row_id": ["a"]}
    carried = AuditTables.of({"rows": pa.table({**row, "attribution_x": [[1.0, 2.0]]})}, {})
    assert carried["rows"].column_names == [*SCHEMAS["rows"].names, "row_id", "attribution_x"]


def test_what_is_written_is_read(audit: AuditTables, tmp_path: pathlib.Path) -> None:
    place = open_place(str(tmp_path))
    written = audit.write(place)
    assert AuditTables.read(place) == written
    assert written.about["tables"]["confusion.parquet"]["rows"] == 2


def test_a_later_audit_takes_the_place_of_the_earlier(audit: AuditTables, tmp_path: pathlib.Path) -> None:
    place = open_place(str(tmp_path))
    audit.write(place)
    later = AuditTables.of({}, {"run": {"rows": 5}}).write(place)
    assert AuditTables.read(place) == later
    assert place.names() == sorted(["_audit/audit.json", *(f"_audit/{name}.parquet" for name in SCHEMAS)])


def test_an_audit_that_is_not_there_is_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(AttribeamError, match="E_AUDIT_MISSING"):
        AuditTables.read(open_place(str(tmp_path)))


@pytest.mark.parametrize("file", ["confusion.parquet", "audit.json"])
def test_a_changed_audit_is_refused(audit: AuditTables, tmp_path: pathlib.Path, file: str) -> None:
    audit.write(open_place(str(tmp_path)))
    damaged = tmp_path / "_audit" / file
    damaged.write_bytes(damaged.read_bytes()[:-9])
    with pytest.raises(AttribeamError, match="E_AUDIT_DAMAGED"):
        AuditTables.read(open_place(str(tmp_path)))
