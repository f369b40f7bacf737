"""Arrow columns to model inputs: every column kind, every fault, and equal values from Parquet and TFRecord."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from feature_columns import codes, tensor_column, wanted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms.records.decode import decode
from transforms.records.feature import check_column
from transforms.records.source import RowRange, Selection, Source, read_rows

VALUES = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
FLAT = VALUES.reshape(5, 6).tolist()
COLUMNS = {
    "list": pa.array(FLAT, pa.list_(pa.float32())),
    "large_list": pa.array(FLAT, pa.large_list(pa.float32())),
    "fixed_size_list": pa.array(FLAT, pa.list_(pa.float32(), 6)),
    "nested": pa.array(VALUES.tolist(), pa.list_(pa.list_(pa.float32()))),
    "nested_fixed": pa.array(VALUES.tolist(), pa.list_(pa.list_(pa.float32(), 3), 2)),
    "nested_mixed": pa.array(VALUES.tolist(), pa.large_list(pa.list_(pa.float32(), 3))),
    "float64": pa.array(FLAT, pa.list_(pa.float64())),
    "float16": pa.array(VALUES.reshape(5, 6).astype(np.float16).tolist(), pa.list_(pa.float16())),
    "int8": pa.array(VALUES.reshape(5, 6).astype(int).tolist(), pa.list_(pa.int8())),
    "uint64": pa.array(VALUES.reshape(5, 6).astype(int).tolist(), pa.list_(pa.uint64())),
    "dictionary_leaf": pa.ListArray.from_arrays(
        np.arange(0, 31, 6, dtype=np.int32), pa.array(VALUES.ravel()).dictionary_encode()
    ),
    "tensor": tensor_column(VALUES),
    "tensor_permuted": tensor_column(VALUES, [1, 0]),
    "tensor_flat": tensor_column(VALUES.reshape(5, 6)),
    "raw": pa.array([row.tobytes() for row in VALUES], pa.binary()),
    "raw_large": pa.array([row.tobytes() for row in VALUES], pa.large_binary()),
    "raw_fixed": pa.array([row.tobytes() for row in VALUES], pa.binary(24)),
    "raw_list": pa.array([[row.tobytes()] for row in VALUES], pa.list_(pa.binary())),
    "raw_dictionary": pa.array([row.tobytes() for row in VALUES], pa.binary()).dictionary_encode(),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_column_kind_whole_sliced_and_with_nulls(kind: str) -> None:
    column = COLUMNS[kind]
    feature = wanted((2, 3), decode="raw" if kind.startswith("raw") else None)
    check_column(column.type, feature, "f.parquet")
    for part in (slice(0, 5), slice(1, 4), slice(4, 5), slice(2, 2)):
        values, faults = decode(column[part], feature)
        assert values.dtype == np.float32
        assert values.shape == (len(column[part]), 2, 3)
        np.testing.assert_array_equal(values, VALUES[part])
        assert not faults
    with_null = column.take(pa.array([4, None, 0, 2]))
    values, faults = decode(with_null[1:], feature)
    np.testing.assert_array_equal(values, np.stack([VALUES[0] * 0, VALUES[0], VALUES[2]]))
    assert codes(faults) == {0: "E_FEATURE_MISSING"}


@pytest.mark.parametrize("kind", [*COLUMNS, "scalar", "bool"])
def test_every_column_kind_survives_parquet(kind: str, tmp_path: Path) -> None:
    column = {"scalar": pa.array([0.5, 2.0]), "bool": pa.array([True, False])}.get(kind, COLUMNS.get(kind))
    feature = wanted(() if kind in ("scalar", "bool") else (2, 3), decode="raw" if kind.startswith("raw") else None)
    content = io.BytesIO()
    pq.write_table(pa.table({"pixels": column}), content, row_group_size=2)
    selection = Selection(("pixels",), RowRange(0, len(column)), 100)
    batches = list(read_rows(content, Source("f", "parquet"), selection))
    stored = np.concatenate([decode(batch.table["pixels"], feature)[0] for batch in batches])
    np.testing.assert_array_equal(stored, decode(column, feature)[0])
    assert stored.any()


@pytest.mark.parametrize("shape", [(), (1,)])
def test_scalars(shape: tuple[int, ...]) -> None:
    for column in (pa.array([1, 0, None]), pa.array([True, False, None]), pa.array(["a"]), pa.array([1.0, 0.0, None])):
        feature = wanted(shape)
        if pa.types.is_string(column.type):
            continue
        values, faults = decode(column, feature)
        np.testing.assert_array_equal(values, np.array([1, 0, 0], np.float32).reshape(3, *shape))
        assert codes(faults) == {2: "E_FEATURE_MISSING"}
        values, faults = decode(column.dictionary_encode(), feature)
        np.testing.assert_array_equal(values.ravel(), [1, 0, 0])


def test_a_list_without_nulls_is_not_copied() -> None:
    column = COLUMNS["list"]
    values, _ = decode(column, wanted((2, 3)))
    assert np.shares_memory(values, column.values.to_numpy())


def test_structure_faults_leave_the_other_rows() -> None:
    column = pa.array([[1, 2], [1], None, [3, 4], [5, None], [], [6, 7, 8], [9, 10]], pa.list_(pa.float32()))
    values, faults = decode(column, wanted((2,)))
    assert codes(faults) == {
        1: "E_FEATURE_SHAPE",
        2: "E_FEATURE_MISSING",
        4: "E_FEATURE_NULL",
        5: "E_FEATURE_SHAPE",
        6: "E_FEATURE_SHAPE",
    }
    np.testing.assert_array_equal(values[[0, 3, 7]], [[1, 2], [3, 4], [9, 10]])
    assert not values[[1, 2, 4, 5, 6]].any()


def test_the_message_of_a_wrong_length() -> None:
    _, faults = decode(pa.array([[0.0] * 783]), wanted((28, 28, 1)))
    assert faults[0].message.startswith("feature 'image' has 783 values; the model wants 28x28x1 = 784")


def test_nulls_at_every_level_of_a_nested_list() -> None:
    column = pa.array([[[1, 2], [3, 4]], [[1, 2], None], None, [[1, None], [3, 4]], [[5, 6], [7, 8]]])
    values, faults = decode(column, wanted((2, 2)))
    assert codes(faults) == {1: "E_FEATURE_NULL", 2: "E_FEATURE_MISSING", 3: "E_FEATURE_NULL"}
    np.testing.assert_array_equal(values[[0, 4]], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]])


def test_nothing_but_nulls() -> None:
    for column in (pa.nulls(2), pa.array([None, None], pa.list_(pa.float32())), pa.array([None, None], pa.float32())):
        values, faults = decode(column, wanted((1,)))
        assert values.shape == (2, 1)
        assert codes(faults) == {0: "E_FEATURE_MISSING", 1: "E_FEATURE_MISSING"}


def as_tfrecord(path: Path, rows: np.ndarray) -> bytes:
    kind = "float_list" if rows.dtype.kind == "f" else "int64_list"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            example = tf.train.Example()
            getattr(example.features.feature["pixels"], kind).value.extend(row.ravel().tolist())
            writer.write(example.SerializeToString())
    return path.read_bytes()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.int64, np.int32]))
def test_parquet_and_tfrecord_of_the_same_rows_agree(tmp_path: Path, data: st.DataObject, dtype: type) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=5))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype is np.float32 else None
    rows = data.draw(hnp.arrays(dtype, shape, elements=elements))
    feature = wanted(shape[1:], np.dtype(dtype).name)
    start = data.draw(st.integers(0, len(rows) - 1))
    parquet = io.BytesIO()
    pq.write_table(pa.table({"pixels": pa.array(rows.reshape(len(rows), -1).tolist())}), parquet, row_group_size=2)
    tfrecord = io.BytesIO(as_tfrecord(tmp_path / "f", rows))
    for file, format in ((parquet, "parquet"), (tfrecord, "tfrecord")):
        selection = Selection(("pixels",), RowRange(start, len(rows)), 3)
        batches = [decode(b.table["pixels"], feature) for b in read_rows(file, Source("f", format), selection)]
        assert not any(faults for _, faults in batches)
        np.testing.assert_array_equal(np.concatenate([values for values, _ in batches]), rows[start:])


ROWS = st.lists(st.none() | st.lists(st.none() | st.integers(-3, 3), max_size=4), max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, size=st.integers(1, 3), start=st.integers(0, 4), large=st.booleans())
def test_decode_agrees_with_a_loop_over_rows(rows: list, size: int, start: int, large: bool) -> None:
    kind = (pa.large_list if large else pa.list_)(pa.int16())
    values, faults = decode(pa.array(rows, kind)[start:], wanted((size,)))
    for at, row in enumerate(rows[start:]):
        good = row is not None and None not in row and len(row) == size
        assert good == (at not in faults)
        np.testing.assert_array_equal(values[at], row if good else np.zeros(size))
    assert len(values) == len(rows[start:])
