"""Copies of objects: one for all threads, whole or none, and gone in the end however a process ends."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from stores import SHORT, Fault, Store

from transforms.errors import StoreError, UsageError
from transforms.storage import own_folder
from transforms.storage.staging import Staging, staged

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def temporary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The temporary directory, for this test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def url(s3: Store, tmp_path: pathlib.Path) -> str:
    (tmp_path / "a [1].tfrecord").write_bytes(CONTENT)
    return s3.put(tmp_path / "a [1].tfrecord")


def test_threads_share_one_copy(s3: Store, url: str, temporary: pathlib.Path) -> None:
    copies, found, gate = Staging(), list[tuple[str, bytes]](), threading.Barrier(8)

    def use() -> None:
        gate.wait()
        with copies.local(url) as path:
            found.append((path, pathlib.Path(path).read_bytes()))

    s3.proxy.fail(Fault("^GET", times=1, wait_s=0.3))
    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {(found[0][0], CONTENT)}
    assert len(s3.proxy.matching("^GET")) == 1
    with copies.local(url):
        assert len(s3.proxy.matching("^GET")) == 1, "kept for the next shard of the file"
    copies.close()
    assert list(temporary.iterdir()) == []


def test_a_copy_that_is_read_stays_when_others_go(url: str, temporary: pathlib.Path) -> None:
    copies = Staging(kept_bytes=0)
    with copies.local(url) as path:
        copies.close()
        assert pathlib.Path(path).read_bytes() == CONTENT
    assert not pathlib.Path(path).exists()
    copies.close()
    assert list(temporary.iterdir()) == []


def test_the_latest_copies_that_fit_are_kept(s3: Store, tmp_path: pathlib.Path, temporary: pathlib.Path) -> None:
    urls = []
    for number in range(3):
        (tmp_path / f"{number}").write_bytes(CONTENT)
        urls.append(s3.put(tmp_path / f"{number}"))
    copies, paths = Staging(kept_bytes=2 * len(CONTENT)), []
    for one in urls:
        with copies.local(one) as path:
            paths.append(pathlib.Path(path))
    assert [path.exists() for path in paths] == [False, True, True]


def test_a_local_file_is_its_own_copy(tmp_path: pathlib.Path, temporary: pathlib.Path) -> None:
    with Staging().local(str(tmp_path)) as path, staged(str(tmp_path)) as same:
        assert path == same == str(tmp_path)
    assert list(temporary.iterdir()) == []


def test_a_cut_object_leaves_no_copy_and_the_next_try_has_it_whole(
    s3: Store, url: str, temporary: pathlib.Path
) -> None:
    copies = Staging()
    s3.proxy.fail(Fault("^GET", times=SHORT.tries, cut=True))
    with pytest.raises(StoreError, match="E_STORE_UNAVAILABLE: reading"), copies.local(url):
        pass
    with copies.local(url) as path:
        assert pathlib.Path(path).read_bytes() == CONTENT


def test_a_folder_is_copied_with_all_that_is_below_it(
    s3: Store, tmp_path: pathlib.Path, temporary: pathlib.Path
) -> None:
    model = tmp_path / "model é"
    for name in ("saved_model.pb", "variables/v [1]", "assets/deep/er"):
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(name.encode())
    with staged(s3.put(model)) as path:
        copied = pathlib.Path(path)
        assert copied.name == model.name
        for name in ("saved_model.pb", "variables/v [1]", "assets/deep/er"):
            assert (copied / name).read_bytes() == name.encode()
    assert list(temporary.iterdir()) == []
    with pytest.raises(StoreError, match="E_STORE_MISSING"), staged(f"{s3.url}/none"):
        pass
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_full_is_named(url: str, temporary: pathlib.Path) -> None:
    """By a limit on the size of files, which is as near to a full disk as a test comes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(UsageError, match=r"E_SCRATCH_FULL: .*TMPDIR"), contextlib.closing(Staging()) as copies:  # noqa: SIM117
            with copies.local(url):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not(
    url: str, temporary: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys, time; from transforms.storage.staging import Staging\n"
    code += f"c = Staging(); p = c.local({url!r}); print(p.__enter__(), flush=True); time.sleep(99)"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        left = pathlib.Path(process.stdout.readline().decode().strip())
        assert left.read_bytes() == CONTENT
        monkeypatch.setattr(own_folder, "GRACE_S", 0.0)
        with contextlib.closing(Staging()) as copies, copies.local(url):
            assert left.exists()
        process.kill()
    time.sleep(0.01)
    with contextlib.closing(Staging()) as copies, copies.local(url):
        assert not left.exists()


def test_a_single_object_is_a_tree(url: str, temporary: pathlib.Path) -> None:
    with staged(url) as path:
        assert pathlib.Path(path).read_bytes() == CONTENT
    assert list(temporary.iterdir()) == []
