"""Raw bytes and images to model inputs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from feature_columns import codes, wanted

from transforms.records.decode import decode


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
