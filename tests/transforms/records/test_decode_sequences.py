"""Columns of lists of any length: every way to store rows gives the same steps, and every fault is its row's."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from feature_columns import codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal

from transforms.errors import UsageError
from transforms.records.config import FeatureConfig
from transforms.records.decode_sequences import decode_sequences
from transforms.records.feature import Feature, check_column, resolve
from transforms.records.ragged import Ragged
from transforms.records.source import RowRange, Selection, Source, read_rows

MOST = 6
ROWS = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]], [[9.0, 10.0], [11.0, 12.0]]]
FLAT = [[value for step in row for value in step] for row in ROWS]


def wanted(shape: tuple[int | None, ...] = (None, 2), dtype: str = "float32", /, **config: Any) -> Feature:
    return resolve("image", FeatureConfig(column="pixels", **config), shape, dtype, MOST)


def steps(array: pa.Array, feature: Feature) -> tuple[Ragged, dict]:
    assert feature.varying
    found, faults = decode_sequences(array, feature, feature.varying)
    assert len(found) == len(array)
    assert found.values.dtype == feature.dtype
    assert found.values.shape == (found.lengths.sum(), *feature.shape)
    assert not any(found.lengths[row] for row in faults), "a refused row keeps no steps"
    return found, faults


def as_lists(found: Ragged) -> list[Any]:
    return [part.tolist() for part in np.split(found.values, np.cumsum(found.lengths)[:-1])]


STORED = {
    "nested": pa.array(ROWS, pa.list_(pa.list_(pa.float32()))),
    "nested, of a fixed size": pa.array(ROWS, pa.list_(pa.list_(pa.float32(), 2))),
    "flat": pa.array(FLAT, pa.list_(pa.float32())),
    "large": pa.array(FLAT, pa.large_list(pa.float64())),
    "whole numbers": pa.array(FLAT, pa.list_(pa.float32())).cast(pa.list_(pa.int16())),
    "a slice": pa.array([[0.0] * 4, *FLAT, [0.0] * 2], pa.list_(pa.float32())).slice(1, 3),
    "a nested slice": pa.array([[[0.0] * 2], *ROWS], pa.list_(pa.list_(pa.float32()))).slice(1),
    "a dictionary": pa.DictionaryArray.from_arrays(pa.array([2, 0, 1]), pa.array([FLAT[1], FLAT[2], FLAT[0]])),
}


@pytest.mark.parametrize("kind", STORED)
def test_every_way_to_store_rows_gives_the_same_steps(kind: str) -> None:
    check_column(STORED[kind].type, wanted(), "f")
    found, faults = steps(STORED[kind], wanted())
    assert not faults
    assert as_lists(found) == ROWS


def test_steps_of_one_number_and_of_several_axes() -> None:
    found, _ = steps(pa.array([[1, 2, 3], [4]], pa.list_(pa.int64())), wanted((None,), "int32"))
    assert as_lists(found) == [[1, 2, 3], [4]]
    square = pa.array([[[1.0, 2.0, 3.0, 4.0]], [[5.0] * 4, [6.0] * 4]], pa.list_(pa.list_(pa.float32())))
    found, _ = steps(square, wanted((None, 2, 2)))
    assert found.values[0].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert found.lengths.tolist() == [1, 2]


def test_rows_of_one_length_in_the_type() -> None:
    column = pa.array([FLAT[1], None, FLAT[1]], pa.list_(pa.float32(), 6))
    found, faults = steps(column, wanted())
    assert codes(faults) == {1: "E_FEATURE_MISSING"}
    assert found.lengths.tolist() == [3, 0, 3]


def test_images_and_bytes_can_be_steps() -> None:
    frames = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2, 1)
    stored = [tf.io.encode_png(frame).numpy() for frame in frames]
    column = pa.array([stored[:1], stored[1:]], pa.list_(pa.binary()))
    found, faults = steps(column, wanted((None, 2, 2, 1), decode="image"))
    assert not faults
    np.testing.assert_array_equal(found.values, frames)
    raw = pa.array([[frame.tobytes() for frame in frames], [b"xy"]], pa.list_(pa.binary()))
    found, faults = steps(raw, wanted((None, 2, 2, 1), decode="raw", dtype="uint8"))
    assert codes(faults) == {1: "E_FEATURE_SHAPE"}
    np.testing.assert_array_equal(found.values, frames)


FAULTS = [
    ([[1.0, 2.0], None], "E_FEATURE_MISSING"),
    ([[1.0, 2.0], []], "E_SEQUENCE_EMPTY"),
    ([[1.0, 2.0], [1.0, 2.0, 3.0]], "E_FEATURE_SHAPE"),
    ([[1.0, 2.0], [1.0] * 14], "E_SEQUENCE_LENGTH"),
    ([[1.0, 2.0], [1.0, None]], "E_FEATURE_NULL"),
    ([[1.0, 2.0], [1.0, 2.0, np.nan, 3.0]], "E_FEATURE_NONFINITE"),
]


@pytest.mark.parametrize(("rows", "code"), FAULTS)
def test_a_fault_is_of_its_row_alone(rows: list[Any], code: str) -> None:
    found, faults = steps(pa.array([*rows, [5.0, 6.0]], pa.list_(pa.float32())), wanted())
    assert codes(faults) == {1: code}
    assert as_lists(found) == [[[1.0, 2.0]], [], [[5.0, 6.0]]]


@pytest.mark.parametrize(
    ("bad", "code"),
    [([[1.0, 2.0], None], "E_FEATURE_NULL"), ([[1.0], [2.0, 3.0, 4.0]], "E_FEATURE_SHAPE"), ([], "E_SEQUENCE_EMPTY")],
)
def test_a_step_of_its_own_has_the_right_size(bad: list[Any], code: str) -> None:
    """Two steps of one and three numbers are four numbers too: they would be cut in the wrong places."""
    column = pa.array([ROWS[0], bad, ROWS[1]], pa.list_(pa.list_(pa.float32())))
    found, faults = steps(column, wanted())
    assert codes(faults) == {1: code}
    assert as_lists(found) == [ROWS[0], [], ROWS[1]]


def test_the_message_says_which_step() -> None:
    column = pa.array([[1.0, 2.0], [1.0, 2.0, 3.0, np.inf]], pa.list_(pa.float32()))
    assert steps(column, wanted())[1][1].message.startswith("step 1: feature 'image' holds inf at [1]")


def test_a_model_of_one_length_takes_shorter_rows() -> None:
    feature = wanted((2, 2), shape=(None, 2))
    assert feature.varying
    assert (feature.varying.whole, feature.varying.most, feature.open_shape) == (2, 2, (None, 2))
    assert codes(steps(STORED["nested"], feature)[1]) == {1: "E_SEQUENCE_LENGTH"}


@given(st.lists(st.one_of(st.none(), st.lists(st.floats(-9, 9, width=32), max_size=16)), min_size=1, max_size=8))
def test_rows_of_numbers_against_a_list(rows: list[list[float] | None]) -> None:
    found, faults = steps(pa.array(rows, pa.list_(pa.float32())), wanted())
    right = {row for row, one in enumerate(rows) if one and len(one) % 2 == 0 and len(one) <= 2 * MOST}
    assert set(faults) == set(range(len(rows))) - right
    for row, one in enumerate(as_lists(found)):
        assert [value for step in one for value in step] == (rows[row] if row in right else [])


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), max_size=7), min_size=1, max_size=5), st.booleans())
def test_both_formats_give_the_same(tmp_path: pathlib.Path, rows: list[list[int]], whole: bool) -> None:
    kind, dtype = (pa.int64(), "int32") if whole else (pa.float32(), "float32")
    pq.write_table(pa.table({"pixels": pa.array(rows, pa.list_(kind))}), tmp_path / "a.parquet")
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        for row in rows:
            value = {"int64_list": {"value": row}} if whole else {"float_list": {"value": row}}
            feature = tf.train.Feature(
                **{key: getattr(tf.train, _LISTS[key])(**fields) for key, fields in value.items()}
            )
            example = tf.train.Example(features=tf.train.Features(feature={"pixels": feature}))
            writer.write(example.SerializeToString())
    found = {}
    for name in ("parquet", "tfrecord"):
        selection = Selection(("pixels",), RowRange(0, len(rows)), len(rows))
        with (tmp_path / f"a.{name}").open("rb") as file:
            (raw,) = read_rows(file, Source(f"a.{name}", name), selection)
        values, faults = steps(raw.table.column("pixels"), wanted((None,), dtype))
        found[name] = as_lists(values), codes(faults)
    assert found["parquet"] == found["tfrecord"]


_LISTS = {"int64_list": "Int64List", "float_list": "FloatList"}


@pytest.mark.parametrize(
    ("kind", "config", "code"),
    [
        (pa.null(), {}, "E_COLUMN_MISSING"),
        (pa.float32(), {}, "E_FEATURE_SHAPE"),
        (pa.list_(pa.string()), {}, "E_FEATURE_DTYPE"),
        (pa.list_(pa.binary()), {}, "E_FEATURE_DTYPE"),
        (pa.list_(pa.float32()), {"decode": "raw"}, "E_FEATURE_DTYPE"),
        (pa.list_(pa.list_(pa.float32(), 3)), {}, "E_FEATURE_SHAPE"),
        (pa.fixed_shape_tensor(pa.float32(), [3, 2]), {}, "E_FEATURE_SHAPE"),
    ],
)
def test_columns_refused_at_launch(kind: pa.DataType, config: dict, code: str) -> None:
    with pytest.raises(UsageError) as error:
        check_column(kind, wanted(**config), "f")
    refusal(error, code, "'pixels'")


@pytest.mark.parametrize(
    ("shape", "config", "code"),
    [
        ((None, None), {}, "E_FEATURE_SHAPE"),
        ((None, 2), {"shape": (None, 3)}, "E_FEATURE_SHAPE"),
        ((None, 2), {"shape": (2, None)}, "E_FEATURE_SHAPE"),
        ((3, 2), {"pad": 1.0}, "E_FEATURE_SHAPE"),
        ((None, 2), {"pad": float("nan")}, "E_FEATURE_DTYPE"),
        ((None, 2), {"pad": 1e300}, "E_FEATURE_DTYPE"),
    ],
)
def test_shapes_and_pads_refused(shape: tuple[int | None, ...], config: dict, code: str) -> None:
    with pytest.raises(UsageError) as error:
        wanted(shape, **config)
    refusal(error, code, "image")


def test_a_pad_that_is_no_token_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        wanted((None,), "int32", pad=0.5)
    refusal(error, "E_FEATURE_DTYPE", "image", "0.5")
