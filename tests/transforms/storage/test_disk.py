"""A local disk that refuses: the error names what was done with which file; what is not there stays a question."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest

from transforms.errors import StoreError
from transforms.storage import own_folder
from transforms.storage.disk import named
from transforms.storage.place import open_place


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EIO, "check the disk and the permissions")]
)
def test_what_the_disk_refuses_is_named(number: int, remedy: str) -> None:
    with pytest.raises(StoreError, match=remedy) as error, named("writing", "/data/part"):
        raise OSError(number, os.strerror(number))
    assert error.value.code == "E_DISK"
    assert "writing /data/part" in error.value.message


@pytest.mark.parametrize(
    "raised", [FileNotFoundError(errno.ENOENT, "-"), FileExistsError(errno.EEXIST, "-"), OSError("-")]
)
def test_what_is_no_fault_of_the_disk_is_left_as_it_is(raised: OSError) -> None:
    with pytest.raises(type(raised)) as error, named("reading", "/data/part"):
        raise raised
    assert error.value is raised


@pytest.mark.parametrize("raised", [OSError("what was read is wrong"), FileNotFoundError(errno.ENOENT, "-")])
def test_scratch_leaves_what_is_not_its_own(tmp_path: pathlib.Path, raised: OSError) -> None:
    with pytest.raises(type(raised)) as error, open_place(str(tmp_path)).scratch() as scratch:
        raise raised
    assert error.value is raised
    assert not scratch.exists()


def test_scratch_on_a_disk_that_is_full_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(StoreError, match="make room") as error, open_place(str(tmp_path)).scratch() as scratch:
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (error.value.code, scratch.exists()) == ("E_DISK", False)


def test_what_went_while_it_was_listed_is_not_there_and_what_cannot_be_looked_at_is_named(
    tmp_path: pathlib.Path,
) -> None:
    place = open_place(str(tmp_path))
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert place.names() == []
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(StoreError) as error:
        place.names()
    assert error.value.code == "E_DISK"
    assert str(tmp_path / "round") in error.value.message


def test_a_folder_that_is_just_being_made_is_nobodys_leftover(tmp_path: pathlib.Path) -> None:
    young = tmp_path / "own-1"
    young.mkdir()
    assert list(own_folder.abandoned(tmp_path, "own-")) == []
    assert not own_folder.discard(young)
    old = young.stat().st_mtime - 2 * own_folder.GRACE_S
    os.utime(young, (old, old))
    assert list(own_folder.abandoned(tmp_path, "own-")) == [young]
    assert own_folder.discard(young)
    assert not young.exists()
