"""Ends process groups when whoever feeds its standard input is gone, however that ended.

A line is `+PID` for a group to watch over, `-PID` for one that is no more. PR_SET_PDEATHSIG would do it on Linux only,
for the child alone, and as soon as the thread that started it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def guard(lines: Iterable[str]) -> None:
    """Read to the end, and SIGKILL every group that was named with `+` and not with `-` since."""
    groups = set[int]()
    for line in lines:
        (groups.add if line.startswith("+") else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    guard(sys.stdin)
