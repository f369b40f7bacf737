"""What the launcher refuses by the schema of any Parquet file, before a worker reads a row."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_columns import wanted
from refusals import refusal

from transforms.errors import UsageError
from transforms.records.source import check_schema

PIXELS = pa.array([[1.0, 2.0]], pa.list_(pa.float32()))


def parquet(**columns: pa.Array) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_file_that_fits() -> None:
    check_schema(parquet(pixels=PIXELS, id=pa.array(["a"])), "d.parquet", "parquet", [wanted((2,))], ["id", "pixels"])
    check_schema(parquet(other=PIXELS), "d.parquet", "parquet", [], [])


def test_a_file_without_rows_has_a_schema() -> None:
    file = parquet(pixels=PIXELS[:0])
    check_schema(file, "d.parquet", "parquet", [wanted((2,))], [])
    with pytest.raises(UsageError) as error:
        check_schema(file, "d.parquet", "parquet", [wanted((2,))], ["label"])
    refusal(error, "E_COLUMN_MISSING", "d.parquet", "'label'", "'pixels'")


@pytest.mark.parametrize("others", [[], ["id"]])
def test_a_features_column_is_missing(others: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        check_schema(parquet(pixel=PIXELS, id=pa.array(["a"])), "d-7.parquet", "parquet", [wanted((2,))], others)
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
        check_schema(parquet(pixels=PIXELS, worse=column), "d-7.parquet", "parquet", features, [])
    refusal(error, code, "d-7.parquet", "'worse'")


def test_other_columns_may_have_any_type() -> None:
    check_schema(parquet(pixels=PIXELS, note=pa.nulls(1)), "d.parquet", "parquet", [wanted((2,))], ["note"])


def test_a_name_that_two_columns_have() -> None:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([PIXELS, PIXELS], names=["pixels", "pixels"]), file)
    with pytest.raises(UsageError) as error:
        check_schema(file, "d.parquet", "parquet", [wanted((2,))], [])
    refusal(error, "E_PARQUET_INVALID", "d.parquet", "'pixels'")


def test_no_parquet_inside() -> None:
    with pytest.raises(UsageError) as error:
        check_schema(io.BytesIO(b"a,b\n1,2\n"), "d.parquet", "parquet", [], [])
    refusal(error, "E_PARQUET_INVALID", "d.parquet")


def test_no_page_is_read() -> None:
    noise = np.random.default_rng(0).standard_normal(2**19, np.float32)
    file = CountingFile(parquet(pixels=pa.FixedSizeListArray.from_arrays(noise, 2)).getvalue())
    check_schema(file, "d.parquet", "parquet", [wanted((2,))], [])
    assert len(file.getvalue()) > 2**20
    assert file.taken < 2**17  # pyarrow looks for the footer in the last 64 KiB


def test_a_tfrecord_is_not_even_opened() -> None:
    file = io.BytesIO(b"no record")
    file.close()
    check_schema(file, "d.tfrecord", "tfrecord", [wanted((2,))], ["id"])
