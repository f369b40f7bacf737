"""Programs that are kept running: each in a process group of its own, with a log, started again when it dies."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType

WATCH_PERIOD_S = 0.5
STOP_TIMEOUT_S = 10.0


@dataclasses.dataclass(frozen=True)
class Program:
    """A command under a name; `environment` is added to this process's."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Supervisor:
    """Keeps programs running until the `with` block is left, as systemd or Kubernetes would; then none is left.

    Args:
        logs: an existing folder; each program appends what it prints to `NAME.log`.
    """

    def __init__(self, logs: pathlib.Path) -> None:
        self._logs = logs
        self._programs: dict[str, Program] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for process in self._running.values():
            _signal(process, signal.SIGTERM)
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            _signal(process, signal.SIGKILL)  # also what it started and left behind
            process.wait()

    def start(self, program: Program) -> None:
        """Start a program, and keep it running."""
        with self._lock:
            self._programs[program.name] = program
            self._running[program.name] = self._spawn(program)

    def pid(self, name: str) -> int:
        """The process of a program as it runs now; also the number of its group."""
        with self._lock:
            return self._running[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL a program and all that it started; it is started again."""
        with self._lock:
            _signal(self._running[name], signal.SIGKILL)
            self._running[name].wait()

    def log(self, name: str) -> pathlib.Path:
        """Where a program's output is."""
        return self._logs / f"{name}.log"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self.log(program.name).open("ab") as log:
            return subprocess.Popen(
                list(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **program.environment},
                start_new_session=True,
            )

    def _watch(self) -> None:
        while not self._over.wait(WATCH_PERIOD_S):
            with self._lock:
                for name, process in self._running.items():
                    if process.poll() is not None:
                        _signal(process, signal.SIGKILL)
                        self._running[name] = self._spawn(self._programs[name])


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
