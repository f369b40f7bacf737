"""The campaigns of kills and of disks and stores that fail, in their short forms; the long ones run on demand."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# in a process of their own, from which they fork others: one without threads, unlike this one
BOTH = "import sys; from campaigns import disk_faults, kill; sys.exit(kill.main(False) or disk_faults.main(False))"


@pytest.mark.parametrize("arguments", [["-c", BOTH], ["-m", "campaigns.store_faults"]], ids=["kills, disk", "stores"])
def test_nothing_is_lost_and_nothing_hangs(arguments: list[str]) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
