"""TFRecord: framing checked byte by byte, and Examples turned into columns.

The stock reader takes a cut file for a short one and cannot go on after a damaged payload; this one names the damage.
Framing: uint64 length, masked crc32c of it, payload, masked crc32c of the payload, all little endian
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

import google_crc32c
import numpy as np
import pyarrow as pa

from transforms.errors import AttribeamError, Fault, UsageError, quoted

if TYPE_CHECKING:
    from transforms.records.source import Selection, Source

INDEX_STRIDE = 1024
HEADER_BYTES = 12
MAX_BATCH_BYTES = 64 * 2**20  # a batch ends early here: Arrow's offsets have 31 bits, and memory is finite
_CRC_BYTES = 4
_CHUNK_BYTES = 256 * 1024
_WBITS = {"gzip": 31, "zlib": 15}
_CODEC_NAMES = re.compile(r"\.(gz|gzip|zlib)$", re.IGNORECASE)
_REMEDY = "copy or write the file again"


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


def _is_header(head: bytes) -> bool:
    return len(head) >= HEADER_BYTES and masked_crc(head[:8]) == int.from_bytes(head[8:12], "little")


def _is_zlib(head: bytes) -> bool:
    return len(head) >= 2 and head[0] & 0x8F == 8 and int.from_bytes(head[:2], "big") % 31 == 0


class _Stream:
    """The file's bytes in order, decompressed; `offset` is that of the next one."""

    def __init__(self, file: BinaryIO, name: str, codec: str, kind: type[AttribeamError]) -> None:
        self.name, self.codec, self.kind = name, codec, kind
        self.size = file.seek(0, os.SEEK_END)
        self._file = file
        self.start(0)

    def start(self, offset: int) -> None:
        """Goes to a byte of an uncompressed file, or to the beginning."""
        self._file.seek(offset)
        self._chunks: Iterator[bytes] = iter(partial(self._file.read, _CHUNK_BYTES), b"")
        if self.codec != "none":
            self._chunks = _inflated(self._chunks, self.codec)
        self._held, self._used, self.offset = bytearray(), 0, offset

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end."""
        while len(self._held) - self._used < size and self._fill():
            pass
        with memoryview(self._held) as held:
            piece = bytes(held[self._used : self._used + size])
        self._used += len(piece)
        self.offset += len(piece)
        return piece

    def skip(self, size: int) -> None:
        """Goes on by `size` bytes, or to the end; reads them only if they are compressed."""
        held = len(self._held) - self._used
        if size > held + _CHUNK_BYTES and self.codec == "none":
            self.start(min(self.offset + size, self.size))
            return
        while size > 0 and (piece := self.read(min(size, _CHUNK_BYTES))):
            size -= len(piece)

    def fail(self, code: str, row: int, found: str) -> AttribeamError:
        """The error for damage in record `row`, here."""
        where = f"{self.name} record {row}, near byte {self.offset}{'' if self.codec == 'none' else ' (decompressed)'}"
        hint = "; is it TFRecord at all?" if row == 0 else ""
        return self.kind(code, f"{where}: {found}{hint}; {_REMEDY}")

    def _fill(self) -> bool:
        try:
            chunk = next(self._chunks, b"")
        except zlib.error as error:
            found = f"{self.name} is no whole {self.codec} stream: {error}"
            raise self.kind("E_TFRECORD_COMPRESSION", f"{found}; {_REMEDY}") from error
        del self._held[: self._used]
        self._used = 0
        self._held += chunk
        return bool(chunk)


def _inflated(chunks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    """The decompressed bytes of one or more members, in bounded pieces that are never empty."""
    inflater = None
    for chunk in chunks:
        pending = True
        while pending:
            if inflater is None:
                chunk = chunk.lstrip(b"\0")  # gzip files may be padded
                inflater = zlib.decompressobj(_WBITS[codec]) if chunk else None
            if inflater is None:
                break
            piece = inflater.decompress(chunk, _CHUNK_BYTES)
            if piece:
                yield piece
            chunk = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
            pending = bool(chunk) or len(piece) == _CHUNK_BYTES
            inflater = None if inflater.eof else inflater
    if inflater is not None:
        raise zlib.error("it ends without its trailer")


def index(file: BinaryIO, name: str, codec: str) -> tuple[int, str, tuple[int, ...]]:
    """Rows; sha256 (hex) over the size, every header and payload checksum; offset of each INDEX_STRIDE-th record.

    Payloads of an uncompressed file are passed over, not read. Offsets are empty for a compressed file.

    Raises:
        UsageError: E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION.
    """
    stream = _Stream(file, name, codec, UsageError)
    digest = hashlib.sha256(stream.size.to_bytes(8, "little"))
    rows, offsets = 0, [0]
    while header := _header(stream, rows):
        digest.update(header + _skip_payload(stream, header, rows))
        rows += 1
        if rows % INDEX_STRIDE == 0:
            offsets.append(stream.offset)
    return rows, digest.hexdigest(), tuple(offsets) if codec == "none" else ()


def read(
    file: BinaryIO, source: Source, selection: Selection
) -> Iterator[tuple[int, pa.RecordBatch, dict[int, Fault]]]:
    """Streams (first row, batch, faults by offset in the batch) over the selected rows.

    Raises:
        AttribeamError: E_TFRECORD_TRUNCATED, E_TFRECORD_LENGTH, E_TFRECORD_COMPRESSION.
    """
    stream = _Stream(file, source.name, source.codec, AttribeamError)
    rows = selection.rows
    if source.codec == "none":
        stream.start(rows.offset)
    _pass_over(stream, 0 if source.codec != "none" else rows.offset_row, rows.start)
    records = islice(_records(stream, rows.start, selection.max_record_bytes), rows.stop - rows.start)
    row = rows.start
    while batch := _next_batch(records, selection.batch_rows):
        table, faults = _columns(batch, list(dict.fromkeys(selection.columns)))
        yield row, table, faults
        row += len(batch)
    if row < rows.stop:
        raise stream.fail("E_TFRECORD_TRUNCATED", row, f"the file ends, but records up to {rows.stop} were planned")


def schema(file: BinaryIO, source: Source) -> dict[str, str]:
    """Feature -> kind and number of values in the first record that can be read; empty for a file of no records.

    Raises:
        UsageError: broken framing, or the first record's fault when none can be read.
    """
    first_fault = None
    for record in _records(_Stream(file, source.name, source.codec, UsageError), 0, MAX_BATCH_BYTES):
        parsed = _parsed(record)
        if not isinstance(parsed, Fault):
            return {name: _described(parsed[name]) for name in sorted(parsed)}
        first_fault = first_fault or parsed
    if first_fault:
        raise UsageError(first_fault.code, f"{source.name} record 0 {first_fault.message}")
    return {}


def _header(stream: _Stream, row: int) -> bytes:
    """The next 12 bytes, checked; empty at the end."""
    header = stream.read(HEADER_BYTES)
    if 0 < len(header) < HEADER_BYTES:
        raise stream.fail("E_TFRECORD_TRUNCATED", row, f"the file ends after {len(header)} of 12 header bytes")
    if header and not _is_header(header):
        found = f"header {quoted(header)} does not match its checksum, so where records begin is lost"
        raise stream.fail("E_TFRECORD_LENGTH", row, found)
    return header


def _skip_payload(stream: _Stream, header: bytes, row: int) -> bytes:
    """Passes over a payload; returns its checksum's 4 bytes."""
    stream.skip(_payload_bytes(header))
    crc = stream.read(_CRC_BYTES)
    if len(crc) < _CRC_BYTES:
        found = f"the file ends inside a record of {_payload_bytes(header)} bytes or its checksum"
        raise stream.fail("E_TFRECORD_TRUNCATED", row, found)
    return crc


