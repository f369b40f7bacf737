"""`attribeam gc`: what the dead left is listed, and removed on demand; the living and the run are left alone."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pytest
from datasets import Command
from stores import Store

from transforms.storage import own_folder
from transforms.storage.place import LocalPlace, open_place

CODE = """
import sys, time
from transforms.storage.place import open_place
with open_place(sys.argv[1]).scratch() as folder:
    (folder / "part").write_bytes(b"x" * 1000)
    print(folder, flush=True)
    time.sleep(60)
"""
RUN = ("_run.json", "part-00000-0123456789ab.parquet", "_SUCCESS")


@pytest.fixture(autouse=True)
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(own_folder, "GRACE_S", -1.0)
    return folder


def left_by(root: str, killed: bool) -> tuple[subprocess.Popen[str], pathlib.Path]:
    """A process with scratch of its own, and where that is."""
    process = subprocess.Popen([sys.executable, "-c", CODE, root], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    folder = pathlib.Path(process.stdout.readline().strip())
    if killed:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process, folder


@pytest.mark.parametrize("kind", ["local", "object"])
def test_scratch_of_the_dead_is_removed_and_nothing_else(
    attribeam: Command, request: pytest.FixtureRequest, tmp_path: pathlib.Path, kind: str
) -> None:
    root = str(tmp_path / "out") if kind == "local" else f"{request.getfixturevalue('s3').url}/out"
    place = open_place(root)
    for name in RUN:
        place.publish_bytes(b"{}", name)
    place.publish_bytes(b"damaged", "_quarantine/damaged/1-part")
    dead, living = left_by(root, killed=True)[1], left_by(root, killed=False)
    try:
        code, said, _ = attribeam("gc", root)
        assert code == 0 and f"{dead}: 1,000 bytes" in said and str(living[1]) not in said and "--yes" in said
        assert dead.exists()
        code, said, _ = attribeam("gc", root, "--yes")
        assert code == 0 and "1 leftovers, 1,000 bytes; 1 removed" in said
        assert not dead.exists() and living[1].exists()
        assert sorted(place.names()) == sorted([*RUN, "_quarantine/damaged/1-part"])
    finally:
        living[0].kill()
        living[0].wait()
    assert "1 removed" in attribeam("gc", root, "--yes")[1]
    assert kind == "object" or not (tmp_path / "out/_scratch").exists()
    assert "nothing is left over" in attribeam("gc", root)[1]
    assert "2 removed" not in attribeam("gc", root, "--yes", "--damaged")[1]
    assert sorted(place.names()) == sorted(RUN)


def test_a_draft_is_left_alone_while_somebody_may_need_it(attribeam: Command, tmp_path: pathlib.Path) -> None:
    place = LocalPlace(str(tmp_path / "out"))
    place.publish_bytes(b"old", "_draft/0123/_plan.parquet")
    place.publish_bytes(b"new", "_draft/4567/_plan.parquet")
    old = time.time() - 25 * 3600
    os.utime(tmp_path / "out/_draft/0123/_plan.parquet", (old, old))
    assert "1 removed" in attribeam("gc", tmp_path / "out", "--yes")[1]
    assert place.names() == ["_draft/4567/_plan.parquet"]


def test_what_is_no_run_is_refused(attribeam: Command, tmp_path: pathlib.Path, s3: Store) -> None:
    (tmp_path / "mine").write_bytes(b"x")
    for root in (tmp_path, tmp_path / "none", f"{s3.url}/none"):
        code, _, said = attribeam("gc", root, "--yes")
        assert (code, "E_RUN_MISSING" in said) == (1, True)
    assert (tmp_path / "mine").exists()
