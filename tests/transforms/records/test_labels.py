"""Label columns to int64."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from transforms.records.labels import integers


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