def _payload_bytes(header: bytes) -> int:
    return int.from_bytes(header[:8], "little")


def _pass_over(stream: _Stream, row: int, stop: int) -> None:
    while row < stop and (header := _header(stream, row)):
        _skip_payload(stream, header, row)
        row += 1


def _records(stream: _Stream, row: int, max_bytes: int) -> Iterator[bytes | Fault]:
    while header := _header(stream, row):
        yield _record(stream, header, row, max_bytes)
        row += 1


def _record(stream: _Stream, header: bytes, row: int, max_bytes: int) -> bytes | Fault:
    size = _payload_bytes(header)
    if size > max_bytes:
        _skip_payload(stream, header, row)
        return Fault("E_RECORD_BYTES", f"has {size} bytes; the limit is {max_bytes}; raise limits.record_bytes")
    payload, crc = stream.read(size), stream.read(_CRC_BYTES)
    if len(crc) < _CRC_BYTES:
        found = f"the file ends after {len(payload) + len(crc)} of {size + _CRC_BYTES} bytes of a record"
        raise stream.fail("E_TFRECORD_TRUNCATED", row, found)
    if masked_crc(payload) != int.from_bytes(crc, "little"):
        return Fault("E_RECORD_CRC", f"payload of {size} bytes does not match its checksum: it is damaged; {_REMEDY}")
    return payload


