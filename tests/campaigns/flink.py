"""A longer campaign: `python tests/campaigns/flink.py SCENARIO [ROUNDS]`, from the root, with `tests` on PYTHONPATH.

`task-manager`, `worker-pool` (with its workers), `job-server` (then the same command again) kill that, and `kills` all
three in turn, ROUNDS times each, at random moments. `hosts` runs the job manager and two task managers in network
namespaces, and cuts one off for 30 s in mid-run; it needs root. Each run is compared with a local one, and is a line of
what is printed.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import datasets
import pyarrow as pa
from datasets import launch, read
from flink_runs import SHARDS, Session, assert_same_rows, flink_job, flink_session, in_mid_run

from pipeline.config import JobConfig
from pipeline.flink import namespaces
from pipeline.flink.cluster import Layout
from transforms.runs.verify import verify_run
from transforms.storage.place import open_place

STEPS, CUT_S = 2048, 30.0
VICTIMS = ("task-manager", "worker-pool", "job-server")


class Campaign:
    """Jobs of one model, each compared with the local run of the same rows."""

    def __init__(self, folder: pathlib.Path, session: Session) -> None:
        self._folder, self._session = folder, session
        self._model = datasets.keras_classifier(folder / "model")
        self._wanted = read(launch(self._job("local")).root)
        self._dice = random.Random(0)

    def round(self, name: str, act: Callable[[], None], again: bool = False) -> None:
        """One run, disturbed once; with `again`, the same command after it has failed."""
        job = self._job(name.replace(" ", "-"))
        found = in_mid_run(job, self._dice.randrange(2, SHARDS * 3 // 4), act)
        started, outcome = time.monotonic(), "one command"
        try:
            self._session.run(job)
        except Exception as error:  # whatever Beam makes of a lost job server
            if not again:
                raise
            outcome = f"failed after {time.monotonic() - started:.0f} s ({type(error).__name__}), then the same command"
            self._session.run(job)
        table = read(job.output.path)
        assert_same_rows(table, self._wanted)
        assert verify_run(open_place(job.output.path), deep=True) == []
        took = f"whole after {time.monotonic() - started:.0f} s"
        rows = f"{table.num_rows} rows, {duplicates(table)} duplicates, verify --deep holds"
        say(f"{name}: disturbed at {found[0]} of {SHARDS} parts; {outcome}; {took}: {rows}")

    def _job(self, out: str) -> JobConfig:
        return flink_job(self._folder, self._model, out, STEPS)


def kills(folder: pathlib.Path, rounds: int, victims: Sequence[str] = VICTIMS) -> None:
    """Each of the victims, `rounds` times."""
    with flink_session(folder / "cluster") as session:
        campaign, supervisor = Campaign(folder, session), session.cluster.supervisor
        for number, victim in itertools.product(range(1, rounds + 1), victims):
            if victim == "job-server":
                campaign.round(f"{victim} {number}", kill_job_server, again=True)
            else:
                program = f"{victim}-{number % 2 if victim == 'task-manager' else 0}"
                campaign.round(f"{victim} {number}", functools.partial(supervisor.kill, program))
            session.cluster.wait_until_free()


def hosts(folder: pathlib.Path, rounds: int) -> None:
    """A link cut for 30 s and restored, `rounds` times."""

    def cut() -> None:
        namespaces.cut(1)
        threading.Timer(CUT_S, namespaces.restore, [1]).start()

    with namespaces.hosts(3) as (manager, *workers), flink_session(folder / "c", Layout(manager, workers)) as session:
        say(f"hosts: job manager {manager.address}, task managers {', '.join(host.address for host in workers)}")
        campaign = Campaign(folder, session)
        for number in range(1, rounds + 1):
            campaign.round(f"link cut for {CUT_S:g} s {number}", cut)


def kill_job_server() -> None:
    """The Java process that this one has started."""
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "java"], capture_output=True, text=True, check=True).stdout
    for pid in map(int, found.split()):
        if "--job-port" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)


def duplicates(table: pa.Table) -> int:
    """Rows beyond the first of each id."""
    return table.num_rows - len(set(table["row_id"].to_pylist()))


def say(line: str) -> None:
    """A line of the log."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    scenarios = {victim: functools.partial(kills, victims=[victim]) for victim in VICTIMS}
    scenarios |= {"kills": kills, "hosts": hosts}
    with tempfile.TemporaryDirectory(prefix="attribeam-campaign-") as place:
        scenarios[sys.argv[1]](pathlib.Path(place), int(sys.argv[2]) if len(sys.argv) > 2 else 10)
    say("done")
