"""The bytes of a record file in order, decompressed on the way and never held as a whole."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from transforms.errors import AttribeamError

REMEDY = "copy or write the file again"
_CHUNK_BYTES = 256 * 1024
_WBITS = {"gzip": 31, "zlib": 15}


class ByteStream:
    """A file's bytes from the beginning; `offset` is that of the next one.

    Attributes:
        name: of the file, for messages.
        codec: `none`, `gzip` or `zlib`.
        kind: the error that damage raises.
        size: of the file as it is stored, in bytes.
    """

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
        """The next `size` bytes; fewer only at the end.

        Raises:
            AttribeamError: E_TFRECORD_COMPRESSION, as `kind`.
        """
        while len(self._held) - self._used < size and self._fill():
            pass
        with memoryview(self._held) as held:
            piece = bytes(held[self._used : self._used + size])
        self._used += len(piece)
        self.offset += len(piece)
        return piece

    def skip(self, size: int) -> None:
        """Goes on by `size` bytes, or to the end; reads them only if they are compressed.

        Raises:
            AttribeamError: E_TFRECORD_COMPRESSION, as `kind`.
        """
        held = len(self._held) - self._used
        if size > held + _CHUNK_BYTES and self.codec == "none":
            self.start(min(self.offset + size, self.size))
            return
        while size > 0 and (piece := self.read(min(size, _CHUNK_BYTES))):
            size -= len(piece)

    def damage(self, code: str, record: int, found: str) -> AttribeamError:
        """The error for damage in a record, here."""
        decompressed = "" if self.codec == "none" else " (decompressed)"
        where = f"{self.name} record {record}, near byte {self.offset}{decompressed}"
        hint = "; is it TFRecord at all?" if record == 0 else ""
        return self.kind(code, f"{where}: {found}{hint}; {REMEDY}")

    def _fill(self) -> bool:
        try:
            chunk = next(self._chunks, b"")
        except zlib.error as error:
            found = f"{self.name} is no whole {self.codec} stream: {error}"
            raise self.kind("E_TFRECORD_COMPRESSION", f"{found}; {REMEDY}") from error
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
