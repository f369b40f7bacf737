"""Examples become columns; what is no Example is a fault of its row."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal
from tfrecord_files import column, digits, example, faults, framed, read

from transforms.errors import UsageError
from transforms.records import tf_examples
from transforms.records.source import RowRange, schema_of


def test_a_batch_ends_early_at_its_byte_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf_examples, "MAX_BATCH_BYTES", 100)
    batches = read(framed(tmp_path / "f", [example(b=[b"x" * 60])] * 5), RowRange(0, 5), ("b",), 100)
    assert [batch.table.num_rows for batch in batches] == [2, 2, 1]


def test_other_payloads_are_row_faults(tmp_path: Path) -> None:
    payloads = [example(y=[0]), b"\xff" * 5000, example(y=[2]), b"\x0a\xff", b""]
    batches = read(framed(tmp_path / "f", payloads), RowRange(0, 5))
    assert faults(batches) == {1: "E_RECORD_PARSE", 3: "E_RECORD_PARSE"}
    assert column(batches) == [[0], None, [2], None, None]


def test_the_majority_decides_a_columns_kind(tmp_path: Path) -> None:
    payloads = [example(y=[1], z=[1.0]), example(y=[2.0], z=[2.0]), example(y=[3], z=[3.0]), example(z=[4.0])]
    batches = read(framed(tmp_path / "f", payloads), RowRange(0, 4), ("y", "z"), 10)
    assert faults(batches) == {1: "E_FEATURE_DTYPE"}
    assert column(batches) == [[1], None, [3], None]
    assert column(batches, "z") == [[1.0], [2.0], [3.0], [4.0]]


def test_empty_lists_are_not_null(tmp_path: Path) -> None:
    batches = read(framed(tmp_path / "f", [example(x=[]), example(x=[1.0])]), RowRange(0, 2), ("x",))
    assert column(batches, "x") == [[], [1.0]]


def test_unknown_fields_beside_the_values_change_nothing(tmp_path: Path) -> None:
    values = tf.train.FloatList(value=[1.0, 2.0]).SerializeToString() + b"\x12\x02ab"
    one = b"\x12" + bytes([len(values)]) + values  # Feature.float_list
    entry = b"\x0a\x01x\x12" + bytes([len(one)]) + one
    features = b"\x0a" + bytes([len(entry)]) + entry
    payload = b"\x0a" + bytes([len(features)]) + features
    assert column(read(framed(tmp_path / "f", [payload]), RowRange(0, 1), ("x",)), "x") == [[1.0, 2.0]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=40), min_size=1, max_size=6))
def test_float_lists_round_trip(tmp_path: Path, rows: list[list[float]]) -> None:
    content = framed(tmp_path / "f", [example(x=row) for row in rows])
    assert column(read(content, RowRange(0, len(rows)), ("x",), 100), "x") == rows


def test_no_columns_still_counts_rows(tmp_path: Path) -> None:
    assert [b.table.num_rows for b in read(digits(tmp_path / "f"), RowRange(1, 6), (), 3)] == [3, 2]


def test_names_are_data(tmp_path: Path) -> None:
    content = framed(tmp_path / "f", [example(**{"{0}*[a].b%s": [1]})])
    assert column(read(content, RowRange(0, 1), ("{0}*[a].b%s",)), "{0}*[a].b%s") == [[1]]


def test_schema(tmp_path: Path) -> None:
    content = digits(tmp_path / "f")
    described = schema_of(io.BytesIO(content), "f", "tfrecord", "none")
    assert described == {"b": "bytes_list[1]", "x": "float_list[2]", "y": "int64_list[1]"}


def test_schema_of_a_file_without_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        schema_of(io.BytesIO(framed(tmp_path / "f", [b"\xff\xff"])), "f.tfrecord", "tfrecord", "none")
    refusal(error, "E_RECORD_PARSE", "f.tfrecord record 0")
