"""A longer campaign: `pytest -m campaign tests/campaigns/kill_commands.py` kills `attribeam run`, real model and Beam,
at any moment; and worker processes, whose loss must not be waited for.
"""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any

import datasets
import pytest
import yaml

from pipeline.config import JobConfig
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

KILLS, DEADLINE_S = 20, 300.0
ROUNDS = 3
MANY = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(job_of: Any, tmp_path: pathlib.Path) -> None:
    slow = {"attribution": {"steps": 300, "batch_size": 1}, "output": {"shard_bytes": 100}}
    config, dice, kills = tmp_path / "job.yaml", random.Random(0), 0
    wanted = write_job(config, job_of(datasets.keras_classifier, "none", "undisturbed", **slow))
    started = time.monotonic()
    assert run_for(config, None) == 0
    usual = time.monotonic() - started
    while kills < KILLS:
        out = write_job(config, job_of(datasets.keras_classifier, "none", f"out-{kills}", **slow))
        while kills < KILLS and run_for(config, dice.uniform(0, usual)) == -signal.SIGKILL:
            kills += 1
        assert run_for(config, None) == 0
        assert verify_run(open_place(out), deep=True) == []
        found, whole = datasets.parts(out), datasets.parts(wanted)
        assert [path.read_bytes() for path in found] == [path.read_bytes() for path in whole]


def write_job(config: pathlib.Path, job: JobConfig) -> str:
    """The job as the file that every command names; where it writes to."""
    config.write_text(yaml.safe_dump(job.model_dump(mode="json")))
    return job.output.path


def run_for(config: pathlib.Path, seconds: float | None) -> int:
    """`attribeam run`, killed after some time unless it ends by itself; its exit code."""
    script = pathlib.Path(sys.executable).with_name("attribeam")
    process = subprocess.Popen(
        [script, "run", "--no-audit", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if seconds is not None:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(DEADLINE_S)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_worker_process_that_is_killed_interrupts_the_run(job_of: Any, tmp_path: pathlib.Path) -> None:
    slow = {"attribution": {"steps": 300, "batch_size": 1}, "output": {"shard_bytes": 100}}
    config = tmp_path / "job.yaml"
    wanted = write_job(config, job_of(datasets.keras_classifier, "none", "undisturbed", **slow))
    assert run_for(config, None) == 0
    for number in range(ROUNDS):
        out = write_job(config, job_of(datasets.keras_classifier, "none", f"out-{number}", **slow))
        script = pathlib.Path(sys.executable).with_name("attribeam")
        process = subprocess.Popen(
            [script, "run", "--no-audit", config, *MANY], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + DEADLINE_S
        while len(datasets.parts(out)) < 1 + number and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(worker_of(process.pid), signal.SIGKILL)
        assert process.wait(DEADLINE_S) == 75
        assert run_for(config, None) == 0
        found, whole = datasets.parts(out), datasets.parts(wanted)
        assert [path.read_bytes() for path in found] == [path.read_bytes() for path in whole]
        assert verify_run(open_place(out), deep=True) == []


def worker_of(pid: int) -> int:
    """One of the processes that a process has started, or that these have."""
    below = [pid]
    for parent in below:
        found = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True, check=False).stdout
        below += map(int, found.split())
    commands = {child: pathlib.Path(f"/proc/{child}/cmdline").read_text() for child in below[1:]}
    return next(child for child, command in commands.items() if "sdk_worker" in command and "python" in command)
