"""Label columns to int64."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from transforms.records.labels import class_indices, integers


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


NAMES = ("cat", "dög", "emu")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["emu", None, "cat", "dog", "dög"]),
        pa.array(["emu", None, "cat", "dog", "dög"], pa.large_string()),
        pa.array(["emu", None, "cat", "dog", "dög"]).dictionary_encode(),
        pa.array([text and text.encode() for text in ("emu", None, "cat", "dog", "dög")]),
        pa.array([[b"emu"], [], [b"cat"], [b"dog"], ["dög".encode()]]),
        pa.array([["emu"], None, ["cat"], ["dog"], ["dög"]]),
    ],
)
def test_names_become_indices(column: pa.Array) -> None:
    values, faults = class_indices(column, "label", NAMES)
    assert values.dtype == np.int64 and values.tolist() == [2, 0, 0, 0, 1]
    assert {row: fault.code for row, fault in faults.items()} == {1: "E_LABEL_MISSING", 3: "E_TARGET_NAME"}
    assert "'dog'" in faults[3].message and "nearest is 'dög'" in faults[3].message
    assert class_indices(column[4:], "label", NAMES)[0].tolist() == [1]


def test_a_row_of_several_names_or_of_no_text_is_refused() -> None:
    values, faults = class_indices(pa.array([[b"emu"], [b"cat", b"emu"], [b"\xff"]]), "label", NAMES)
    assert values.tolist() == [2, 0, 0]
    assert {row: fault.code for row, fault in faults.items()} == {1: "E_LABEL_DTYPE", 2: "E_TARGET_NAME"}


def test_numbers_stay_numbers_beside_names() -> None:
    assert class_indices(pa.array([2, 0]), "label", NAMES)[0].tolist() == [2, 0]
    faults = class_indices(pa.array(["cat"]), "label", ())[1]
    assert faults[0].code == "E_LABEL_DTYPE" and "model.classes" in faults[0].message
