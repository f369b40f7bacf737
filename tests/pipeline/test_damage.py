"""Damage after the fact is found, whatever it is and wherever; and records that a stranger forged are refused."""

from __future__ import annotations

import hashlib
import json
import pathlib
import random
import shutil
from collections.abc import Callable
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from campaigns.damage import files_of, missed_damages, missed_flips, seen
from campaigns.fuzz_corpus import write_run
from campaigns.fuzz_targets import vouch

from pipeline.launch import known_before
from pipeline.status import open_watch
from transforms.errors import AttribeamError
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

FLIPS = 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run of three parts, with a quarantine file and baselines of its dataset."""
    folder = tmp_path_factory.mktemp("damage")
    write_run(folder / "run", folder / "made")
    return folder / "run"


@pytest.fixture
def out(finished: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_flipped_bit_of_any_file_is_found(out: pathlib.Path) -> None:
    """A sample; `python -m campaigns.damage` flips them all."""
    names = files_of(out)
    assert {"_SUCCESS", "_manifest.json", "_run.json"} < {*names}
    assert {"_baselines.parquet", "_files.parquet", "_plan.parquet"} < {*names}
    assert sum(name.startswith("part-") for name in names) == 3
    assert sum(name.startswith("_quarantine/") for name in names) == 1
    assert not seen(out)
    for name in names:
        bits = range(8 * (out / name).stat().st_size)
        assert missed_flips(out, name, random.Random(name).choices(bits, k=FLIPS)) == [], name
    assert not seen(out)


def test_whole_files_cut_grown_exchanged_gone_or_strange_are_found(out: pathlib.Path) -> None:
    tried, missed = missed_damages(out)
    assert missed == []
    assert tried > 100


def forge(out: pathlib.Path, name: str, data: bytes) -> None:
    """The bytes of a file, and records that vouch for them."""
    (out / name).write_bytes(data)
    vouch(out, name, data, (out / "_manifest.json").read_bytes(), forging=True)


def replaced(out: pathlib.Path, name: str, **values: Any) -> bytes:
    return json.dumps(json.loads((out / name).read_text()) | values).encode()


NONSENSE: dict[str, Callable[[pathlib.Path, str], bytes]] = {
    "deep": lambda out, name: b"[" * 100_000,
    "long": lambda out, name: b'{"fingerprint": ' + b"9" * 5000 + b"}",
    "no object": lambda out, name: b"[]",
    "nothing in it": lambda out, name: b"{}",
    "another kind": lambda out, name: replaced(out, name, files_sha256=[]),
    "no fingerprint": lambda out, name: replaced(out, name, fingerprint="\ud800"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_records_that_are_none_are_refused(out: pathlib.Path, kind: str) -> None:
    place = open_place(str(out))
    forge(out, "_run.json", NONSENSE[kind](out, "_run.json"))
    for read in (open_watch, known_before):
        with pytest.raises(AttribeamError, match=r"E_RUN_DAMAGED.*_run\.json"):
            read(place)
    forge(out, "_manifest.json", NONSENSE[kind](out, "_manifest.json"))
    with pytest.raises(AttribeamError, match=r"E_RUN_DAMAGED.*_manifest\.json"):
        verify_run(place, deep=True)


def test_a_manifest_without_targets_or_for_other_files_is_at_fault(out: pathlib.Path) -> None:
    whole = (out / "_manifest.json").read_bytes()
    for values in ({"targets": 0}, {"files_sha256": {"../../secret": 64 * "0"}}, {"rows": 10**40}):
        (out / "_manifest.json").write_bytes(whole)
        forge(out, "_manifest.json", replaced(out, "_manifest.json", **values))
        found = verify_run(open_place(str(out)), deep=True)
        assert found
        assert all(len(fault) <= 500 for fault in found)


def test_a_list_of_files_that_is_none_or_leads_elsewhere_is_refused(out: pathlib.Path, tmp_path: pathlib.Path) -> None:
    listed, place = pq.read_table(out / "_files.parquet"), open_place(str(out))
    wrong = [listed.drop(["sha256"]), listed.set_column(1, "bytes", pa.nulls(len(listed), pa.int64()))]
    for table in wrong:
        pq.write_table(table, tmp_path / "files")
        forge(out, "_files.parquet", (tmp_path / "files").read_bytes())
        with pytest.raises(AttribeamError, match=r"E_RUN_DAMAGED.*_files\.parquet"):
            verify_run(place)
    (tmp_path / "secret").write_text("x")
    strange = listed.slice(0, 1).to_pylist()[0] | {"file": "../secret", "sha256": hashlib.sha256(b"x").hexdigest()}
    pq.write_table(pa.concat_tables([listed, pa.Table.from_pylist([strange], listed.schema)]), tmp_path / "files")
    forge(out, "_files.parquet", (tmp_path / "files").read_bytes())
    assert "../secret: missing" in verify_run(place)


def test_a_plan_of_other_types_or_with_nulls_is_refused(out: pathlib.Path, tmp_path: pathlib.Path) -> None:
    plan, place = pq.read_table(out / "_plan.parquet"), open_place(str(out))
    for wrong in (pa.array(["x"] * len(plan)), pa.nulls(len(plan), pa.int64())):
        pq.write_table(plan.set_column(plan.column_names.index("start"), "start", wrong), tmp_path / "plan")
        (out / "_plan.parquet").write_bytes((tmp_path / "plan").read_bytes())
        with pytest.raises(AttribeamError, match="E_PLAN_DAMAGED"):
            open_watch(place)


def test_a_part_that_is_none_is_at_fault_although_the_records_vouch_for_it(out: pathlib.Path) -> None:
    part = datasets.parts(out)[0]
    for data in (b"PAR1", pq.read_table(part).drop(["steps", "delta"])):
        if isinstance(data, bytes):
            part.write_bytes(data)
        else:
            pq.write_table(data, part)
        listed = pq.read_table(out / "_files.parquet")
        rows = listed.to_pylist()
        whole = part.read_bytes()
        for row in rows:
            if row["file"] == part.name:
                row |= {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        pq.write_table(pa.Table.from_pylist(rows, listed.schema), out / "_files.parquet")
        forge(out, "_files.parquet", (out / "_files.parquet").read_bytes())
        (fault,) = verify_run(open_place(str(out)), deep=True)
        assert part.name in fault
