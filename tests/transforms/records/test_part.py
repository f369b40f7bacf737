"""Parts: what is written is what is read back, and whatever is damaged, cut or foreign says so."""

from __future__ import annotations

import io
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transforms.errors import AttribeamError, Fault
from transforms.records import part, part_writer
from transforms.records.columns import attribution_columns
from transforms.records.config import ColumnsConfig
from transforms.records.examples import Refusal
from transforms.records.part_writer import PartWriter, quarantined, write_quarantine

ABOUT = part.Provenance("f" * 64, 3, "digest", 5, 1, 16, "CPU")


def schema(**fields: Any) -> pa.Schema:
    columns = attribution_columns(ColumnsConfig(**fields), {"x": (4,)}, {})
    return part.part_schema(columns, {"label": pa.int64()}, False, ABOUT)


def rows(kind: pa.Schema, count: int = 5, status: str = "ok") -> pa.RecordBatch:
    """Rows that count up; every other one has no rounding."""
    arrays = []
    for field in kind:
        if field.name == "status":
            arrays.append(pa.array([status] * count).dictionary_encode().cast(field.type))
        elif field.name == "rounding":
            arrays.append(pa.array([0.25 if row % 2 else None for row in range(count)], field.type))
        elif field.name == "attribution_x":
            flat = pa.array(np.zeros(4 * count, field.type.value_type.to_pandas_dtype()))
            arrays.append(pa.ExtensionArray.from_storage(field.type, pa.FixedSizeListArray.from_arrays(flat, 4)))
        elif pa.types.is_string(field.type):
            arrays.append(pa.array(["a"] * count))
        else:
            arrays.append(pa.array(np.arange(count), pa.int64()).cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=kind)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "part"


def written(path: pathlib.Path, *batches: pa.RecordBatch, kind: pa.Schema | None = None) -> bytes:
    with PartWriter(path, lambda: kind or batches[0].schema) as writer:
        for batch in batches:
            writer.write(batch)
    return path.read_bytes()


def totals(data: bytes) -> part.Totals:
    return part.read_totals(io.BytesIO(data), "part-x")[1]


def code_of(call: Any) -> str:
    with pytest.raises(AttribeamError) as error:
        call()
    assert "part-x: " in error.value.message
    return error.value.code


def test_a_part_tells_what_it_holds(path: pathlib.Path) -> None:
    kind = schema()
    data = written(path, rows(kind), rows(kind, 2, "flat"))
    metadata, count = part.read_footer(io.BytesIO(data), "part-x")
    assert (count, metadata) == (7, {key.removeprefix(part.PREFIX): value for key, value in ABOUT.metadata().items()})
    by_status, rows_of = {"ok": 5, "unconverged": 0, "flat": 2, "nonfinite": 0}, np.array([0, 1, 2, 3, 4, 0, 1])
    assert totals(data) == part.Totals(7, 10 + 1, by_status, (0.0, 0.0), rows_of)
    assert totals(data).source_rows.tolist() == rows_of.tolist()


def test_what_rounding_changed_is_added_up(path: pathlib.Path) -> None:
    assert totals(written(path, rows(schema(dtype="float16")))).rounding == (0.25, 0.5)


def test_a_part_without_rows_is_a_part(path: pathlib.Path) -> None:
    data = written(path, kind=schema())
    assert totals(data).rows == 0


def test_row_groups_end_when_they_are_large_enough(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = schema()
    batch = rows(kind)
    monkeypatch.setattr(part_writer, "ROW_GROUP_BYTES", 2 * batch.nbytes)
    metadata = pq.read_metadata(io.BytesIO(written(path, batch, batch, batch)))
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [10, 5]


@pytest.mark.parametrize("flushed", [True, False])
def test_an_exception_leaves_no_footer(path: pathlib.Path, flushed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_writer, "ROW_GROUP_BYTES", 1 if flushed else 2**30)
    batch = rows(schema())
    with pytest.raises(ZeroDivisionError), PartWriter(path, lambda: batch.schema) as writer:
        writer.write(batch)
        _ = 1 / 0
    assert code_of(lambda: part.read_footer(io.BytesIO(path.read_bytes()), "part-x")) == "E_PART_DAMAGED"


def test_any_damage_is_named(path: pathlib.Path) -> None:
    data = bytearray(written(path, rows(schema())))
    column = pq.read_metadata(path).row_group(0).column(2)
    assert (column.path_in_schema, column.has_dictionary_page) == ("source_row", False)
    page = data.copy()
    page[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    assert code_of(lambda: totals(bytes(page))) == "E_PART_DAMAGED"
    assert code_of(lambda: totals(bytes(data[:-9]))) == "E_PART_DAMAGED"
    other = io.BytesIO()
    pq.write_table(pa.table({"source_file": ["a"], "steps": [1]}), other)
    assert code_of(lambda: totals(other.getvalue())) == "E_PART_DAMAGED", "it has no status"


def test_a_file_without_metadata_is_somebody_elses(path: pathlib.Path) -> None:
    pq.write_table(pa.table({"source_file": ["b"]}), path)
    with path.open("rb") as file:
        assert part.read_footer(file, "part-x") == ({}, 1)


def test_refused_rows_in_the_order_of_the_input(path: pathlib.Path) -> None:
    refusals = [Refusal("b", 4, Fault("E_B", "two")), Refusal("a", 2, Fault("E_A", "one"))]
    write_quarantine(path, quarantined(refusals, "a.parquet"), ABOUT)
    assert pq.read_table(path).to_pylist() == [
        {"row_id": "a", "source_file": "a.parquet", "source_row": 2, "code": "E_A", "message": "one"},
        {"row_id": "b", "source_file": "a.parquet", "source_row": 4, "code": "E_B", "message": "two"},
    ]
    with path.open("rb") as file:
        assert part.read_refused(file, "part-x") == [(2, "E_A"), (4, "E_B")]
        assert part.read_footer(file, "part-x")[0]["shard"] == "3"
    pq.write_table(pa.table({"row_id": ["a"]}), path)
    assert code_of(lambda: part.read_refused(io.BytesIO(path.read_bytes()), "part-x")) == "E_PART_DAMAGED"
