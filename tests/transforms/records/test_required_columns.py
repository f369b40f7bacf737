"""What the launcher refuses by the schema of any Parquet file, before a worker reads a row."""

from __future__ import annotations

import dataclasses
import io
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from counting_file import CountingFile
from feature_columns import wanted
from refusals import refusal
from tfrecord_files import digits

from transforms.errors import UsageError
from transforms.records.source import Required, index_file

PIXELS = pa.array([[1.0, 2.0]], pa.list_(pa.float32()))


def parquet(**columns: pa.Array) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file


def test_a_file_that_fits() -> None:
    index_file(
        parquet(pixels=PIXELS, id=pa.array(["a"])), "d.parquet", "parquet", Required([wanted((2,))], ["id", "pixels"])
    )
    index_file(parquet(other=PIXELS), "d.parquet", "parquet", Required())


def test_a_file_without_rows_has_a_schema() -> None:
    file = parquet(pixels=PIXELS[:0])
    index_file(file, "d.parquet", "parquet", Required([wanted((2,))]))
    with pytest.raises(UsageError) as error:
        index_file(file, "d.parquet", "parquet", Required([wanted((2,))], ["label"]))
    refusal(error, "E_COLUMN_MISSING", "d.parquet", "'label'", "'pixels'")


@pytest.mark.parametrize("others", [[], ["id"]])
def test_a_features_column_is_missing(others: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        index_file(
            parquet(pixel=PIXELS, id=pa.array(["a"])), "d-7.parquet", "parquet", Required([wanted((2,))], others)
        )
    refusal(error, "E_COLUMN_MISSING", "d-7.parquet", "'pixels'", "nearest: 'pixel'")


@pytest.mark.parametrize(
    ("column", "code"),
    [
        (pa.array(["a"]), "E_FEATURE_DTYPE"),
        (pa.array([b"a"]), "E_FEATURE_DTYPE"),
        (pa.array([1.0]), "E_FEATURE_SHAPE"),
        (pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3)), "E_FEATURE_SHAPE"),
        (pa.nulls(1), "E_COLUMN_MISSING"),
    ],
)
def test_a_type_that_cannot_become_the_feature(column: pa.Array, code: str) -> None:
    features = [wanted((2,)), dataclasses.replace(wanted((2,)), column="worse")]
    with pytest.raises(UsageError) as error:
        index_file(parquet(pixels=PIXELS, worse=column), "d-7.parquet", "parquet", Required(features))
    refusal(error, code, "d-7.parquet", "'worse'")


def test_other_columns_may_have_any_type() -> None:
    index_file(parquet(pixels=PIXELS, note=pa.nulls(1)), "d.parquet", "parquet", Required([wanted((2,))], ["note"]))


def test_a_name_that_two_columns_have() -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([PIXELS, PIXELS], names=["pixels", "pixels"]), file)
    with pytest.raises(UsageError) as error:
        index_file(file, "d.parquet", "parquet", Required([wanted((2,))]))
    refusal(error, "E_PARQUET_INVALID", "d.parquet", "'pixels'")


def test_no_parquet_inside() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b"a,b\n1,2\n"), "d.parquet", "parquet", Required())
    refusal(error, "E_PARQUET_INVALID", "d.parquet")


def test_no_page_is_read() -> None:
    noise = np.random.default_rng(0).standard_normal(2**19, np.float32)
    file = CountingFile(parquet(pixels=pa.FixedSizeListArray.from_arrays(noise, 2)).getvalue())
    index_file(file, "d.parquet", "parquet", Required([wanted((2,))]))
    assert len(file.getvalue()) > 2**20
    assert file.taken < 2**17  # pyarrow looks for the footer in the last 64 KiB


def test_a_tfrecord_is_not_asked_for_columns(tmp_path: pathlib.Path) -> None:
    file = io.BytesIO(digits(tmp_path / "f"))
    assert index_file(file, "d.tfrecord", "tfrecord", Required([wanted((2,))], ["id"])).rows > 0
