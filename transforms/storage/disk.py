"""What a disk refuses, as an error that names operation and file, instead of a number of the operating system's."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from transforms.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def open_named(path: str | pathlib.Path) -> BinaryIO:
    """A seekable binary reader of a local file.

    Raises:
        FileNotFoundError: there is none.
        StoreError: E_DISK, here and wherever it is read.
    """
    with named("opening", path):
        return cast(BinaryIO, io.BufferedReader(_NamedFile(str(path), "rb")))


@contextlib.contextmanager
def named(operation: str, path: str | pathlib.Path) -> Iterator[None]:
    """Within it, an error of the operating system is one that names the file; but for whether it is there.

    Raises:
        StoreError: E_DISK.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        if error.errno is None:  # of pyarrow's: what was read is wrong, not the reading
            raise
        raise failure(operation, path, error) from error


def failure(operation: str, path: str | pathlib.Path, error: OSError) -> StoreError:
    """The error for a file that the disk did not do something with."""
    said = os.strerror(error.errno) if error.errno else str(error)
    remedy = "make room" if error.errno in _FULL else "check the disk and the permissions"
    return StoreError(
        "E_DISK", f"{operation} {path}: {said}; {remedy}, and run the same command again: what is done is kept"
    )


class _NamedFile(io.FileIO):
    """Errors name the file: read by others, it would be taken for a damaged one."""

    def readinto(self, buffer: Any) -> int:
        with named("reading", str(self.name)):
            return cast(int, super().readinto(buffer))

    def readall(self) -> bytes:
        with named("reading", str(self.name)):
            return super().readall()

    def read(self, size: int | None = -1) -> bytes:
        with named("reading", str(self.name)):
            return super().read(-1 if size is None else size)
