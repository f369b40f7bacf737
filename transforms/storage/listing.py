"""Which files a dataset consists of: paths, directories and globs, local or in an object store."""

from __future__ import annotations

import fnmatch
import glob
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from transforms.errors import UsageError
from transforms.storage.bucket import Bucket
from transforms.storage.disk import open_named
from transforms.storage.url import is_url, parse_url

WILDCARDS = frozenset("*?[")


def list_files(patterns: Sequence[str]) -> list[str]:
    """Every file that the patterns name, each once, sorted within a pattern.

    A pattern is a path, a directory (all files in it whose names begin with neither `.` nor `_`) or a glob. A path
    that exists is taken as it is, whatever characters it has.

    Raises:
        UsageError: E_INPUT_NOT_FOUND when a pattern matches nothing; E_STORE_URL, E_STORE_SECRET.
        StoreError: as the methods of `Bucket`.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        files = list(_remote(pattern) if is_url(pattern) else _local(pattern))
        if not files:
            raise UsageError(
                "E_INPUT_NOT_FOUND",
                f"input.files: no file matches {pattern!r}; paths in a configuration are relative to its own folder",
            )
        found.update(dict.fromkeys(files))
    return list(found)


def path_exists(path: pathlib.Path) -> bool:
    """Whether a local path exists; none of a name that no file system takes."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def open_file(path: str) -> BinaryIO:
    """A seekable binary reader of a local file or an object (read by ranges)."""
    if not is_url(path):
        return open_named(path)
    url = parse_url(path)
    return Bucket(url).open(url.key)


def is_file(path: str) -> bool:
    """Whether a local file or an object is there."""
    if not is_url(path):
        return pathlib.Path(path).is_file()
    url = parse_url(path)
    return Bucket(url).find(url.key) is not None


def file_bytes(path: str) -> int:
    """The size of a file or object."""
    if not is_url(path):
        return os.stat(path).st_size  # noqa: PTH116 - asked of very many, where a Path takes longer than the file system
    with open_file(path) as file:
        return file.seek(0, os.SEEK_END)


def _local(pattern: str) -> Iterable[str]:
    path = pathlib.Path(pattern)
    if not path_exists(path):
        names = [] if "\0" in pattern else glob.glob(pattern, recursive=True)  # noqa: PTH207 - pathlib's glob takes no absolute pattern
        return sorted(name for name in names if pathlib.Path(name).is_file())
    if path.is_dir():
        return sorted(_below_folder(str(path)))
    return [pattern] if path.is_file() else []


def _below_folder(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if _hidden([entry.name]):
                continue
            if entry.is_file():
                yield entry.path
            elif entry.is_dir(follow_symlinks=False):
                yield from _below_folder(entry.path)


def _remote(pattern: str) -> Iterable[str]:
    url = parse_url(pattern)
    bucket, key = Bucket(url), url.key
    if key and bucket.find(key):
        return [str(url)]
    fixed = key[: min((key.index(mark) for mark in WILDCARDS if mark in key), default=len(key))]
    names = [stored.key for stored in bucket.list(fixed if fixed == key else fixed.rpartition("/")[0])]
    folder = f"{key}/" if key else ""
    chosen = (
        name
        for name in names
        if _matches(name.split("/"), key.split("/"))
        or (name.startswith(folder) and not _hidden(tuple(name[len(folder) :].split("/"))))
    )
    return [f"{url.root}/{name}" for name in chosen]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """As local globs do: `*` stays within a folder and passes over names with a dot, `**` is any number of folders."""
    if not pattern or not parts:
        return not parts and all(piece == "**" for piece in pattern)
    if pattern[0] == "**":
        deeper = not parts[0].startswith(".") and _matches(parts[1:], pattern)
        return deeper or _matches(parts, pattern[1:])
    dotted = parts[0].startswith(".") and not pattern[0].startswith(".")
    return not dotted and fnmatch.fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)
