"""Folders of one process: locked while it lives, so that what a killed one left is known for that, and can go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator

STAGED, SCRATCH = "attribeam-staged-", "attribeam-scratch-"
# A folder younger than this may be one that is not locked yet.
GRACE_S = 60.0


class OwnFolder:
    """A new folder, gone when `remove` is called, and at the latest with this object or its process.

    Args:
        parent: which is there.
        prefix: of its name.
    """

    def __init__(self, parent: pathlib.Path, prefix: str) -> None:
        self.path = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        self.remove = weakref.finalize(self, _remove, self.path, _locked(self.path))


def abandoned(parent: pathlib.Path, prefix: str) -> Iterator[pathlib.Path]:
    """The folders of this user whose processes are dead; one that is just being made is not among them."""
    for folder in sorted(parent.glob(f"{prefix}*")):
        lock = _lock_of_the_dead(folder)
        if lock is not None:
            os.close(lock)
            yield folder


def discard(folder: pathlib.Path) -> bool:
    """Remove an abandoned folder; False when it is none (any more)."""
    lock = _lock_of_the_dead(folder)
    if lock is not None:
        _remove(folder, lock)
    return lock is not None


def sweep(parent: pathlib.Path, prefix: str) -> None:
    """Remove what killed processes of this user left."""
    for folder in abandoned(parent, prefix):
        discard(folder)


def _lock_of_the_dead(folder: pathlib.Path) -> int | None:
    with contextlib.suppress(OSError):
        about = folder.lstat()
        if about.st_uid == os.getuid() and time.time() - about.st_mtime > GRACE_S:
            return _locked(folder)
    return None


def _locked(folder: pathlib.Path) -> int | None:
    """A lock on a folder of ours, which ends with the process; None when another process holds it, or nothing can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: pathlib.Path, lock: int | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
