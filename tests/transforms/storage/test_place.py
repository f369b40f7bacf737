"""Places: what is published is whole, once, and never overwritten; of those who race exactly one wins."""

from __future__ import annotations

import pathlib
import threading

import pytest

from transforms.storage.manifest import read_manifest, to_json, write_success
from transforms.storage.place import LocalPlace, Place, open_place

WEIRD = "_quarantine/a [1] #é%20.parquet"


@pytest.fixture(params=["local", "object"])
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Place:
    """Both kinds, the second on a real S3 server."""
    if request.param == "object":
        return open_place(f"{request.getfixturevalue('s3').url}/out [1] #é%20/")
    (tmp_path / "out").mkdir()
    return open_place(str(tmp_path / "out"))


def test_exactly_one_of_many_publishers_wins_and_its_content_is_whole(place: Place) -> None:
    contents = [bytes([number]) * 300_000 for number in range(12)]
    won: list[int] = []
    gate = threading.Barrier(len(contents))

    def race(number: int) -> None:
        gate.wait()
        if place.publish_bytes(contents[number], WEIRD):
            won.append(number)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(len(contents))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert place.read(WEIRD) == contents[won[0]]
    assert place.names() == [WEIRD]


def test_a_name_that_is_taken_stays_as_it_is(place: Place) -> None:
    assert place.publish_bytes(b"first", "a")
    assert not place.publish_bytes(b"second", "a")
    assert (place.read("a"), place.exists("a"), place.exists("b")) == (b"first", True, False)
    assert list(place.times()) == ["a"]


def test_names_never_include_scratch(place: Place) -> None:
    with place.scratch() as scratch:
        (scratch / "part").write_bytes(b"unfinished")
        assert place.names() == []
    assert not scratch.exists()


def test_a_folder_is_cleared_of_all_and_only_what_is_in_it(place: Place) -> None:
    for name in ("_draft/a", "_draft/b/c", "_drafted", "part"):
        place.publish_bytes(b"x", name)
    place.clear("_draft/")
    place.clear("_nothing/")
    assert sorted(place.names()) == ["_drafted", "part"]


def test_a_damaged_file_is_set_aside_whole(place: Place) -> None:
    place.publish_bytes(b"x" * 70_000, "part [1]")
    place.set_aside("part [1]", "_quarantine/damaged/1-part")
    assert place.names() == ["_quarantine/damaged/1-part"]
    assert len(place.read("_quarantine/damaged/1-part")) == 70_000


def test_what_a_killed_launcher_left_is_cleared_by_the_next(tmp_path: pathlib.Path) -> None:
    left = tmp_path / "_scratch" / "tmpdead" / "part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with LocalPlace(str(tmp_path)).alone():
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_launchers_work_one_after_the_other(tmp_path: pathlib.Path) -> None:
    inside, most = [0], []

    def work() -> None:
        with LocalPlace(str(tmp_path)).alone(), LocalPlace(str(tmp_path)).scratch() as scratch:
            inside[0] += 1
            most.append(inside[0])
            assert scratch.exists()
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8


def test_success_vouches_for_the_manifest_that_was_first(place: Place) -> None:
    counts = dict.fromkeys(("shards", "input_rows", "rows", "quarantined", "targets"), 1)
    first = {"fingerprint": 64 * "a", "rows_by_status": {}, "files_sha256": {}, **counts}
    write_success(place, to_json(first))
    write_success(place, to_json(first | {"rows": 2}))
    assert read_manifest(place) == first
