"""The names of a run's files, and the two that vouch for the rest: each is found when it is not what it was."""

from __future__ import annotations

import hashlib
import pathlib

import pytest

from transforms.errors import AttribeamError
from transforms.storage import manifest as names
from transforms.storage.manifest import part_name, published
from transforms.storage.place import Place, open_place

FINGERPRINT = "f" * 64


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    return open_place(str(tmp_path / "run"))


def code_of(error: pytest.ExceptionInfo[AttribeamError]) -> str:
    return error.value.code


def test_a_name_depends_on_what_is_computed_alone() -> None:
    digest = hashlib.sha256(f"{FINGERPRINT}/7".encode()).hexdigest()
    assert part_name(FINGERPRINT, 7) == f"part-00007-{digest[:12]}.parquet"
    assert len({part_name(one, shard) for one in ("a", "b") for shard in range(3)}) == 6
    assert part_name(FINGERPRINT, 123_456).startswith("part-123456-")


def test_which_shards_are_there_and_what_belongs_to_none() -> None:
    foreign = ["part-00000-000000000000.parquet", part_name(FINGERPRINT, 4), "part-x", part_name("another", 1)]
    others = ["_run.json", "_quarantine/part-00000-000000000000.parquet", "notes.txt"]
    found, unknown = published(
        [*others, part_name(FINGERPRINT, 2), *foreign, part_name(FINGERPRINT, 0)], FINGERPRINT, 4
    )
    assert found.tolist() == [True, False, True, False]
    assert unknown == sorted(foreign)


def test_a_quarantine_file_is_that_of_its_part() -> None:
    part = part_name(FINGERPRINT, 0)
    assert names.is_quarantine(names.quarantine_name(part), {part})
    assert not names.is_quarantine(names.quarantine_name(part), set())
    assert not names.is_quarantine(f"{names.DAMAGED}/{part}", {part})
    assert not names.is_quarantine(part, {part})


def test_the_digest_of_a_file_longer_than_a_chunk(place: Place) -> None:
    data = bytes(range(256)) * 2**13
    assert len(data) > names.CHUNK_BYTES
    place.publish_bytes(data, "file")
    assert names.sha256_of(place, "file") == (hashlib.sha256(data).hexdigest(), len(data))


def test_the_same_value_gives_the_same_bytes() -> None:
    assert (
        names.to_json({"b": 1, "a": "é"}) == names.to_json({"a": "é", "b": 1}) == '{\n "a": "é",\n "b": 1\n}\n'.encode()
    )


def test_success_vouches_for_the_first_manifest(place: Place) -> None:
    counts = dict.fromkeys(("shards", "input_rows", "rows", "quarantined", "targets"), 1)
    first = {"fingerprint": "0" * 64, "rows_by_status": {"ok": 1}, "files_sha256": {}, **counts}
    names.write_success(place, names.to_json(first))
    names.write_success(place, names.to_json(first | {"rows": 2}))
    assert names.read_manifest(place) == first
    assert place.read(names.SUCCESS) == hashlib.sha256(names.to_json(first)).hexdigest().encode() + b"\n"


@pytest.mark.parametrize("lost", [names.MANIFEST, names.SUCCESS])
def test_a_run_without_one_of_the_two_is_not_finished(place: Place, lost: str) -> None:
    names.write_success(place, b"{}")
    place.remove(lost)
    with pytest.raises(AttribeamError) as error:
        names.read_manifest(place)
    assert code_of(error) == "E_RUN_UNFINISHED"


def test_a_manifest_that_was_changed_is_found(place: Place, tmp_path: pathlib.Path) -> None:
    names.write_success(place, b'{"rows": 1}')
    (tmp_path / "run" / names.MANIFEST).write_bytes(b'{"rows": 2}')
    with pytest.raises(AttribeamError) as error:
        names.read_manifest(place)
    assert code_of(error) == "E_MANIFEST_DAMAGED"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\x00", b"null"])
def test_what_is_no_json_object_is_damaged(place: Place, content: bytes) -> None:
    with pytest.raises(AttribeamError) as missing:
        names.read_json(place, names.RUN)
    place.publish_bytes(content, names.RUN)
    with pytest.raises(AttribeamError) as error:
        names.read_json(place, names.RUN)
    assert (code_of(missing), code_of(error)) == ("E_RUN_MISSING", "E_RUN_DAMAGED")


def test_a_json_object_is_read(place: Place) -> None:
    place.publish_bytes(names.to_json({"rows": 3}), names.RUN)
    assert names.read_json(place, names.RUN) == {"rows": 3}


def test_a_manifest_of_other_files_does_not_become_final(place: Place) -> None:
    place.publish_bytes(names.to_json({"files_sha256": {names.FILES: "1"}}), names.MANIFEST)
    with pytest.raises(AttribeamError) as error:
        names.write_success(place, names.to_json({"files_sha256": {names.FILES: "2"}}))
    assert code_of(error) == "E_RUN_STALE"
    assert not place.exists(names.SUCCESS)


@pytest.mark.parametrize("fingerprint", [None, 7, "f" * 63, "g" * 64])
def test_a_run_without_its_fingerprint_is_damaged(place: Place, fingerprint: object) -> None:
    run = {"fingerprint": fingerprint, "decides": {}, "config": {}, "files_sha256": {}}
    place.publish_bytes(names.to_json(run), names.RUN)
    with pytest.raises(AttribeamError, match="fingerprint") as error:
        names.read_run(place)
    assert code_of(error) == "E_RUN_DAMAGED"
