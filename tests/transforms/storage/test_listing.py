"""Which files a dataset has: paths, folders and globs, with names that are hard on all three."""

from __future__ import annotations

import glob
import pathlib

import pytest
from stores import Store

from transforms.errors import UsageError
from transforms.storage.listing import file_bytes, is_file, list_files, open_file

NAMES = ["a b.parquet", "shard[1].parquet", "shard1.parquet", "x#y%20?.parquet", "é\n2.parquet", "*.parquet"]
HIDDEN = [".hidden.parquet", "_SUCCESS", "_meta/x.parquet", "sub/.cache/x.parquet"]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    root = tmp_path / "data"
    for name in [*NAMES, *HIDDEN, "sub/deep.parquet", "notes.txt"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_a_path_that_exists_is_taken_as_it_is(folder: pathlib.Path) -> None:
    for name in NAMES:
        assert list_files([str(folder / name)]) == [str(folder / name)]
        assert file_bytes(str(folder / name)) == len(name.encode())
        with open_file(str(folder / name)) as file:
            assert file.read() == name.encode()


def test_a_folder_gives_all_but_hidden_files_sorted(folder: pathlib.Path) -> None:
    wanted = sorted(str(folder / name) for name in [*NAMES, "sub/deep.parquet", "notes.txt"])
    assert list_files([str(folder)]) == wanted
    assert list_files([f"{folder}/"]) == wanted


def test_links_that_lead_to_folders_or_nowhere_are_no_files(folder: pathlib.Path) -> None:
    before = list_files([str(folder)])
    (folder / "elsewhere").symlink_to(folder / "sub")
    (folder / "nowhere").symlink_to(folder / "none")
    assert list_files([str(folder)]) == before


def test_a_glob_gives_its_matches_sorted_and_each_file_once(folder: pathlib.Path) -> None:
    assert list_files([f"{folder}/shard*.parquet"]) == [
        str(folder / "shard1.parquet"),
        str(folder / "shard[1].parquet"),
    ]
    assert list_files([f"{folder}/**/deep.parquet"]) == [str(folder / "sub/deep.parquet")]
    twice = list_files([str(folder / "shard1.parquet"), f"{folder}/shard*"])
    assert twice == [str(folder / "shard1.parquet"), str(folder / "shard[1].parquet")]


@pytest.mark.parametrize("pattern", ["none-*.parquet", "missing.parquet", "empty"])
def test_a_pattern_without_files_is_named(folder: pathlib.Path, pattern: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match="E_INPUT_NOT_FOUND") as caught:
        list_files([str(folder), str(folder / pattern)])
    assert pattern in str(caught.value)


@pytest.fixture
def objects(folder: pathlib.Path, s3: Store) -> str:
    """The same files as objects; obstore takes no key with a line break."""
    (folder / "é\n2.parquet").unlink()
    return s3.put(folder, "data [1]")


def test_an_object_store_lists_and_reads_as_a_folder_does(folder: pathlib.Path, objects: str) -> None:
    plain = ["", "shard[1].parquet", "x#y%20?.parquet", "*.parquet", "sub"]
    globs = ["shard*.parquet", "**/deep.parquet", "*", "*/*", "**", "[!s]*.parquet", "shard?.parquet", "s*/d*"]
    for pattern in [*plain, *globs]:
        local, remote = (root if pattern in plain else glob.escape(root) for root in (str(folder), objects))
        wanted = [file.removeprefix(f"{folder}/") for file in list_files([f"{local}/{pattern}"])]
        found = [file.removeprefix(f"{objects}/") for file in list_files([f"{remote}/{pattern}"])]
        assert found == sorted(wanted), pattern
    for name in set(NAMES) - {"é\n2.parquet"}:
        assert file_bytes(f"{objects}/{name}") == len(name.encode())
        with open_file(f"{objects}/{name}") as file:
            assert file.read() == name.encode()


def test_a_pattern_without_objects_is_named(objects: str) -> None:
    for pattern in ("none-*.parquet", "shard", "sub/deep", "shard1.parquet/x"):
        with pytest.raises(UsageError, match="E_INPUT_NOT_FOUND"):
            list_files([f"{objects}/{pattern}"])


def test_whether_a_file_is_there(tmp_path: pathlib.Path, s3: Store) -> None:
    (tmp_path / "there").write_bytes(b"x")
    url = s3.put(tmp_path / "there")
    assert is_file(str(tmp_path / "there"))
    assert is_file(url)
    assert not is_file(str(tmp_path / "not"))
    assert not is_file(f"{url}-not")
