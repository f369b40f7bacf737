"""An object as a file that is read by ranges."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any

# of one request: what a slow line brings before the request is given up
RANGE_BYTES = 8 * 2**20


class ObjectFile(io.RawIOBase):
    """A seekable reader; wrapped in `io.BufferedReader`, small reads become few requests.

    Args:
        size: of the object, in bytes.
        fetch: (start, stop) → these bytes.
    """

    def __init__(self, size: int, fetch: Callable[[int, int], Any]) -> None:
        self._size, self._fetch, self._position = size, fetch, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a byte, counted from the beginning, from here or from the end."""
        self._position = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence])
        return self._position

    def tell(self) -> int:
        """The next byte's number."""
        return self._position

    def readall(self) -> bytes:
        """The rest; the usual way would ask for 8 KiB at a time."""
        rest = bytearray(max(0, self._size - self._position))
        view = memoryview(rest)
        while view and (count := self.readinto(view)):
            view = view[count:]
        return bytes(rest)

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one request does; 0 at the end."""
        stop = min(self._size, self._position + min(len(buffer), RANGE_BYTES))
        if stop <= self._position:
            return 0
        found = memoryview(self._fetch(self._position, stop))
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)
