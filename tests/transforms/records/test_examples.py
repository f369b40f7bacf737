"""From raw columns to examples: named, labelled, carried along; every unusable row set apart with its first fault."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feature_columns import wanted

from transforms.errors import Fault
from transforms.records.config import FeatureConfig
from transforms.records.examples import Examples, Layout, Refusal, carried_type, extract
from transforms.records.feature import resolve
from transforms.records.ragged import Ragged
from transforms.records.source import RawBatch

PIXELS = pa.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], pa.list_(pa.float32()))
LAYOUT = Layout((wanted((2,)),))


def batch(faults: dict[int, Fault] | None = None, first: int = 10, **columns: Any) -> RawBatch:
    """Three rows with pixels and other columns."""
    return RawBatch(first, pa.RecordBatch.from_pydict({"pixels": PIXELS, **columns}), faults or {})


def taken(raw: RawBatch, layout: Layout = LAYOUT, **fields: Any) -> tuple[Examples, dict[int, str]]:
    """The examples, and by row of the file the code with which others are refused."""
    examples, refused = extract(raw, dataclasses.replace(layout, **fields), "a.parquet")
    assert all(one.fault.message.startswith(f"a.parquet row {one.source_row}: ") for one in refused)
    return examples, {one.source_row: one.fault.code for one in refused}


def test_rows_are_named_by_their_place_in_the_file() -> None:
    examples, refused = taken(batch())
    assert (examples.row_ids, refused) == (["a.parquet#10", "a.parquet#11", "a.parquet#12"], {})
    assert examples.source_rows.tolist() == [10, 11, 12]
    assert examples.inputs["image"].tolist() == PIXELS.to_pylist()
    assert examples.labels is None


def test_the_first_fault_of_a_row_decides() -> None:
    raw = batch({1: Fault("E_RECORD_CRC", "damaged")}, label=[7, None, None])
    examples, refused = taken(raw, label="label", target_is_label=True)
    assert refused == {11: "E_RECORD_CRC", 12: "E_LABEL_MISSING"}
    assert examples.row_ids == ["a.parquet#10"]
    assert examples.labels is not None
    assert examples.labels.tolist() == [7]


def test_a_label_that_is_no_target_is_not_looked_at() -> None:
    examples, refused = taken(batch(label=["a", None, "b"]), label="label")
    assert (examples.labels, refused) == (None, {})


@pytest.mark.parametrize(
    "ids",
    [
        pa.array(["a", None, "b"]),
        pa.array([b"a", b"\xff", b"b"]),
        pa.array([["a"], ["x", "y"], ["b"]]),
        pa.array([[b"a"], [], [b"b"]], pa.list_(pa.binary())),
    ],
)
def test_an_id_that_is_no_text_costs_its_row(ids: pa.Array) -> None:
    examples, refused = taken(batch(name=ids), id="name")
    assert (examples.row_ids, refused) == (["a", "b"], {11: "E_ID_MISSING"})


def test_an_id_may_be_a_number() -> None:
    assert taken(batch(name=[3, 1, 2]), id="name")[0].row_ids == ["3", "1", "2"]


def test_columns_that_are_read_are_each_read_once() -> None:
    baseline = dataclasses.replace(wanted((2,)), column="start")
    layout = Layout((wanted((2,)),), (baseline,), "name", "label", carried={"label": pa.int64(), "name": pa.string()})
    assert layout.columns == ("pixels", "start", "name", "label")
    assert (layout.source_of("label"), layout.source_of("name")) == ("label", "name")
    assert Layout((wanted((2,)),)).source_of("label") == "label"


def test_what_is_carried_keeps_its_value_and_becomes_the_type_of_other_rows() -> None:
    kinds = {"split": pa.string(), "count": pa.int64(), "one": pa.int64(), "many": pa.list_(pa.int64())}
    columns = {
        "split": pa.array([b"train", b"test", b"train"]),
        "count": pa.array([1, 2, None], pa.int32()),
        "one": pa.array([[4], [5], [6]]),
        "many": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
    }
    examples, refused = taken(batch(**columns), carried=kinds)
    assert refused == {}
    assert {name: array.to_pylist() for name, array in examples.carried.items()} == {
        "split": ["train", "test", "train"],
        "count": [1, 2, None],
        "one": [4, 5, 6],
        "many": [[1, 2], [], None],
    }
    assert {name: array.type for name, array in examples.carried.items()} == kinds


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([[4], [5, 6], [7]]), pa.int64()),
        (pa.array([b"4", b"\xff", b"7"]), pa.string()),
        (pa.array(["4", "five", "7"]), pa.int64()),
        (pa.array([4.0, 5.5, 7.0]), pa.int64()),
        (pa.array([[4], [], [7]]), pa.int64()),
    ],
)
def test_a_carried_value_of_another_type_costs_its_row(values: pa.Array, kind: pa.DataType) -> None:
    examples, refused = taken(batch(kept=values), carried={"kept": kind})
    assert refused == {11: "E_KEEP_TYPE"}
    assert [str(value) for value in examples.carried["kept"].to_pylist()] == ["4", "7"]


def test_a_carried_type_that_never_becomes_the_other_costs_every_row() -> None:
    values = pa.array([{"a": 1}, None, {"a": 2}])
    examples, refused = taken(batch(kept=values), carried={"kept": pa.int64()})
    assert (refused, examples.carried["kept"].to_pylist()) == ({10: "E_KEEP_TYPE", 12: "E_KEEP_TYPE"}, [None])


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        (pa.array([1, 2]), pa.int64()),
        (pa.array([[1], [2]]), pa.int64()),
        (pa.array([[1], None], pa.large_list(pa.int64())), pa.int64()),
        (pa.array([[1], [2, 3]]), pa.list_(pa.int64())),
        (pa.array([[b"a"], [b"b"]]), pa.string()),
        (pa.array([None, None], pa.list_(pa.null())), pa.list_(pa.string())),
    ],
)
def test_the_type_of_a_carried_column_is_that_of_single_values(sample: pa.Array, kind: pa.DataType) -> None:
    assert carried_type(sample.type, sample) == kind


def test_a_baseline_is_as_long_as_its_row() -> None:
    varying = resolve("image", FeatureConfig(column="pixels", shape=(None,)), (None,), "float32", 8)
    starts = pa.array([[0.0, 0.0], [0.0], [0.0, 0.0]], pa.list_(pa.float32()))
    layout = Layout((varying,), (dataclasses.replace(varying, column="start"),))
    examples, refused = taken(batch(start=starts), layout)
    assert refused == {11: "E_BASELINE_LENGTH"}
    assert isinstance(examples.inputs["image"], Ragged)
    assert (examples.row_ids, examples.of_one_shape) == (["a.parquet#10", "a.parquet#12"], {})


def test_a_baseline_of_a_fixed_shape_is_decoded_beside_its_input() -> None:
    baseline = dataclasses.replace(wanted((2,)), column="start")
    examples, refused = taken(batch(start=PIXELS), Layout((wanted((2,)),), (baseline,)))
    assert (examples.baselines["image"].tolist(), refused) == (PIXELS.to_pylist(), {})


def test_rows_are_set_apart_in_their_order() -> None:
    examples, _ = taken(batch(), carried={})
    assert examples.without([]) is examples
    rest, refused = examples.refuse({2: Fault("E_B", "two"), 0: Fault("E_A", "one")}, "a")
    assert (len(rest), rest.row_ids, list(rest.of_one_shape)) == (1, ["a.parquet#11"], ["image"])
    assert refused == [
        Refusal("a.parquet#10", 10, Fault("E_A", "a row 10: one")),
        Refusal("a.parquet#12", 12, Fault("E_B", "a row 12: two")),
    ]
    assert examples.some(np.array([2, 0])).source_rows.tolist() == [12, 10]
