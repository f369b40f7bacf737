"""Arrow columns to model inputs: every column kind, every fault, and equal values from Parquet and TFRecord."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transforms.errors import UsageError
from transforms.records.config import FeatureConfig
from transforms.records.decode import Feature, check_column, decode, integers, resolve
from transforms.records.source import RowRange, Selection, Source, read_rows


def wanted(shape: tuple[int, ...] = (), dtype: str = "float32", /, **config: object) -> Feature:
    return resolve("image", FeatureConfig(column="pixels", **config), shape, dtype)


def codes(faults: dict) -> dict[int, str]:
    assert all(len(fault.message) <= 500 and "'image'" in fault.message for fault in faults.values())
    return {row: fault.code for row, fault in faults.items()}


def refusal(error: pytest.ExceptionInfo, code: str, *named: str) -> None:
    assert error.value.code == code
    assert len(str(error.value)) <= 500
    for name in named:
        assert name in str(error.value)


def tensor_column(values: np.ndarray, permutation: list[int] | None = None) -> pa.Array:
    """Stores logical [rows, *shape] values with physical axes so that `permutation` brings them back."""
    order = permutation or list(range(values.ndim - 1))
    physical = np.ascontiguousarray(values.transpose(0, *[int(axis) + 1 for axis in np.argsort(order)]))
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(values.dtype), physical.shape[1:], permutation=permutation)
    flat = pa.FixedSizeListArray.from_arrays(physical.ravel(), math.prod(physical.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, flat)


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


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_nonfinite(bad: float) -> None:
    values, faults = decode(pa.array([[1.0, 2.0], [3.0, bad]]), wanted((2,)))
    assert codes(faults) == {1: "E_FEATURE_NONFINITE"}
    assert f"{bad} at [1]" in faults[1].message
    np.testing.assert_array_equal(values, [[1, 2], [0, 0]])


def test_overflow_by_scale_is_nonfinite() -> None:
    assert codes(decode(pa.array([1.0, 1e30]), wanted((), scale=1e10))[1]) == {1: "E_FEATURE_NONFINITE"}
    assert codes(decode(pa.array([1.0, 70000.0]), wanted((), "float16"))[1]) == {1: "E_FEATURE_NONFINITE"}


@pytest.mark.parametrize(
    ("stored", "dtype", "config", "bad"),
    [
        (pa.int64(), "float32", {}, 2**24 + 1),
        (pa.int64(), "float32", {}, 2**53 + 1),
        (pa.int64(), "float32", {}, 2**63 - 1),
        (pa.int64(), "float64", {}, -(2**53) - 1),
        (pa.uint64(), "float64", {}, 2**64 - 1),
        (pa.int32(), "float32", {}, 2**31 - 1),
        (pa.int32(), "float16", {}, 2049),
        (pa.int32(), "float16", {}, 10**6),
        (pa.int64(), "float32", {"dtype": "uint8"}, 300),
        (pa.int64(), "float32", {"dtype": "uint8"}, -1),
        (pa.int64(), "float32", {"dtype": "int64"}, 2**24 + 1),
        (pa.int64(), "int32", {}, 2**31),
        (pa.int64(), "int8", {}, -129),
        (pa.uint64(), "int64", {}, 2**63),
        (pa.int64(), "bool", {}, 2),
    ],
)
def test_integers_convert_exactly_or_not_at_all(stored: pa.DataType, dtype: str, config: dict, bad: int) -> None:
    values, faults = decode(pa.array([1, bad, 0], stored), wanted((), dtype, **config))
    assert codes(faults) == {1: "E_FEATURE_DTYPE"}
    assert str(bad) in faults[1].message
    np.testing.assert_array_equal(values, np.array([1, 0, 0], dtype))


@pytest.mark.parametrize(("dtype", "fine"), [("float32", 2**62), ("float32", -(2**63)), ("float64", 2**53 + 2)])
def test_large_integers_that_are_exact(dtype: str, fine: int) -> None:
    values, faults = decode(pa.array([fine]), wanted((), dtype))
    assert not faults
    assert int(values[0]) == fine


def test_floats_never_become_integers() -> None:
    _, faults = decode(pa.array([1.0, None]), wanted((), "int32"))
    assert codes(faults) == {0: "E_FEATURE_DTYPE", 1: "E_FEATURE_MISSING"}


def test_scale_and_offset_are_float32() -> None:
    values, _ = decode(pa.array([7, 200], pa.uint8()), wanted((), scale=1 / 255, offset=-0.5))
    expected = np.array([7, 200], np.float32) * np.float32(1 / 255) + np.float32(-0.5)
    np.testing.assert_array_equal(values, expected)
    values, _ = decode(pa.array([7, 200], pa.uint8()), wanted((), "float64", scale=1 / 255, offset=-0.5))
    np.testing.assert_array_equal(values, np.array([7.0, 200.0]) * (1 / 255) - 0.5)
    assert values.dtype == np.float64


@pytest.mark.parametrize("stored", ["uint8", "int16", "float64", "bool"])
def test_raw_bytes_of_a_declared_dtype(stored: str) -> None:
    rows = np.array([[0, 1, 1], [1, 0, 1]]).astype(stored)
    feature = wanted((3,), decode="raw", dtype=stored, scale=2.0)
    values, faults = decode(pa.array([rows[0].tobytes(), b"", rows[1].tobytes(), b"x"]), feature)
    np.testing.assert_array_equal(values[[0, 2]], rows.astype(np.float32) * 2)
    assert codes(faults) == {1: "E_FEATURE_SHAPE", 3: "E_FEATURE_SHAPE"}


def test_a_raw_bool_is_0_or_1() -> None:
    assert codes(decode(pa.array([b"\1", b"\2"]), wanted((1,), "bool", decode="raw"))[1]) == {1: "E_FEATURE_DTYPE"}


def test_a_list_of_bytes_has_one() -> None:
    column = pa.array([[b"abc"], [], [b"abc", b"abc"], [None], None], pa.list_(pa.binary()))
    values, faults = decode(column, wanted((3,), decode="raw", dtype="uint8"))
    assert codes(faults) == {
        1: "E_FEATURE_SHAPE",
        2: "E_FEATURE_SHAPE",
        3: "E_FEATURE_NULL",
        4: "E_FEATURE_MISSING",
    }
    np.testing.assert_array_equal(values[0], [97, 98, 99])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images(channels: int) -> None:
    pixels = np.random.default_rng(channels).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    good, small = tf.io.encode_png(pixels).numpy(), tf.io.encode_png(pixels[:3]).numpy()
    column = pa.array([good, b"no image" * 100, None, small, good[:-30], good])
    values, faults = decode(column[1:], wanted((4, 5, channels), decode="image", scale=1 / 255))
    assert codes(faults) == {
        0: "E_FEATURE_DECODE",
        1: "E_FEATURE_MISSING",
        2: "E_FEATURE_SHAPE",
        3: "E_FEATURE_DECODE",
    }
    np.testing.assert_array_equal(values[4], pixels.astype(np.float32) * np.float32(1 / 255))
    assert not values[:4].any()
    assert f"3x5x{channels}" in faults[2].message


def test_jpeg_and_gif() -> None:
    pixels = np.full((8, 8, 3), 128, np.uint8)
    header = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
    gif = header + b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    values, faults = decode(pa.array([tf.io.encode_jpeg(pixels).numpy()]), wanted((8, 8, 3), decode="image"))
    assert not faults
    assert np.abs(values - 128).max() <= 1
    assert not decode(pa.array([gif]), wanted((1, 1, 3), decode="image"))[1]


REFUSED = [
    (pa.null(), {}, "E_COLUMN_MISSING"),
    (pa.string(), {}, "E_FEATURE_DTYPE"),
    (pa.string(), {"decode": "raw"}, "E_FEATURE_DTYPE"),
    (pa.binary(), {}, "E_FEATURE_DTYPE"),
    (pa.list_(pa.uint8()), {"decode": "image"}, "E_FEATURE_DTYPE"),
    (pa.timestamp("s"), {}, "E_FEATURE_DTYPE"),
    (pa.struct({"a": pa.int8()}), {}, "E_FEATURE_DTYPE"),
    (pa.list_(pa.float32()), {"dtype": "uint8"}, "E_FEATURE_DTYPE"),
    (pa.float32(), {}, "E_FEATURE_SHAPE"),
    (pa.list_(pa.float32(), 7), {}, "E_FEATURE_SHAPE"),
    (pa.fixed_shape_tensor(pa.float32(), [3, 2, 2]), {}, "E_FEATURE_SHAPE"),
    (pa.fixed_shape_tensor(pa.float32(), [2, 2, 3], permutation=[2, 0, 1]), {}, "E_FEATURE_SHAPE"),
]


@pytest.mark.parametrize(("kind", "config", "code"), REFUSED)
def test_columns_refused_at_launch_are_faults_later(kind: pa.DataType, config: dict, code: str) -> None:
    feature = wanted((2, 2, 3), **config)
    with pytest.raises(UsageError) as error:
        check_column(kind, feature, "digits-3.parquet")
    refusal(error, code, "digits-3.parquet", "'pixels'")
    if not isinstance(kind, pa.FixedShapeTensorType):
        assert set(codes(decode(pa.array([None, None], kind), feature)[1]).values()) == {"E_FEATURE_MISSING"}


@pytest.mark.parametrize("stored", [(12,), (2, 2, 3), (1, 2, 2, 3)])
def test_tensors_that_fit(stored: tuple[int, ...]) -> None:
    check_column(pa.fixed_shape_tensor(pa.float32(), stored), wanted((2, 2, 3)), "f")


@pytest.mark.parametrize(
    ("shape", "model", "code"),
    [
        (None, (None, 3), "E_FEATURE_SHAPE"),
        ((4,), (2, 2), "E_FEATURE_SHAPE"),
        ((2, 4), (2, 3), "E_FEATURE_SHAPE"),
        ((0, 3), (None, 3), "E_FEATURE_SHAPE"),
        ((-1, 3), (None, 3), "E_FEATURE_SHAPE"),
    ],
)
def test_shapes_refused(shape: tuple[int, ...] | None, model: tuple[int | None, ...], code: str) -> None:
    with pytest.raises(UsageError) as error:
        resolve("image", FeatureConfig(column="pixels", shape=shape), model, "float32")
    refusal(error, code, "image", "shape")


@pytest.mark.parametrize(
    ("dtype", "config", "code"),
    [
        ("int32", {"dtype": "float32"}, "E_FEATURE_DTYPE"),
        ("int32", {"scale": 2.0}, "E_FEATURE_DTYPE"),
        ("uint8", {"offset": 1.0}, "E_FEATURE_DTYPE"),
        ("string", {}, "E_FEATURE_DTYPE"),
        ("float32", {"dtype": "flaot32"}, "E_FEATURE_DTYPE"),
        ("float32", {"dtype": "complex64"}, "E_FEATURE_DTYPE"),
        ("float32", {"decode": "image", "dtype": "float32"}, "E_FEATURE_DTYPE"),
    ],
)
def test_dtypes_refused(dtype: str, config: dict, code: str) -> None:
    with pytest.raises(UsageError) as error:
        wanted((2, 2, 3), dtype, **config)
    refusal(error, code, "image")


def test_an_image_has_channels() -> None:
    with pytest.raises(UsageError) as error:
        wanted((2, 3, 2), decode="image")
    refusal(error, "E_FEATURE_SHAPE", "image")


def test_open_axes_are_filled_by_the_configuration() -> None:
    feature = resolve("image", FeatureConfig(column="pixels", shape=(7, 3)), (None, 3), "float32")
    assert (feature.shape, feature.dtype, feature.stored_dtype) == ((7, 3), np.float32, None)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, None, 0], pa.int8()),
        pa.array([3, None, 0], pa.uint64()),
        pa.array([[3], [], [0]], pa.list_(pa.int64())),
        pa.array([[3], None, [0]], pa.large_list(pa.int64())),
        pa.array([[3], [None], [0]], pa.list_(pa.int64(), 1)),
        pa.array([3, None, 0]).dictionary_encode(),
        pa.array([3.0, None, 0.0]),
    ],
)
def test_labels(column: pa.Array) -> None:
    values, faults = integers(column, "label")
    assert values.dtype == np.int64
    assert values.tolist() == [3, 0, 0]
    assert {row: fault.code for row, fault in faults.items()} == {1: "E_LABEL_MISSING"}
    assert integers(column[2:], "label")[0].tolist() == [0]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 1.5]),
        pa.array([1.0, math.nan]),
        pa.array([1.0, 2.0**60]),
        pa.array([1, 2**63], pa.uint64()),
        pa.array([[1], [1, 2]]),
    ],
)
def test_labels_refused(column: pa.Array) -> None:
    values, faults = integers(column, "label")
    assert values.tolist() == [1, 0]
    assert {row: fault.code for row, fault in faults.items()} == {1: "E_LABEL_DTYPE"}
    assert "'label'" in faults[1].message


def test_labels_of_no_number() -> None:
    _, faults = integers(pa.array(["a", None]), "label")
    assert {row: fault.code for row, fault in faults.items()} == {0: "E_LABEL_DTYPE", 1: "E_LABEL_MISSING"}
    assert {fault.code for fault in integers(pa.nulls(2), "label")[1].values()} == {"E_LABEL_MISSING"}


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
