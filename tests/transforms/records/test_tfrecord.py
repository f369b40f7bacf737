"""TFRecord framing: what is read back, and what a cut or damaged file answers."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from counting_file import CountingFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refusal
from tfrecord_files import CODECS, column, digits, example, faults, framed, read

from transforms.errors import AttribeamError, UsageError
from transforms.records import tfrecord
from transforms.records.byte_stream import ByteStream
from transforms.records.source import RowRange, Selection, Source, index_file, read_rows

HEADER, CRC = 12, 4


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", ["f.tfrecord", "plain"])
def test_index_and_read(tmp_path: Path, codec: str, name: str) -> None:
    content = digits(tmp_path / "f", 6, codec)
    summary = index_file(io.BytesIO(content), name, None)
    assert (summary.rows, summary.codec, summary.format) == (6, codec, "tfrecord")
    assert summary.offsets == ((0,) if codec == "none" else ())
    batches = read(content, summary.range(1, 6), ("y", "x", "b", "absent"))
    assert [batch.first_row for batch in batches] == [1, 3, 5]
    assert column(batches) == [[row] for row in range(1, 6)]
    assert column(batches, "x") == [[row + 0.5, -1.0] for row in range(1, 6)]
    assert column(batches, "b") == [[b"%d" % row] for row in range(1, 6)]
    types = [str(kind) for kind in batches[0].table.schema.types]
    assert types == ["list<item: int64>", "list<item: float>", "list<item: binary>", "null"]
    assert not faults(batches)


def test_offsets_start_any_range(tmp_path: Path) -> None:
    rows = 2 * tfrecord.INDEX_STRIDE + 10
    content = digits(tmp_path / "f", rows)
    summary = index_file(io.BytesIO(content), "f.tfrecord", None)
    assert len(summary.offsets) == 3
    for start in (0, 1023, 1024, 1025, 2048, rows - 1):
        begin = summary.range(start, min(start + 3, rows))
        assert begin.offset_row == start // tfrecord.INDEX_STRIDE * tfrecord.INDEX_STRIDE
        assert column(read(content, begin)) == [[row] for row in range(start, begin.stop)]
        assert column(read(content, RowRange(start, begin.stop))) == [[row] for row in range(start, begin.stop)]


def test_a_damaged_record_before_the_offset_is_not_touched(tmp_path: Path) -> None:
    content = bytearray(digits(tmp_path / "f", 1100))
    summary = index_file(io.BytesIO(content), "f.tfrecord", None)
    content[0] ^= 1
    assert column(read(bytes(content), summary.range(1030, 1032))) == [[1030], [1031]]


def test_indexing_does_not_read_large_payloads(tmp_path: Path) -> None:
    file = CountingFile(framed(tmp_path / "f", [b"x" * 2**22] * 4))
    assert index_file(file, "f.tfrecord", None).rows == 4
    assert file.taken < 2**21


def test_reading_is_streaming(tmp_path: Path) -> None:
    file = CountingFile(framed(tmp_path / "f", [example(b=[b"x" * 2**20])] * 8))
    selection = Selection(("b",), RowRange(0, 8), 1)
    next(iter(read_rows(file, Source("f", "tfrecord"), selection)))
    assert file.taken < 2**21


def test_the_digest_sees_a_changed_payload(tmp_path: Path) -> None:
    one = framed(tmp_path / "f", [b"one", b"two"])
    two = framed(tmp_path / "f", [b"one", b"twO"])
    digests = {index_file(io.BytesIO(content), "f.tfrecord", None).digest for content in (one, two, one)}
    assert len(digests) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=8), codec=st.sampled_from(sorted(CODECS)))
def test_framing_round_trip(tmp_path: Path, payloads: list[bytes], codec: str) -> None:
    content = framed(tmp_path / "f", payloads, codec)
    stream = ByteStream(io.BytesIO(content), "f", codec, AttribeamError)
    assert list(tfrecord.records(stream, 0, 2**20)) == payloads
    assert index_file(io.BytesIO(content), "f.tfrecord", None).rows == len(payloads)


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    content = digits(tmp_path / "f", 3)
    borders = {0: 0}
    at = 0
    for row in range(3):
        at += HEADER + int.from_bytes(content[at : at + 8], "little") + CRC
        borders[at] = row + 1
    for size in range(1, len(content)):
        cut = content[:size]
        if size in borders:
            assert index_file(io.BytesIO(cut), "f.tfrecord", None).rows == borders[size]
            assert column(read(cut, RowRange(0, borders[size]))) == [[row] for row in range(borders[size])]
        else:
            with pytest.raises(UsageError) as error:
                index_file(io.BytesIO(cut), "f.tfrecord", None)
            refusal(error, "E_TFRECORD_TRUNCATED", "f.tfrecord", "record")
        with pytest.raises(AttribeamError) as error:
            read(cut, RowRange(0, 3))
        refusal(
            error, "E_TFRECORD_TRUNCATED", "f.tfrecord", f"record {max(r for b, r in borders.items() if b <= size)}"
        )


def test_every_bit_flip_is_seen(tmp_path: Path) -> None:
    content = digits(tmp_path / "f", 2)
    size = int.from_bytes(content[:8], "little")
    for bit in range(8 * (HEADER + size + CRC)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        if bit // 8 < HEADER:
            with pytest.raises(UsageError) as error:
                index_file(io.BytesIO(damaged), "f.tfrecord", "tfrecord")
            assert error.value.code in ("E_TFRECORD_LENGTH", "E_TFRECORD_COMPRESSION")
            with pytest.raises(AttribeamError) as error:
                list(read_rows(io.BytesIO(damaged), Source("f", "tfrecord"), Selection(("y",), RowRange(0, 2), 2)))
            refusal(error, "E_TFRECORD_LENGTH", "f record 0", "byte")
        else:
            batches = read(bytes(damaged), RowRange(0, 2))
            assert column(batches) == [None, [1]]
            assert faults(batches) == {0: "E_RECORD_CRC"}


def test_empty_file() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b""), "f.tfrecord", None)
    refusal(error, "E_FILE_EMPTY", "f.tfrecord")


def test_text_is_no_tfrecord() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b"hello, this is text\n" * 5), "f.tfrecord", None)
    refusal(error, "E_TFRECORD_LENGTH", "f.tfrecord record 0")


def test_record_limit(tmp_path: Path) -> None:
    content = framed(tmp_path / "f", [example(y=[0]), b"x" * 900_000, example(y=[2])])
    batches = read(content, RowRange(0, 3), limit=1000)
    assert faults(batches) == {1: "E_RECORD_BYTES"}
    assert column(batches) == [[0], None, [2]]


def test_a_huge_but_well_formed_length_is_truncation() -> None:
    length = (2**62).to_bytes(8, "little")
    content = length + tfrecord.masked_crc(length).to_bytes(4, "little") + b"abc"
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(content), "f.tfrecord", None)
    refusal(error, "E_TFRECORD_TRUNCATED", "f.tfrecord record 0")
    with pytest.raises(AttribeamError) as error:
        read(content, RowRange(0, 1))
    refusal(error, "E_TFRECORD_TRUNCATED", "f.tfrecord record 0")
