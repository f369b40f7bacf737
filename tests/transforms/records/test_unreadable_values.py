"""Values that Arrow holds and Python has none for: a fault of their row, never an exception."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from transforms.records.config import FeatureConfig
from transforms.records.examples import Layout, extract
from transforms.records.feature import resolve
from transforms.records.source import RawBatch

X = resolve("x", FeatureConfig(column="x"), (), "float32")
# Parquet does not check that text is UTF-8
TEXT = pa.Array.from_buffers(
    pa.string(), 3, [None, pa.py_buffer(np.int32([0, 1, 3, 4]).tobytes()), pa.py_buffer(b"a\xff\xfec")]
)
TIMES = pa.array([0, 2**62, 1], pa.timestamp("s"))


def refused(layout: Layout, **columns: pa.Array) -> dict[int, str]:
    table = pa.record_batch({"x": pa.array([1.0, 2.0, 3.0]), **columns})
    examples, refusals = extract(RawBatch(0, table), layout, "f.parquet")
    assert examples.source_rows.tolist() == [0, 2]
    for array in examples.carried.values():
        array.validate(full=True)
    return {refusal.source_row: refusal.fault.code for refusal in refusals}


@pytest.mark.parametrize("column", [TEXT, TIMES], ids=["text", "time"])
def test_an_id_that_cannot_be_read(column: pa.Array) -> None:
    assert refused(Layout((X,), id="id"), id=column) == {1: "E_ID_MISSING"}


@pytest.mark.parametrize("column", [TEXT, pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), TEXT)], ids=str)
def test_text_that_is_carried_is_text(column: pa.Array) -> None:
    assert refused(Layout((X,), carried={"k": pa.string()}), k=column) == {1: "E_KEEP_TYPE"}


def test_a_type_that_cannot_become_the_other_one_is_a_fault_of_its_rows() -> None:
    """Found by fuzzing: no cast leads from bytes to numbers."""
    column = pa.array([None, [b"x"], None], pa.list_(pa.binary()))
    assert refused(Layout((X,), carried={"k": pa.int64()}), k=column) == {1: "E_KEEP_TYPE"}
