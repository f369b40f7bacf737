"""How a job gets onto Flink: the options that Beam needs, and `attribeam run` with them."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys
from collections.abc import Sequence

# Stages follow each other within a second; after the last one, memory and GPU are free again soon.
IDLE_WORKER_MS = 5_000


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a job runs.

    Attributes:
        master: HOST:PORT of Flink's REST interface.
        version: of Flink, as in `1.20`.
        job_server: Beam's, for that version.
        pool: HOST:PORT of the Beam worker pool, as a task manager sees it.
        parallelism: how many shards are worked on at once; the slots of the cluster.
    """

    master: str
    version: str
    job_server: pathlib.Path
    pool: str
    parallelism: int


def beam_options(target: Target) -> list[str]:
    """Beam's options for a target.

    Data is exchanged in whole (BATCH_FORCED), so that a lost task manager costs what it was working on: with the
    default, pipelined, Flink begins the whole job again. A worker waits for the next stage (IDLE_WORKER_MS): a new one
    imports TensorFlow again.
    """
    return [
        "--runner=FlinkRunner",
        f"--flink_master={target.master}",
        f"--flink_version={target.version}",
        f"--flink_job_server_jar={target.job_server}",
        "--environment_type=EXTERNAL",
        f"--environment_config={target.pool}",
        f"--parallelism={target.parallelism}",
        "--execution_mode_for_batch=BATCH_FORCED",
        f"--environment_cache_millis={IDLE_WORKER_MS}",
    ]


def start_run(target: Target, arguments: Sequence[str], beam: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start `attribeam run` with its own arguments and further options for Beam, which win over ours."""
    command = [sys.executable, "-m", "pipeline.main", "run", *arguments, "--", *beam_options(target), *beam]
    return subprocess.Popen(command)
