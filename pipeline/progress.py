"""What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from pipeline.status import Status, Watch
from transforms.errors import AttribeamError

BAR_PERIOD_S, LINE_PERIOD_S = 0.5, 10.0
# Of the time, the share that looking may take: a long list of files is looked at less often.
LOOKING = 0.05


class ProgressReport:
    """Reports on a run, from its files, until the `with` block is left."""

    def __init__(self, watch: Watch) -> None:
        self._watch, self._look_s = watch, 0.0
        self._console = Console(stderr=True)
        self._over, self._ends = threading.Event(), False
        self._thread = threading.Thread(target=self._report, name="progress", daemon=True)

    def __enter__(self) -> ProgressReport:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def until_finished(self) -> Status:
        """Report here until the run has its `_SUCCESS`, and tell its last state."""
        self._ends = True
        self._report()
        return self._watch.look()

    def _report(self) -> None:
        if self._console.is_terminal:
            self._bar()
        else:
            self._lines()

    def _bar(self) -> None:
        columns = (TextColumn("rows"), BarColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("starting", total=None)
            over = False
            while not over:
                over = self._wait(BAR_PERIOD_S)
                status = self._look()
                if status is not None:
                    bar.update(task, completed=status.rows_done, total=status.rows, description=describe(status))

    def _lines(self) -> None:
        last, over = "", False
        while not over:
            over = self._wait(LINE_PERIOD_S)
            status = self._look()
            if status is not None and describe(status) != last:
                last = describe(status)
                self._console.print(f"rows {last}", soft_wrap=True, highlight=False)

    def _wait(self, period_s: float) -> bool:
        return self._over.wait(max(period_s, self._look_s / LOOKING))

    def _look(self) -> Status | None:
        started = time.monotonic()
        try:
            status = self._watch.look()
            if self._ends and status.finished:
                self._over.set()
            return status
        except (AttribeamError, OSError):
            # a report must not end a run; what is wrong with a part, finalize says
            return None
        finally:
            self._look_s = time.monotonic() - started


def describe(status: Status) -> str:
    """One line: rows, rate, time left, quarantined."""
    rate = f"{status.rows_per_second:.1f}/s" if status.rows_per_second else "-/s"
    left = "-" if status.seconds_left is None else _duration(status.seconds_left)
    share = f"{status.rows_done:,}/{status.rows:,}"
    shards = f"shards {status.shards_done}/{status.shards}"
    return f"{share} | {shards} | {rate} | left {left} | quarantined {status.quarantined:,}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