def _next_batch(records: Iterator[bytes | Fault], batch_rows: int) -> list[bytes | Fault]:
    """The next records, until there are `batch_rows` of them or they are `MAX_BATCH_BYTES` together."""
    batch: list[bytes | Fault] = []
    held_bytes = 0
    while len(batch) < batch_rows and held_bytes < MAX_BATCH_BYTES:
        record = next(records, None)
        if record is None:
            break
        batch.append(record)
        held_bytes += len(record) if isinstance(record, bytes) else 0
    return batch


def _parsed(record: bytes | Fault) -> Any:
    """The features of one Example by name, or why there are none."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.example import example_pb2

    if isinstance(record, Fault):
        return record
    try:
        return example_pb2.Example.FromString(record).features.feature
    except (DecodeError, UnicodeDecodeError):
        found = f"payload {quoted(record)} of {len(record)} bytes is no tf.train.Example"
        return Fault("E_RECORD_PARSE", f"{found}; write Examples, or leave the record out")


def _described(feature: Any) -> str:
    kind = feature.WhichOneof("kind")
    return f"{kind}[{len(getattr(feature, kind).value)}]" if kind else "empty"


def _columns(batch: Sequence[bytes | Fault], names: Sequence[str]) -> tuple[pa.RecordBatch, dict[int, Fault]]:
    """One list column per name, and the rows that could not be read."""
    parsed = [_parsed(record) for record in batch]
    faults = {row: value for row, value in enumerate(parsed) if isinstance(value, Fault)}
    arrays = []
    for name in names:
        features = [None if isinstance(value, Fault) else value.get(name) for value in parsed]
        array, refused = _column(features, name)
        arrays.append(array)
        faults = refused | faults
    if not names:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(batch), pa.struct([]))), faults
    return pa.RecordBatch.from_arrays(arrays, names=list(names)), faults


def _column(features: Sequence[Any], name: str) -> tuple[pa.Array, dict[int, Fault]]:
    """The kind that most rows have decides the type; other kinds are refused, absent values are null."""
    kinds = [None if feature is None else feature.WhichOneof("kind") for feature in features]
    present = Counter(kind for kind in kinds if kind)
    if not present:
        return pa.nulls(len(features)), {}
    common = present.most_common(1)[0][0]
    refused = {
        row: Fault("E_FEATURE_DTYPE", f"feature {quoted(name)} is {kind}; most rows have {common}; write one kind")
        for row, kind in enumerate(kinds)
        if kind and kind != common
    }
    values = [
        getattr(feature, common) if kind == common else None for feature, kind in zip(features, kinds, strict=True)
    ]
    return _list_array(values, common), refused


def _list_array(lists: Sequence[Any], kind: str) -> pa.ListArray:
    """FloatList, Int64List or BytesList messages, None for null, as one ListArray."""
    lengths = [0 if one is None else len(one.value) for one in lists]
    present = [one for one in lists if one is not None]
    if kind == "bytes_list":
        flat = pa.array([value for one in present for value in one.value], pa.binary())
    elif kind == "float_list":
        flat = pa.array(np.concatenate([_floats(one) for one in present]))
    else:
        flat = pa.array(np.concatenate([np.array(one.value, dtype=np.int64) for one in present]))
    offsets = pa.array(np.cumsum([0, *lengths]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, flat, mask=pa.array([one is None for one in lists]))


def _floats(message: Any) -> np.ndarray:
    """FloatList -> [values] float32, through its own packed bytes: ten times faster than value by value."""
    count, packed = len(message.value), message.SerializeToString()
    tag_bytes = 1 + -(-(4 * count).bit_length() // 7)  # field number and kind, then the length as a varint
    if len(packed) != tag_bytes + 4 * count:  # no values, or fields that we do not know
        return np.array(message.value, dtype=np.float32)
    return np.frombuffer(packed, dtype="<f4", offset=tag_bytes)
