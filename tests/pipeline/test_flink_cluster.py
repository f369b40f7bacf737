"""What a cluster is started with, and what it leaves behind, as far as no Flink is needed."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.flink.__main__ import main
from pipeline.flink.cluster import free_port
from pipeline.flink.distribution import find_distribution, find_job_server
from pipeline.flink.processes import Backoff, Program, Supervisor
from pipeline.flink.worker_pool import listens
from pipeline.runner import parse_options
from transforms.errors import UsageError


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not come about within 30 s"
        time.sleep(0.05)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_that_dies_is_started_again(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Program("sleeper", ["sleep", "60"]))
        first = supervisor.pid("sleeper")
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervisor.pid("sleeper") != first)
        second = supervisor.pid("sleeper")
    assert not exists(second)


def test_a_program_that_ends_again_and_again_is_started_at_ever_longer_intervals() -> None:
    backoff = Backoff()
    assert [backoff.delay(ran_s=0.1) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert [backoff.delay(ran_s) for ran_s in (61, 0.1)] == [1, 2]


SCRIPT = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"


def child_of(log: pathlib.Path) -> int:
    """The process that SCRIPT has started; waits for it."""
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    return int(log.read_text())


def runs(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state != "" and not state.startswith("Z")


def test_what_a_program_has_started_ends_with_it(tmp_path: pathlib.Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Program("parent", [sys.executable, "-c", SCRIPT]))
        left = child_of(supervisor.log("parent"))
        assert runs(left)
    wait_for(lambda: not runs(left))  # the kernel ends it when it gets to it


def test_programs_end_with_a_supervisor_that_is_killed(tmp_path: pathlib.Path) -> None:
    lines = [
        "import pathlib, sys, time",
        "from pipeline.flink.processes import Program, Supervisor",
        "with Supervisor(pathlib.Path(sys.argv[1])) as supervisor:",
        "    supervisor.start(Program('parent', [sys.executable, '-c', sys.argv[2]]))",
        "    time.sleep(60)",
    ]
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines), str(tmp_path), SCRIPT]) as launcher:
        left = child_of(tmp_path / "parent.log")
        assert runs(left)
        launcher.kill()
    wait_for(lambda: not runs(left))


def test_no_java_is_said_with_what_to_install(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/flink-dist-1.20.3.jar").touch()
    monkeypatch.setenv("FLINK_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"E_FLINK_JAVA.*found none.*JAVA_HOME"):
        find_distribution()


def test_a_folder_that_is_no_flink_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLINK_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"E_FLINK_HOME.*holds 0 jars"):
        find_distribution()


def test_a_job_server_that_does_not_exist_is_said_with_the_way_out(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no Maven
    with pytest.raises(UsageError, match=r"E_FLINK_JOB_SERVER.*flink-0\.1-job-server.*--job-server-jar"):
        find_job_server("0.1", tmp_path)


def test_a_cluster_that_does_not_answer_is_refused(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert not listens(f"localhost:{port}")
    assert main(["job.yaml", "--flink-master", f"localhost:{port}", "--logs", str(tmp_path)]) == 2
    assert "E_FLINK_CLUSTER" in capfd.readouterr().err


def test_a_runner_for_a_cluster_that_is_not_there_is_refused(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
    java.chmod(0o755)
    given = ["--runner=FlinkRunner", f"--flink_job_server_jar={tmp_path / 'server.jar'}"]
    with pytest.raises(UsageError, match=r"E_FLINK_CLUSTER.*localhost:\d+"):
        parse_options([*given, f"--flink_master=localhost:{free_port()}"])
    with pytest.raises(UsageError, match=r"E_FLINK_JOB_SERVER.*server\.jar"):
        parse_options([*given, "--flink_master=[local]"])
    java.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="E_FLINK_JAVA"):
        parse_options(given)
