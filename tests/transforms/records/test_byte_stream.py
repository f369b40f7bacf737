"""Compressed TFRecord files: recognised, read, and refused when damaged."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import pytest
from refusals import refusal
from tfrecord_files import column, digits, example, framed, read

from transforms.errors import AttribeamError, UsageError
from transforms.records import tfrecord
from transforms.records.source import RowRange, Selection, Source, index_file, read_rows


@pytest.mark.parametrize("suffix", [".gz", ".gzip", ".zlib", ".GZ"])
def test_codec_by_name_when_the_content_says_nothing(suffix: str) -> None:
    assert tfrecord.detect_codec(f"a.tfrecord{suffix}", b"\x00\x01") == ("zlib" if suffix == ".zlib" else "gzip")


def test_a_plain_file_named_gz_is_read_as_what_it_is(tmp_path: Path) -> None:
    assert index_file(io.BytesIO(digits(tmp_path / "f")), "f.tfrecord.gz", None).codec == "none"


@pytest.mark.parametrize("codec", ["gzip", "zlib"])
def test_truncated_compression_at_every_byte(tmp_path: Path, codec: str) -> None:
    content = digits(tmp_path / "f", 3, codec)
    for size in range(1, len(content)):
        with pytest.raises(UsageError) as error:
            index_file(io.BytesIO(content[:size]), f"f.tfrecord.{codec}", None)
        refusal(error, "E_TFRECORD_COMPRESSION", f"f.tfrecord.{codec}", "trailer")


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
