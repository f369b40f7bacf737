"""TFRecord framing and Examples. The files come from tf.io.TFRecordWriter: an oracle that is not ours."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.errors import AttribeamError, UsageError
from transforms.records import tfrecord
from transforms.records.source import RawBatch, RowRange, Selection, Source, index_file, read_rows, schema_of

HEADER, CRC = 12, 4
CODECS = {"none": "", "gzip": "GZIP", "zlib": "ZLIB"}


def feature(value: list) -> tf.train.Feature:
    if value and isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if value and isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def example(**features: list) -> bytes:
    parts = {name: feature(value) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=parts)).SerializeToString()


def framed(path: Path, payloads: list[bytes], codec: str = "none") -> bytes:
    with tf.io.TFRecordWriter(str(path), CODECS[codec]) as writer:
        for payload in payloads:
            writer.write(payload)
    return path.read_bytes()


def digits(path: Path, rows: int = 6, codec: str = "none") -> bytes:
    return framed(path, [example(x=[row + 0.5, -1.0], y=[row], b=[b"%d" % row]) for row in range(rows)], codec)


def read(
    content: bytes, rows: RowRange, columns: tuple[str, ...] = ("y",), batch_rows: int = 2, limit: int = 2**28
) -> list[RawBatch]:
    codec = tfrecord.detect_codec("f", content[:12])
    selection = Selection(columns, rows, batch_rows, limit)
    return list(read_rows(io.BytesIO(content), Source("f.tfrecord", "tfrecord", codec), selection))


def column(batches: list[RawBatch], name: str = "y") -> list:
    return [value for batch in batches for value in batch.table[name].to_pylist()]


def faults(batches: list[RawBatch]) -> dict[int, str]:
    assert all(len(fault.message) <= 500 for batch in batches for fault in batch.faults.values())
    return {batch.first_row + at: fault.code for batch in batches for at, fault in batch.faults.items()}


def refusal(error: pytest.ExceptionInfo, code: str, *named: str) -> None:
    assert error.value.code == code
    assert len(str(error.value)) <= 500
    for name in named:
        assert name in str(error.value)


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


@pytest.mark.parametrize("suffix", [".gz", ".gzip", ".zlib", ".GZ"])
def test_codec_by_name_when_the_content_says_nothing(suffix: str) -> None:
    assert tfrecord.detect_codec(f"a.tfrecord{suffix}", b"\x00\x01") == ("zlib" if suffix == ".zlib" else "gzip")


def test_a_plain_file_named_gz_is_read_as_what_it_is(tmp_path: Path) -> None:
    assert index_file(io.BytesIO(digits(tmp_path / "f")), "f.tfrecord.gz", None).codec == "none"


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


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_indexing_does_not_read_large_payloads(tmp_path: Path) -> None:
    file = CountingFile(framed(tmp_path / "f", [b"x" * 2**22] * 4))
    assert index_file(file, "f.tfrecord", None).rows == 4
    assert file.taken < 2**21


def test_reading_is_streaming(tmp_path: Path) -> None:
    file = CountingFile(framed(tmp_path / "f", [example(b=[b"x" * 2**20])] * 8))
    selection = Selection(("b",), RowRange(0, 8), 1)
    next(iter(read_rows(file, Source("f", "tfrecord"), selection)))
    assert file.taken < 2**21


def test_a_batch_ends_early_at_its_byte_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfrecord, "MAX_BATCH_BYTES", 100)
    batches = read(framed(tmp_path / "f", [example(b=[b"x" * 60])] * 5), RowRange(0, 5), ("b",), 100)
    assert [batch.table.num_rows for batch in batches] == [2, 2, 1]


def test_the_digest_sees_a_changed_payload(tmp_path: Path) -> None:
    one = framed(tmp_path / "f", [b"one", b"two"])
    two = framed(tmp_path / "f", [b"one", b"twO"])
    digests = {index_file(io.BytesIO(content), "f.tfrecord", None).digest for content in (one, two, one)}
    assert len(digests) == 2


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payloads=st.lists(st.binary(max_size=300), min_size=1, max_size=8), codec=st.sampled_from(sorted(CODECS)))
def test_framing_round_trip(tmp_path: Path, payloads: list[bytes], codec: str) -> None:
    content = framed(tmp_path / "f", payloads, codec)
    stream = tfrecord._Stream(io.BytesIO(content), "f", codec, AttribeamError)
    assert list(tfrecord._records(stream, 0, 2**20)) == payloads
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


@pytest.mark.parametrize("codec", ["gzip", "zlib"])
def test_truncated_compression_at_every_byte(tmp_path: Path, codec: str) -> None:
    content = digits(tmp_path / "f", 3, codec)
    for size in range(1, len(content)):
        with pytest.raises(UsageError) as error:
            index_file(io.BytesIO(content[:size]), f"f.tfrecord.{codec}", None)
        refusal(error, "E_TFRECORD_COMPRESSION", f"f.tfrecord.{codec}", "trailer")


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


@pytest.mark.parametrize("codec", ["gzip", "zlib"])
def test_bit_flips_in_compression(tmp_path: Path, codec: str) -> None:
    content = digits(tmp_path / "f", 3, codec)
    for at in range(2, len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 16
        try:
            batches = list(
                read_rows(io.BytesIO(damaged), Source("f", "tfrecord", codec), Selection(("y",), RowRange(0, 3), 2))
            )
        except AttribeamError as error:
            assert error.code.startswith("E_TFRECORD_")
            continue
        good = [value for value in column(batches) if value is not None]
        assert all(value in ([0], [1], [2]) for value in good)


def test_multi_member_and_padded_gzip(tmp_path: Path) -> None:
    plain = digits(tmp_path / "f", 6)
    half = len(plain) // 3  # inside a record
    content = gzip.compress(plain[:half]) + b"\0" * 9 + gzip.compress(plain[half:]) + b"\0" * 5
    assert index_file(io.BytesIO(content), "f.tfrecord.gz", None).rows == 6
    assert column(read(content, RowRange(2, 6))) == [[2], [3], [4], [5]]


def test_garbage_after_gzip() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(gzip.compress(b"") + b"garbage"), "f.tfrecord.gz", None)
    refusal(error, "E_TFRECORD_COMPRESSION", "f.tfrecord.gz")


def test_a_compressed_stream_larger_than_a_chunk(tmp_path: Path) -> None:
    payloads = [example(b=[bytes([at]) * 700_000]) for at in range(4)]
    content = zlib.compress(framed(tmp_path / "f", payloads))
    assert len(content) < 100_000
    batches = read(content, RowRange(1, 4), ("b",))
    assert column(batches, "b") == [[bytes([at]) * 700_000] for at in range(1, 4)]


def test_empty_file() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b""), "f.tfrecord", None)
    refusal(error, "E_FILE_EMPTY", "f.tfrecord")


def test_text_is_no_tfrecord() -> None:
    with pytest.raises(UsageError) as error:
        index_file(io.BytesIO(b"hello, this is text\n" * 5), "f.tfrecord", None)
    refusal(error, "E_TFRECORD_LENGTH", "f.tfrecord record 0")


def test_other_payloads_are_row_faults(tmp_path: Path) -> None:
    payloads = [example(y=[0]), b"\xff" * 5000, example(y=[2]), b"\x0a\xff", b""]
    batches = read(framed(tmp_path / "f", payloads), RowRange(0, 5))
    assert faults(batches) == {1: "E_RECORD_PARSE", 3: "E_RECORD_PARSE"}
    assert column(batches) == [[0], None, [2], None, None]


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


def test_the_majority_decides_a_columns_kind(tmp_path: Path) -> None:
    payloads = [example(y=[1], z=[1.0]), example(y=[2.0], z=[2.0]), example(y=[3], z=[3.0]), example(z=[4.0])]
    batches = read(framed(tmp_path / "f", payloads), RowRange(0, 4), ("y", "z"), 10)
    assert faults(batches) == {1: "E_FEATURE_DTYPE"}
    assert column(batches) == [[1], None, [3], None]
    assert column(batches, "z") == [[1.0], [2.0], [3.0], [4.0]]


def test_empty_lists_are_not_null(tmp_path: Path) -> None:
    batches = read(framed(tmp_path / "f", [example(x=[]), example(x=[1.0])]), RowRange(0, 2), ("x",))
    assert column(batches, "x") == [[], [1.0]]


def test_unknown_fields_beside_the_values_change_nothing(tmp_path: Path) -> None:
    values = tf.train.FloatList(value=[1.0, 2.0]).SerializeToString() + b"\x12\x02ab"
    one = b"\x12" + bytes([len(values)]) + values  # Feature.float_list
    entry = b"\x0a\x01x\x12" + bytes([len(one)]) + one
    features = b"\x0a" + bytes([len(entry)]) + entry
    payload = b"\x0a" + bytes([len(features)]) + features
    assert column(read(framed(tmp_path / "f", [payload]), RowRange(0, 1), ("x",)), "x") == [[1.0, 2.0]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=40), min_size=1, max_size=6))
def test_float_lists_round_trip(tmp_path: Path, rows: list[list[float]]) -> None:
    content = framed(tmp_path / "f", [example(x=row) for row in rows])
    assert column(read(content, RowRange(0, len(rows)), ("x",), 100), "x") == rows


def test_no_columns_still_counts_rows(tmp_path: Path) -> None:
    assert [b.table.num_rows for b in read(digits(tmp_path / "f"), RowRange(1, 6), (), 3)] == [3, 2]


def test_names_are_data(tmp_path: Path) -> None:
    content = framed(tmp_path / "f", [example(**{"{0}*[a].b%s": [1]})])
    assert column(read(content, RowRange(0, 1), ("{0}*[a].b%s",)), "{0}*[a].b%s") == [[1]]


def test_schema(tmp_path: Path) -> None:
    content = digits(tmp_path / "f")
    described = schema_of(io.BytesIO(content), "f", "tfrecord", "none")
    assert described == {"b": "bytes_list[1]", "x": "float_list[2]", "y": "int64_list[1]"}


def test_schema_of_a_file_without_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        schema_of(io.BytesIO(framed(tmp_path / "f", [b"\xff\xff"])), "f.tfrecord", "tfrecord", "none")
    refusal(error, "E_RECORD_PARSE", "f.tfrecord record 0")
