"""Ends this process when a worker process that Beam started is lost: Beam itself would wait for it for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator

log = logging.getLogger(__name__)
# of the thread that waits for a worker process, and raises when that ends by anything but success
WAITING = "run_worker"


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within it, a lost worker process of `--direct_running_mode=multi_processing` is an interruption of this one.

    It is told by SIGTERM, which `attribeam` answers as ever: it says what to do, and ends with 75. Threads of Beam that
    wait for the worker could not be ended otherwise.
    (https://github.com/apache/beam/blob/v2.77.0/sdks/python/apache_beam/runners/portability/local_job_service.py)
    """
    before = threading.excepthook

    def lost(arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread is None or arguments.thread.name != WAITING:
            before(arguments)
            return
        log.error("a worker process is lost: %s", arguments.exc_value)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.excepthook = lost
    try:
        yield
    finally:
        threading.excepthook = before
