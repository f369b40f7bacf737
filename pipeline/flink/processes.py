"""Programs that are kept running: each in a process group of its own, with a log, started again when it dies.

They end with this process, also when that is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from pipeline.flink import guard

WATCH_PERIOD_S = 0.5
STOP_TIMEOUT_S = 10.0
# Before a program is started again; doubled while it ends sooner than RAN_WELL_S.
FIRST_DELAY_S, LONGEST_DELAY_S, RAN_WELL_S = 1.0, 30.0, 60.0


@dataclasses.dataclass(frozen=True)
class Program:
    """A command under a name; `environment` is added to this process's."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Backoff:
    """How long to wait before a program is started again."""

    def __init__(self) -> None:
        self._next = FIRST_DELAY_S

    def delay(self, ran_s: float) -> float:
        """Seconds, after it has run for `ran_s`."""
        found = FIRST_DELAY_S if ran_s >= RAN_WELL_S else self._next
        self._next = min(2 * found, LONGEST_DELAY_S)
        return found


@dataclasses.dataclass
class _Run:
    """A program as it runs now, or ended at last.

    Attributes:
        started: when, of the monotonic clock; due: when it is to start again, once it has been seen to have ended.
    """

    program: Program
    process: subprocess.Popen[bytes]
    started: float = dataclasses.field(default_factory=time.monotonic)
    due: float | None = None
    backoff: Backoff = dataclasses.field(default_factory=Backoff)


class Supervisor:
    """Keeps programs running until the `with` block is left, as systemd or Kubernetes would; then none is left.

    Args:
        logs: an existing folder; each program appends what it prints to `NAME.log`.
    """

    def __init__(self, logs: pathlib.Path) -> None:
        self._logs = logs
        self._runs: dict[str, _Run] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._guard = subprocess.Popen(
            [sys.executable, guard.__file__], stdin=subprocess.PIPE, start_new_session=True, text=True, bufsize=1
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        running = [run for run in self._runs.values() if run.due is None]
        for run in running:
            _signal(run.process, signal.SIGTERM)
        for run in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(STOP_TIMEOUT_S)
            self._end(run)
        self._guard.communicate()

    def start(self, program: Program) -> None:
        """Start a program, and keep it running."""
        with self._lock:
            self._runs[program.name] = _Run(program, self._spawn(program))

    def pid(self, name: str) -> int:
        """The process of a program as it runs now, or ran last; also the number of its group."""
        with self._lock:
            return self._runs[name].process.pid

    def kill(self, name: str) -> None:
        """SIGKILL a program and all that it started; it is started again."""
        with self._lock:
            self._end(self._runs[name])

    def log(self, name: str) -> pathlib.Path:
        """Where a program's output is."""
        return self._logs / f"{name}.log"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self.log(program.name).open("ab") as log:
            process = subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )
        self._tell_guard(f"+{process.pid}")
        return process

    def _end(self, run: _Run) -> None:
        """With what it has started and left behind."""
        _signal(run.process, signal.SIGKILL)
        run.process.wait()
        self._tell_guard(f"-{run.process.pid}")

    def _tell_guard(self, line: str) -> None:
        print(line, file=self._guard.stdin)

    def _watch(self) -> None:
        while not self._over.wait(WATCH_PERIOD_S):
            with self._lock:
                for run in self._runs.values():
                    self._attend(run, time.monotonic())

    def _attend(self, run: _Run, now: float) -> None:
        """Start a program again that has ended, when it is due."""
        if run.process.poll() is None:
            return
        if run.due is None:
            self._end(run)
            run.due = now + run.backoff.delay(now - run.started)
        if now >= run.due:
            run.process, run.started, run.due = self._spawn(run.program), now, None


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
