"""Parquet in streaming batches, and what a damaged or foreign file answers. Files are written by pyarrow."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import refusal

from transforms.errors import AttribeamError, UsageError
from transforms.records import parquet
from transforms.records.source import RowRange, Selection, Source, detect_format, index_file, read_rows, schema_of

ROWS = 25


def written(path: Path, table: pa.Table, row_group_size: int = 10) -> Path:
    pq.write_table(table, path, row_group_size=row_group_size, write_page_checksum=True)
    return path


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    pixels = pa.array([[float(row), -float(row)] for row in range(ROWS)], pa.list_(pa.float32()))
    return written(tmp_path / "d.parquet", pa.table({"pixels": pixels, "label": list(range(ROWS))}))


def read(path: Path, columns: tuple[str, ...], rows: tuple[int, int], batch_rows: int = 4) -> list:
    with path.open("rb") as file:
        selection = Selection(columns, RowRange(*rows), batch_rows)
        return list(read_rows(file, Source(path.name, "parquet"), selection))


def test_index_counts_rows_and_fingerprints_the_footer(digits: Path) -> None:
    with digits.open("rb") as file:
        one, two = index_file(file, "d.parquet", None), index_file(file, "other.pq", None)
    assert (one.rows, one.format, one.codec, one.offsets) == (ROWS, "parquet", "none", ())
    assert one.digest == two.digest
    with written(digits, pa.table({"label": list(range(1, ROWS + 1))})).open("rb") as file:
        assert index_file(file, "d.parquet", None).digest != one.digest


@pytest.mark.parametrize("rows", [(0, 25), (0, 0), (3, 4), (9, 11), (10, 20), (7, 23), (24, 25)])
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
def test_a_row_range_across_row_groups(digits: Path, rows: tuple[int, int], batch_rows: int) -> None:
    batches = read(digits, ("label", "pixels"), rows, batch_rows)
    labels = [label for batch in batches for label in batch.table["label"].to_pylist()]
    assert labels == list(range(*rows))
    assert [batch.first_row for batch in batches] == [batch.table["label"][0].as_py() for batch in batches]
    assert all(0 < batch.table.num_rows <= batch_rows for batch in batches)
    assert all(batch.table.schema.names == ["label", "pixels"] and not batch.faults for batch in batches)
    for batch in batches:
        assert batch.table["pixels"].to_pylist() == [[float(n), -float(n)] for n in batch.table["label"].to_pylist()]


def test_no_columns_still_counts_rows(digits: Path) -> None:
    assert sum(batch.table.num_rows for batch in read(digits, (), (3, 25))) == 22


def test_only_the_needed_row_groups_are_read(digits: Path) -> None:
    damaged = bytearray(digits.read_bytes())
    column = pq.ParquetFile(digits).metadata.row_group(0).column(0)
    damaged[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    digits.write_bytes(damaged)
    assert read(digits, ("pixels",), (10, 25))


def test_dots_globs_and_braces_in_names_are_data(tmp_path: Path) -> None:
    names = ["a", "a.b", "x*[1]", "{0}%s"]
    path = written(tmp_path / "[x]*.parquet", pa.table({name: [float(at)] for at, name in enumerate(names)}))
    for at, name in enumerate(names):
        (batch,) = read(path, (name,), (0, 1))
        assert batch.table.schema.names == [name]
        assert batch.table[name].to_pylist() == [float(at)]


def test_a_repeated_column_comes_once(digits: Path) -> None:
    assert read(digits, ("label", "label"), (0, 1))[0].table.schema.names == ["label"]


def test_missing_column_names_the_nearest(digits: Path) -> None:
    with pytest.raises(UsageError) as error:
        read(digits, ("pixel",), (0, 1))
    refusal(error, "E_COLUMN_MISSING", "d.parquet", "'pixel'", "'pixels'")


def test_duplicate_column_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(UsageError) as error:
        read(written(tmp_path / "d.parquet", table), ("x",), (0, 1))
    refusal(error, "E_PARQUET_INVALID", "d.parquet", "'x'")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"PAR1", b"PAR1" + b"x" * 40 + b"PAR1"])
def test_no_parquet_inside(content: bytes) -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(content), "text.parquet", None)
    refusal(error, "E_PARQUET_INVALID", "text.parquet")


def test_empty_file() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b""), "none.parquet", None)
    refusal(error, "E_FILE_EMPTY", "none.parquet")


def test_every_truncation_is_refused(digits: Path) -> None:
    whole = digits.read_bytes()
    for size in range(1, len(whole), 7):
        with pytest.raises(UsageError) as error:
            index_file(io.BytesIO(whole[:size]), "d.parquet", None)
        refusal(error, "E_PARQUET_INVALID", "d.parquet")


def test_a_flipped_bit_in_a_page_names_the_rows(digits: Path) -> None:
    whole, source = digits.read_bytes(), Source("d.parquet", "parquet")
    metadata = pq.ParquetFile(digits).metadata
    caught = 0
    for group in range(metadata.num_row_groups):
        column = metadata.row_group(group).column(0)
        begin = column.dictionary_page_offset or column.data_page_offset
        for at in range(begin, begin + column.total_compressed_size, 3):
            damaged = bytearray(whole)
            damaged[at] ^= 4
            read_back = []
            try:
                for batch in read_rows(io.BytesIO(damaged), source, Selection(("pixels",), RowRange(0, ROWS), 5)):
                    read_back += batch.table["pixels"].to_pylist()
            except AttribeamError as error:
                assert error.code == "E_PARQUET_INVALID"
                assert "d.parquet rows" in str(error)
                assert len(str(error)) <= 500
                caught += 1
            # a flip in a page header's statistics changes no value
            assert read_back == [[float(n), -float(n)] for n in range(len(read_back))]
    assert caught > 20


def test_fewer_rows_than_planned(digits: Path) -> None:
    with pytest.raises(AttribeamError) as error:
        read(digits, ("label",), (20, 40))
    refusal(error, "E_PARQUET_INVALID", "d.parquet", "25", "40")


def test_schema(digits: Path) -> None:
    with digits.open("rb") as file:
        assert schema_of(file, "d", "parquet", "none") == {"pixels": "list<element: float>", "label": "int64"}


def test_the_file_stays_open(digits: Path) -> None:
    with digits.open("rb") as file:
        index_file(file, "d.parquet", None)
        list(read_rows(file, Source("d", "parquet"), Selection(("label",), RowRange(0, 3), 4)))
        assert not file.closed


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.parquet", b"", "parquet"),
        ("a.PQ", b"", "parquet"),
        ("a", b"PAR1........", "parquet"),
        ("a.tfrecord", b"PAR1", "tfrecord"),
        ("a.tfrecords.gz", b"", "tfrecord"),
        ("a.tfrec.zlib", b"", "tfrecord"),
        ("a.tfrecord-00001-of-00002", b"", "tfrecord"),
        ("a", b"\x1f\x8b", "tfrecord"),
        ("a", b"\x78\x9c", "tfrecord"),
    ],
)
def test_detect_format(name: str, head: bytes, expected: str) -> None:
    assert detect_format(name, head, None) == expected
    assert detect_format(name, head, "parquet") == "parquet"


def test_unknown_format() -> None:
    with pytest.raises(UsageError) as error:
        detect_format("a.csv", b"a,b\n1,2\n" * 9, None)
    refusal(error, "E_FORMAT_UNKNOWN", "a.csv", "a,b", "input.format")


def test_values_survive_unchanged(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((50, 7))
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(values.ravel(), 7)})
    batches = read(written(tmp_path / "x.parquet", table), ("x",), (5, 45), 8)
    joined = np.concatenate([batch.table["x"].flatten().to_numpy() for batch in batches])
    np.testing.assert_array_equal(joined.reshape(-1, 7), values[5:45])


def test_a_footer_that_counts_other_rows_than_its_row_groups_is_refused(digits: Path) -> None:
    """No checksum covers it: a byte there decides how many rows there are."""
    whole, said = digits.read_bytes(), set[str]()
    for at in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole) - 8):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        try:
            rows = index_file(io.BytesIO(damaged), "d.parquet", None).rows
        except UsageError as error:
            said.add(str(error))
            continue
        metadata = pq.ParquetFile(io.BytesIO(damaged)).metadata
        assert rows == sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    assert any("rows by its footer, but 25 in its row groups" in message for message in said)


def test_readers_of_a_file_share_its_footer_while_one_of_them_is_open(digits: Path) -> None:
    selection, source = Selection(("label",), RowRange(0, ROWS), 4), Source("d.parquet", "parquet")
    others = set(parquet._FOOTERS)
    with contextlib.ExitStack() as still_open:
        for _ in range(2):
            file = still_open.enter_context(digits.open("rb"))
            begun = still_open.enter_context(contextlib.closing(read_rows(file, source, selection)))
            assert next(begun).table["label"].to_pylist() == [0, 1, 2, 3]
        assert len(set(parquet._FOOTERS) - others) == 1
    assert set(parquet._FOOTERS) == others


def test_a_file_that_was_replaced_is_read_by_its_own_footer(tmp_path: Path) -> None:
    path = written(tmp_path / "d.parquet", pa.table({"label": list(range(ROWS))}))
    with path.open("rb") as old:
        begun = read_rows(old, Source("d.parquet", "parquet"), Selection(("label",), RowRange(0, ROWS), 4))
        next(begun)
        path.unlink()
        written(path, pa.table({"label": list(range(100, 100 + ROWS))}), row_group_size=3)
        found = read(path, ("label",), (0, ROWS))
        assert [label for batch in found for label in batch.table["label"].to_pylist()] == list(range(100, 100 + ROWS))
        assert sum(batch.table.num_rows for batch in begun) == ROWS - 4
