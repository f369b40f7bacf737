"""Local copies of objects that are read as a whole: each fetched once a process, and gone with it.

A copy is of one version of its object (every range is asked for by its etag) and has its size, or there is none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
import tempfile
import threading
from collections.abc import Iterator

from transforms.errors import StoreError, UsageError
from transforms.storage.bucket import Bucket
from transforms.storage.object_file import RANGE_BYTES
from transforms.storage.own_folder import SCRATCH, STAGED, OwnFolder, sweep
from transforms.storage.url import is_url, parse_url

# Copies that nobody reads are kept for the next shard of their file, the latest used, up to this.
KEPT_BYTES = 8 * 2**30


@dataclasses.dataclass
class _Copy:
    path: pathlib.Path
    readers: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)


class Staging:
    """The copies of one process, in a folder below the temporary directory (TMPDIR).

    `close` removes them, or at the latest the end of the process; and what a killed process left, the next one's
    first copy.
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes, self._lock = kept_bytes, threading.Lock()
        self._copies: dict[str, _Copy] = {}
        self._names, self._folder = itertools.count(), list[OwnFolder]()

    def close(self) -> None:
        """Remove the copies that nobody reads."""
        with self._lock:
            self._drop(0)
            if not self._copies and self._folder:
                self._folder.pop().remove()

    def tree(self, path: str) -> pathlib.Path:
        """A copy of an object, or of all that is below a prefix, until `close`.

        Raises:
            StoreError: as the methods of `Bucket`; E_STORE_MISSING when nothing is there.
            UsageError: E_STORE_URL, E_STORE_SECRET, E_SCRATCH_FULL.
        """
        url = parse_url(path)
        with self._lock:
            top = self._new(pathlib.PurePosixPath(url.key).name)
        bucket = Bucket(url)
        if url.key and bucket.find(url.key):
            _fetch(bucket, url.key, top)
            return top
        found = [stored.key for stored in bucket.list(url.key)]
        if not found:
            raise StoreError(
                "E_STORE_MISSING", f"reading {url}: neither an object nor a folder is there; check the name"
            )
        for key in found:
            _fetch(bucket, key, top / pathlib.PurePosixPath(key).relative_to(url.key))
        return top

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[str]:
        """A local path of a file: itself, or that of its copy, which stays at least as long as the context.

        Several threads that ask for one object wait for one copy.

        Raises:
            StoreError: as the methods of `Bucket`.
            UsageError: E_STORE_URL, E_STORE_SECRET, E_SCRATCH_FULL.
        """
        if not is_url(path):
            yield path
            return
        url, copy = parse_url(path), self._taken(path)
        try:
            with copy.lock:
                if not copy.path.exists():
                    _fetch(Bucket(url), url.key, copy.path)
            yield str(copy.path)
        finally:
            with self._lock:
                copy.readers -= 1
                self._drop(self._kept_bytes)

    def _taken(self, url: str) -> _Copy:
        with self._lock:
            copy = self._copies.pop(url, None) or _Copy(self._new(pathlib.PurePosixPath(url).name))
            self._copies[url] = copy  # the latest used stands last
            copy.readers += 1
            return copy

    def _new(self, name: str) -> pathlib.Path:
        """A path that is not taken, ending in a name, in a folder that goes with this object."""
        if not self._folder:
            temporary = pathlib.Path(tempfile.gettempdir())
            for prefix in (STAGED, SCRATCH):
                sweep(temporary, prefix)
            self._folder.append(OwnFolder(temporary, STAGED))
        own = self._folder[0].path / str(next(self._names))
        own.mkdir()
        return own / (name or "all")

    def _drop(self, kept_bytes: int) -> None:
        """Of the copies that nobody reads, remove all but the latest that fit."""
        for url in reversed([url for url, copy in self._copies.items() if not copy.readers]):
            path = self._copies[url].path
            kept_bytes -= path.stat().st_size if path.exists() else 0
            if kept_bytes < 0 or not path.exists():
                self._copies.pop(url)
                shutil.rmtree(path.parent, ignore_errors=True)


@contextlib.contextmanager
def staged(path: str) -> Iterator[str]:
    """A local path of a file, or of a folder with all that is below it, for as long as the context.

    Raises:
        StoreError: as the methods of `Bucket`; E_STORE_MISSING when nothing is there.
        UsageError: E_STORE_URL, E_STORE_SECRET, E_SCRATCH_FULL.
    """
    if not is_url(path):
        yield path
        return
    with contextlib.closing(Staging()) as staging:
        yield str(staging.tree(path))


def _fetch(bucket: Bucket, key: str, path: pathlib.Path) -> None:
    """A whole copy, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.half")
    try:
        with bucket.open(key) as source, half.open("wb") as target:
            shutil.copyfileobj(source, target, RANGE_BYTES)
            wanted = source.seek(0, os.SEEK_END)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise UsageError(
            "E_SCRATCH_FULL",
            f"{key} cannot be copied below {tempfile.gettempdir()}: {error.strerror}; make room there, or name another"
            " folder by TMPDIR",
        ) from error
    if half.stat().st_size != wanted:
        raise StoreError(
            "E_STORE_UNAVAILABLE", f"reading {key}: {half.stat().st_size} bytes came of {wanted}; run again"
        )
    half.rename(path)
