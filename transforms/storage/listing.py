"""Which files a dataset consists of: paths, directories and globs, local or in an object store."""

from __future__ import annotations

import fnmatch
import glob
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, cast

import obstore
from obstore.fsspec import FsspecStore
from obstore.store import from_url

from transforms.errors import UsageError
from transforms.storage.place import is_url

WILDCARDS = frozenset("*?[")


def list_files(patterns: Sequence[str]) -> list[str]:
    """Every file that the patterns name, each once, sorted within a pattern.

    A pattern is a path, a directory (all files in it whose names begin with neither `.` nor `_`) or a glob. A path
    that exists is taken as it is, whatever characters it has.

    Raises:
        UsageError: E_INPUT_NOT_FOUND when a pattern matches nothing.
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


def open_file(path: str) -> BinaryIO:
    """A seekable binary reader of a local file or an object (read by ranges)."""
    if not is_url(path):
        return pathlib.Path(path).open("rb")
    scheme, _, rest = path.partition("://")
    return cast(BinaryIO, FsspecStore(scheme).open(rest, "rb"))


def file_bytes(path: str) -> int:
    """The size of a file or object."""
    if not is_url(path):
        return pathlib.Path(path).stat().st_size
    scheme, _, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    return int(obstore.head(from_url(f"{scheme}://{bucket}"), key)["size"])


def _local(pattern: str) -> Iterable[str]:
    path = pathlib.Path(pattern)
    if path.is_file():
        return [pattern]
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return sorted(str(file) for file in files if not _hidden(file.relative_to(path).parts))
    return sorted(name for name in glob.glob(pattern, recursive=True) if pathlib.Path(name).is_file())  # noqa: PTH207 - pathlib's glob takes no absolute pattern


def _remote(pattern: str) -> Iterable[str]:
    scheme, _, rest = pattern.partition("://")
    bucket, _, key = rest.partition("/")
    fixed = key[: min((key.index(c) for c in WILDCARDS if c in key), default=len(key))]
    store = from_url(f"{scheme}://{bucket}")
    names = _below(store, key.rstrip("/")) if fixed == key else []
    names = names or _below(store, fixed.rpartition("/")[0])
    folder = key.rstrip("/") + "/" if key else ""
    chosen = (
        name
        for name in names
        if name == key
        or fnmatch.fnmatchcase(name, key)
        or (name.startswith(folder) and not _hidden(tuple(name[len(folder) :].split("/"))))
    )
    return [f"{scheme}://{bucket}/{name}" for name in chosen]


def _below(store: Any, folder: str) -> list[str]:
    return sorted(entry["path"] for page in obstore.list(store, prefix=folder or None) for entry in page)


def _hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)
