"""TFRecord framing, checked byte by byte.

The stock reader takes a cut file for a short one and cannot go on after a damaged payload; this one names the damage.
Framing: uint64 length, masked crc32c of it, payload, masked crc32c of the payload, all little endian
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from transforms.errors import Fault, UsageError, quoted
from transforms.records.byte_stream import REMEDY, ByteStream

INDEX_STRIDE = 1024
HEADER_BYTES = 12
_CRC_BYTES = 4
_CODEC_NAMES = re.compile(r"\.(gz|gzip|zlib)$", re.IGNORECASE)


def masked_crc(data: bytes) -> int:
    """crc32c, rotated and shifted as TFRecord stores it."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def looks_like(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes can be TFRecord, plain or compressed."""
    return _is_header(head) or head[:2] == b"\x1f\x8b" or _is_zlib(head)


def detect_codec(name: str, head: bytes) -> str:
    """`none`, `gzip` or `zlib`: by the first 12 bytes, and by the name where these say nothing."""
    if _is_header(head):
        return "none"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    suffix = _CODEC_NAMES.search(name)
    if suffix:
        return "zlib" if suffix[1].lower() == "zlib" else "gzip"
    return "zlib" if _is_zlib(head) else "none"


def index(file: BinaryIO, name: str, codec: str) -> tuple[int, str, tuple[int, ...]]:
    """Rows; sha256 (hex) over the size, every header and payload checksum; offset of each INDEX_STRIDE-th record.

    Payloads of an uncompressed file are passed over, not read. Offsets are empty for a compressed file.

    Raises:
        UsageError: E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION.
    """
    stream = ByteStream(file, name, codec, UsageError)
    digest = hashlib.sha256(stream.size.to_bytes(8, "little"))
    rows, offsets = 0, [0]
    while header := _header(stream, rows):
        digest.update(header + _skip_payload(stream, header, rows))
        rows += 1
        if rows % INDEX_STRIDE == 0:
            offsets.append(stream.offset)
    return rows, digest.hexdigest(), tuple(offsets) if codec == "none" else ()


def pass_over(stream: ByteStream, row: int, stop: int) -> None:
    """Goes on from record `row`, which is next, to record `stop`, or to the end.

    Raises:
        AttribeamError: E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION, as `stream.kind`.
    """
    while row < stop and (header := _header(stream, row)):
        _skip_payload(stream, header, row)
        row += 1


def records(stream: ByteStream, row: int, max_bytes: int) -> Iterator[bytes | Fault]:
    """Payloads to the end of the stream, where record `row` is next; E_RECORD_CRC or E_RECORD_BYTES in its place.

    Raises:
        AttribeamError: E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION, as `stream.kind`.
    """
    while header := _header(stream, row):
        yield _record(stream, header, row, max_bytes)
        row += 1


def planned_records(stream: ByteStream, rows: range, max_bytes: int) -> Iterator[bytes | Fault]:
    """As `records`, but exactly these rows: fewer are E_TFRECORD_TRUNCATED."""
    following = records(stream, rows.start, max_bytes)
    for row in rows:
        record = next(following, None)
        if record is None:
            found = f"the file ends, but records up to {rows.stop} were planned"
            raise stream.damage("E_TFRECORD_TRUNCATED", row, found)
        yield record


def _is_header(head: bytes) -> bool:
    return len(head) >= HEADER_BYTES and masked_crc(head[:8]) == int.from_bytes(head[8:12], "little")


def _is_zlib(head: bytes) -> bool:
    return len(head) >= 2 and head[0] & 0x8F == 8 and int.from_bytes(head[:2], "big") % 31 == 0


def _header(stream: ByteStream, row: int) -> bytes:
    """The next 12 bytes, checked; empty at the end."""
    header = stream.read(HEADER_BYTES)
    if 0 < len(header) < HEADER_BYTES:
        raise stream.damage("E_TFRECORD_TRUNCATED", row, f"the file ends after {len(header)} of 12 header bytes")
    if header and not _is_header(header):
        found = f"header {quoted(header)} does not match its checksum, so where records begin is lost"
        raise stream.damage("E_TFRECORD_LENGTH", row, found)
    return header


def _skip_payload(stream: ByteStream, header: bytes, row: int) -> bytes:
    """Passes over a payload; returns its checksum's 4 bytes."""
    stream.skip(_payload_bytes(header))
    crc = stream.read(_CRC_BYTES)
    if len(crc) < _CRC_BYTES:
        found = f"the file ends inside a record of {_payload_bytes(header)} bytes or its checksum"
        raise stream.damage("E_TFRECORD_TRUNCATED", row, found)
    return crc


def _payload_bytes(header: bytes) -> int:
    return int.from_bytes(header[:8], "little")


def _record(stream: ByteStream, header: bytes, row: int, max_bytes: int) -> bytes | Fault:
    size = _payload_bytes(header)
    if size > max_bytes:
        _skip_payload(stream, header, row)
        return Fault("E_RECORD_BYTES", f"has {size} bytes; the limit is {max_bytes}; raise limits.record_bytes")
    payload, crc = stream.read(size), stream.read(_CRC_BYTES)
    if len(crc) < _CRC_BYTES:
        found = f"the file ends after {len(payload) + len(crc)} of {size + _CRC_BYTES} bytes of a record"
        raise stream.damage("E_TFRECORD_TRUNCATED", row, found)
    if masked_crc(payload) != int.from_bytes(crc, "little"):
        return Fault("E_RECORD_CRC", f"payload of {size} bytes does not match its checksum: it is damaged; {REMEDY}")
    return payload
