"""A place that a run writes to: names below one root, each published once and never overwritten.

Locally a file is published by a hard link, elsewhere by a conditional put: of several attempts exactly one wins, and
nobody ever sees half a file. (https://developmentseed.org/obstore/latest/api/put/)
"""

from __future__ import annotations

import abc
import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from transforms.storage import own_folder
from transforms.storage.bucket import Bucket
from transforms.storage.disk import failure, named, open_named
from transforms.storage.url import is_url, parse_url

SCRATCH = "_scratch"


def open_place(root: str) -> Place:
    """The place at `root`, a local directory (made if it is not there) or a URL such as s3://bucket/prefix.

    Raises:
        UsageError: E_STORE_URL, E_STORE_SECRET.
    """
    return ObjectPlace(root) if is_url(root) else LocalPlace(root)


class Place(abc.ABC):
    """What both kinds have in common. Names are relative to the root, with `/` between their parts."""

    root: str

    @abc.abstractmethod
    def times(self) -> dict[str, float]:
        """Every name below the root, with the time it was written, in seconds since the epoch; no scratch files."""

    def names(self) -> list[str]:
        """Every name below the root, sorted; scratch files are left out."""
        return sorted(self.times())

    @abc.abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A seekable binary reader."""

    @abc.abstractmethod
    def publish(self, file: pathlib.Path, name: str) -> bool:
        """Make a finished file visible under `name`; False if the name is taken, and then nothing changes."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file that is not final; only the launcher does so, before workers start."""

    @abc.abstractmethod
    def scratch_parent(self) -> pathlib.Path:
        """The local directory that holds everybody's scratch directories; it may not be there."""

    @abc.abstractmethod
    def clear(self, folder: str) -> None:
        """Remove all that is below a folder of what is not final."""

    @contextlib.contextmanager
    def scratch(self) -> Iterator[pathlib.Path]:
        """A local directory of one's own, gone afterwards.

        Raises:
            StoreError: E_DISK, also for what the disk refuses while it is used.
        """
        parent = self.scratch_parent()
        with named("making a folder in", parent):
            parent.mkdir(parents=True, exist_ok=True)
            own = own_folder.OwnFolder(parent, own_folder.SCRATCH)
        try:
            yield own.path
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno is None:
                raise
            raise failure("writing below", parent, error) from error
        finally:
            own.remove()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """What a launcher works in: no other one is at work here, where that can be known, and no scratch is left."""
        return contextlib.nullcontext()

    def read(self, name: str) -> bytes:
        """A small file, whole."""
        with self.open(name) as file:
            return file.read()

    def exists(self, name: str) -> bool:
        """Whether the name is taken."""
        return name in set(self.names())

    def publish_bytes(self, data: bytes, name: str) -> bool:
        """`publish`, for something small."""
        with self.scratch() as scratch:
            file = scratch / "file"
            file.write_bytes(data)
            return self.publish(file, name)

    def set_aside(self, name: str, to: str) -> None:
        """Move a damaged file out of the way, keeping it."""
        with self.scratch() as scratch, self.open(name) as source:
            copy = scratch / "copy"
            with copy.open("wb") as target:
                shutil.copyfileobj(source, target)
            self.publish(copy, to)
        self.remove(name)


class LocalPlace(Place):
    """A directory of a file system with hard links."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._path = pathlib.Path(root)

    def times(self) -> dict[str, float]:
        """See `Place.times`."""
        found = {}
        for folder, folders, files in os.walk(self._path, onerror=self._unlisted):
            folders[:] = [name for name in folders if name != SCRATCH]
            below = pathlib.Path(folder).relative_to(self._path).as_posix() + "/"
            prefix = "" if below == "./" else below
            for name in files:  # there may be very many, and a Path takes longer than the file system
                try:
                    found[prefix + name] = os.stat(f"{folder}/{name}").st_mtime  # noqa: PTH116
                except OSError as error:
                    self._unlisted(error)
        return found

    def _unlisted(self, error: OSError) -> None:
        """What cannot be listed is not empty; what is not there (any more) is."""
        if not isinstance(error, FileNotFoundError):
            raise failure("listing", error.filename, error) from error

    def open(self, name: str) -> BinaryIO:
        """See `Place.open`."""
        return open_named(self._path / name)

    def exists(self, name: str) -> bool:
        """See `Place.exists`."""
        with named("looking for", self._path / name):
            return (self._path / name).is_file()

    def publish(self, file: pathlib.Path, name: str) -> bool:
        """See `Place.publish`. The file must be in a directory that `scratch` gave: a link cannot cross devices."""
        final = self._path / name
        with named("publishing", final):
            final.parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
            try:
                os.link(file, final)
            except FileExistsError:
                return False
            _sync_directory(final.parent)
        return True

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        with named("removing", self._path / name):
            (self._path / name).unlink(missing_ok=True)

    def clear(self, folder: str) -> None:
        """See `Place.clear`."""
        shutil.rmtree(self._path / folder, ignore_errors=True)

    def scratch_parent(self) -> pathlib.Path:
        """See `Place.scratch_parent`. Below the root, so that publishing is a link and not a copy."""
        return self._path / SCRATCH

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """See `Place.alone`. Waits for a lock on the directory, which ends with the process however that ends."""
        with named("locking", self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDONLY)
        try:
            with named("locking", self._path):
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._clear_scratch()
            yield
        finally:
            self._clear_scratch()
            os.close(handle)

    def _clear_scratch(self) -> None:
        shutil.rmtree(self._path / SCRATCH, ignore_errors=True)


class ObjectPlace(Place):
    """A prefix of an object store: s3://, gs://, az:// with the credentials of the environment.

    Its methods raise StoreError, as those of `Bucket` do.
    """

    def __init__(self, root: str) -> None:
        url = parse_url(root)
        self.root, self._bucket = str(url), Bucket(url)
        self._folder = f"{url.key}/" if url.key else ""

    def times(self) -> dict[str, float]:
        """See `Place.times`."""
        found = self._bucket.list(self._folder.rstrip("/"))
        return {stored.key.removeprefix(self._folder): stored.written for stored in found}

    def open(self, name: str) -> BinaryIO:
        """See `Place.open`."""
        return self._bucket.open(self._folder + name)

    def exists(self, name: str) -> bool:
        """See `Place.exists`."""
        return self._bucket.find(self._folder + name) is not None

    def publish(self, file: pathlib.Path, name: str) -> bool:
        """See `Place.publish`."""
        return self._bucket.create(self._folder + name, file)

    def remove(self, name: str) -> None:
        """See `Place.remove`."""
        self._bucket.delete(self._folder + name)

    def clear(self, folder: str) -> None:
        """See `Place.clear`."""
        for stored in self._bucket.list(self._folder + folder):
            self._bucket.delete(stored.key)

    def scratch_parent(self) -> pathlib.Path:
        """See `Place.scratch_parent`."""
        return pathlib.Path(tempfile.gettempdir())


def _sync_directory(path: pathlib.Path) -> None:
    handle: Any = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
