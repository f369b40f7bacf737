"""Copies of a small Parquet file that say something else of themselves: their pages stay, their key-values change."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import pyarrow.parquet as pq

MAGIC, TAIL_BYTES, STRING = b"PAR1", 8, b"\x18"


class Template:
    """A Parquet file, held in memory."""

    def __init__(self, data: bytes) -> None:
        size = int.from_bytes(data[-TAIL_BYTES:-4], "little")
        self._pages, self._footer = data[: -TAIL_BYTES - size], data[-TAIL_BYTES - size : -TAIL_BYTES]
        self._schema = pq.read_schema(io.BytesIO(data))

    def copy(self, values: Mapping[str, str]) -> bytes:
        """The file with other values under some of its keys, where both Parquet and Arrow look for them."""
        plain = {key.decode(): value.decode() for key, value in self._schema.metadata.items()} | dict(values)
        arrow = base64.b64encode(self._schema.with_metadata(plain).serialize()).decode()
        footer = self._footer
        for key, value in {**values, "ARROW:schema": arrow}.items():
            footer = _replaced(footer, key.encode(), value.encode())
        return self._pages + footer + len(footer).to_bytes(4, "little") + MAGIC


def _replaced(footer: bytes, key: bytes, value: bytes) -> bytes:
    """A Thrift string is its length, as a varint, and its bytes; a pair is one such field after another.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """
    head = STRING + _varint(len(key)) + key + STRING
    start = footer.index(head) + len(head)
    size, after = 0, start
    while True:
        size |= (footer[after] & 0x7F) << 7 * (after - start)
        after += 1
        if footer[after - 1] < 0x80:
            break
    return footer[:start] + _varint(len(value)) + value + footer[after + size :]


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
