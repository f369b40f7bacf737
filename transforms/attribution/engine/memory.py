"""What this process held at most, and what the machine has left."""

from __future__ import annotations

import pathlib
import re
import resource
import sys

PROCESS, MACHINE = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/meminfo")
CONTAINER = pathlib.Path("/sys/fs/cgroup")


def peak_memory_bytes() -> int:
    """The most memory that this program ever held.

    Linux says it by program (proc_pid_status(5), VmHWM). What getrusage(2) says there starts at what the process that
    started this one had held; it is asked only where there is nothing else.
    """
    if peak := _kib(PROCESS, "VmHWM"):
        return peak
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def free_memory_bytes() -> float:
    """What the machine, or the container, has left; without limit where neither says so."""
    limits = [float("inf")]
    if (free := _kib(MACHINE, "MemAvailable")) is not None:
        limits.append(free)
    most, used = CONTAINER / "memory.max", CONTAINER / "memory.current"
    if most.exists() and most.read_text().strip() != "max":
        limits.append(int(most.read_text()) - int(used.read_text()))
    return min(limits)


def _kib(file: pathlib.Path, name: str) -> int | None:
    """Bytes, of a line `name: number kB`; None without the line or the file."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None
