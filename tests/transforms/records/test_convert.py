"""Stored numbers to fed numbers: scaled, exact, finite, or refused."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from feature_columns import codes, wanted

from transforms.records.decode import decode


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
