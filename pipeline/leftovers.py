"""What killed processes left beside a run: found, and removed; never a file of the run itself."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator

from transforms.errors import AttribeamError
from transforms.storage import manifest as names
from transforms.storage import own_folder
from transforms.storage.place import SCRATCH, Place

# Where nothing tells whether a launcher is at work, what it drafted is left alone for so long.
DRAFT_S = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Leftover:
    """Something to remove.

    Attributes:
        name: of a file in the place; or the path of a local folder.
        local: whether it is the latter.
        why: what it is.
    """

    name: str
    size: int
    why: str
    local: bool = False


def find_leftovers(place: Place, damaged: bool = False) -> Iterator[Leftover]:
    """Scratch folders and copies of processes that are dead, drafts that no launcher needs, damaged parts if wanted.

    Raises:
        AttribeamError: E_RUN_MISSING, where there is neither a run nor anything of one.
    """
    times, temporary = place.times(), pathlib.Path(tempfile.gettempdir())
    folders = [*own_folder.abandoned(place.scratch_parent(), own_folder.SCRATCH)]
    folders += own_folder.abandoned(temporary, own_folder.STAGED)
    if names.RUN not in times and not folders and not any(name.startswith(f"{names.DRAFT}/") for name in times):
        raise AttribeamError("E_RUN_MISSING", f"{place.root} has no {names.RUN}: it is not the directory of a run")
    for folder in folders:
        yield Leftover(str(folder), _size(folder), "of a process that has ended", local=True)
    for name, written in sorted(times.items()):
        if name.startswith(f"{names.DRAFT}/") and time.time() - written > DRAFT_S:
            yield Leftover(name, _bytes(place, name), "baselines drafted by a launcher that did not finish")
        elif damaged and name.startswith(f"{names.DAMAGED}/"):
            yield Leftover(name, _bytes(place, name), "a damaged file, set aside")


def remove(place: Place, leftover: Leftover) -> bool:
    """Remove it; False when its owner is there after all."""
    if leftover.local:
        folder = pathlib.Path(leftover.name)
        removed = own_folder.discard(folder)
        if folder.parent.name == SCRATCH:
            with contextlib.suppress(OSError):  # others are in it
                folder.parent.rmdir()
        return removed
    place.remove(leftover.name)
    return True


def _bytes(place: Place, name: str) -> int:
    with place.open(name) as file:
        return file.seek(0, 2)


def _size(folder: pathlib.Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
