"""A child as its parent sees it: asked, watched, and killed when it hangs or holds too much."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from typing import Any

from transforms.errors import AttribeamError, Fault
from transforms.isolation.bounds import Bounds
from transforms.isolation.channel import to_error
from transforms.isolation.poison import Poison
from transforms.runs.attribution_job import AttributionJob
from transforms.runs.shard import Shard

# How often the memory of a child is looked at, which may grow by some GB in a second.
LOOK_S = 0.05
# Loading TensorFlow and a large model, from a store too, is given as much at least, however little a row is.
START_S = 600.0
DUMP_S = 30.0
ANSWERS = {"ready", "result", "done"}
# The same modules as here, and none of the current directory that this process would not find.
START = """
import sys
sys.path[:] = sys.argv[3:]
from transforms.isolation.child import main
main(int(sys.argv[1]), int(sys.argv[2]))
"""

_TOO_LONG = "the process that explained it made no progress for {seconds:g} s"
_TOO_LARGE = "the process that explained it held more than {bytes} bytes (limits.memory)"
_REMEDY = "look at the row and the model, or leave the row out"


class Died(Exception):  # noqa: N818 - it is an answer, and no error of ours
    """A child is no more.

    Attributes:
        fault: what killed it.
        rows: of the file, [start, stop), that it may have died of: those that it was about to read, and before them
            those not yet written; None when it had not come to any.
    """

    def __init__(self, fault: Fault, rows: tuple[int, int] | None) -> None:
        super().__init__(fault, rows)
        self.fault, self.rows = fault, rows


@dataclasses.dataclass
class _Place:
    """Where a child is in a shard: the rows it is about to read, and that before which all are written."""

    reading: tuple[int, int] | None = None
    written: int | None = None

    def note(self, message: Mapping[str, Any]) -> None:
        if "reading" in message:
            start, stop = message["reading"]
            self.written, self.reading = start if self.written is None else self.written, (start, stop)
        self.written = message.get("written", self.written)

    def rows(self, alone: bool) -> tuple[int, int] | None:
        if self.reading is None or self.written is None:
            return None
        return self.reading if alone else (min(self.written, self.reading[0]), self.reading[1])


class Child:
    """One process, which has loaded the model when this returns; it ends with this process, however that ends.

    Raises:
        Died: it did not come so far.
        AttribeamError: what loading the model raises.
    """

    def __init__(self, job: AttributionJob, bounds: Bounds) -> None:
        self._bounds = bounds
        self._connection, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno()), str(os.getpid()), *sys.path]
            # a session of its own: what ends it ends all that it starts, and a key pressed here does not reach it
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        with contextlib.suppress(BrokenPipeError):  # then it is gone, as waiting finds
            self._connection.send(job)
        self._answer(max(START_S, self._bounds.shard_s), alone=False)

    def ask(self, request: str, shard: Shard, poison: Sequence[Poison] = ()) -> Mapping[str, Any]:
        """What the child answers.

        Args:
            request: one of those that `child.main` knows.

        Raises:
            Died: it does not answer any more.
            AttribeamError: as raised there.
            RuntimeError: anything else was raised there.
        """
        with contextlib.suppress(BrokenPipeError):
            self._connection.send((request, shard, poison))
        return self._answer(self._bounds.shard_s, alone=request == "search")

    def end(self) -> None:
        """Kill it, if it still runs, and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._connection.close()

    def _answer(self, patience_s: float, alone: bool) -> Mapping[str, Any]:
        place = _Place()
        try:
            return self._heard(place, patience_s)
        except _GivenUp as given_up:
            raise Died(given_up.fault, place.rows(alone)) from None
        except (AttribeamError, RuntimeError):
            self.end()
            raise

    def _heard(self, place: _Place, patience_s: float) -> Mapping[str, Any]:
        """The answer; what comes before it is where the child is."""
        since = time.monotonic()
        while True:
            if self._connection.poll(LOOK_S):
                message, since = self._message(), time.monotonic()
                if ANSWERS & message.keys():
                    return message
                place.note(message)
            elif time.monotonic() - since > patience_s:
                raise self._killed("E_POISON_TIMEOUT", _TOO_LONG.format(seconds=patience_s))
            if self._bounds.memory is not None and _resident(self._process.pid) > self._bounds.memory:
                raise self._killed("E_POISON_MEMORY", _TOO_LARGE.format(bytes=self._bounds.memory))

    def _message(self) -> dict[str, Any]:
        try:
            message: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise self._crashed() from None
        if "error" in message:
            raise to_error(message["error"])
        if "failure" in message:
            raise RuntimeError(f"the process that explains shards failed: {message['failure']}")
        if "memory" in message:
            raise self._killed("E_POISON_MEMORY", "the process that explained it asked for more memory than there is")
        return message

    def _killed(self, code: str, why: str) -> _GivenUp:
        self.end()
        return _GivenUp(Fault(code, f"{why}; {_REMEDY}"))

    def _crashed(self) -> _GivenUp:
        """How it ended; a dump of its memory may take a while to be written."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DUMP_S)
        self.end()
        code = self._process.returncode
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return _GivenUp(Fault("E_POISON_CRASH", f"the process that explained it {how}; {_REMEDY}"))


class _GivenUp(Exception):  # noqa: N818 - as Died
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def _resident(process: int) -> int:
    """Bytes that a process holds in memory; 0 when it is gone."""
    try:
        pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
