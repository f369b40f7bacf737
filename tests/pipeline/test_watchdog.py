"""A worker process that is killed ends the run, which Beam alone would wait for without an end."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

CODE = """
import os, signal
import apache_beam as beam
from pipeline.main import INTERRUPTED, _interrupt
from pipeline.runner import parse_options, run_pipeline
from worker_loss import killed
signal.signal(signal.SIGTERM, _interrupt)
run_pipeline(
    lambda pipeline: pipeline | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(killed),
    parse_options(["--direct_running_mode=multi_processing", "--direct_num_workers=2"]),
)
print("it ended well")
"""
WORKER = """
import os, signal
def killed(_):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lost_worker_is_an_interruption(tmp_path: pathlib.Path) -> None:
    (tmp_path / "worker_loss.py").write_text(WORKER)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        out, said = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, out) == (75, ""), said[-2000:]
    assert "a worker process is lost" in said and "run the same command again" in said
