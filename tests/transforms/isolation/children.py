"""Children that explain nothing, and so start in a moment; what they do to themselves is real."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

# Speaks as `transforms.isolation.child` does; of the rows of a shard some do what the job says.
START = """
import sys
sys.path[:] = sys.argv[3:]
from children import main
main(int(sys.argv[1]))
"""


def main(descriptor: int) -> None:
    """Serve: the job is {"rows": {row: what it does}, "start": what starting does}."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection = Connection(descriptor)
    job = connection.recv()
    act(job.poisonous.get("start"), job)
    import transforms.isolation.poison  # noqa: F401 - what requests are made of takes a while to import

    tell(connection, ready=True)
    while True:
        try:
            request, shard, poison = connection.recv()
        except EOFError:
            return
        left_out = {row for one in poison for row in range(one.start, one.stop)}
        for row in range(shard.rows.start, shard.rows.stop):
            if row not in left_out:
                tell(
                    connection, reading=[row, row + 1] if request == "search" else [row, min(row + 4, shard.rows.stop)]
                )
                act(job.poisonous.get(row) or job.poisonous.get((request, row)), job, connection)
        refused = Counter[str]()
        for one in poison:
            refused[one.fault.code] += one.stop - one.start
        rows = shard.rows.stop - shard.rows.start - len(left_out)
        counts = {"number": shard.number, "rows": rows, "quarantined": len(left_out), "published": True}
        spent = {
            "seconds": 0.0,
            "peak_memory_bytes": 0,
            "out_of_memory": 0,
            "gradients": os.getpid(),
            "refused": refused,
        }
        tell(connection, **({"result": counts | spent} if request == "attribute" else {"done": True}))


def act(what: str | None, job: Any, connection: Connection | None = None) -> None:
    """Crash, hang or grow, for real."""
    if what == "segfault":
        ctypes.string_at(0)
    elif what == "abort":
        os.abort()
    elif what == "exit":
        os._exit(3)
    elif what == "hang":
        time.sleep(600)
    elif what == "hang in C":  # and no other thread of the interpreter runs
        ctypes.PyDLL(None).sleep(600)
    elif what == "grow":
        kept = []
        while True:
            kept.append(b"x" * 2**24)
    elif what == "out of memory" and connection:
        tell(connection, memory=True)
    elif what == "raise" and connection:
        tell(connection, failure="OSError: no space left on device")
    elif what == "refuse" and connection:
        tell(connection, error=["UsageError", "E_TEST", "not this one"])
    elif what == "once" and not os.path.exists(job.mark):  # noqa: PTH110 - nothing more is imported than must be
        with open(job.mark, "w"):  # noqa: PTH123
            os.kill(os.getpid(), signal.SIGKILL)


def tell(connection: Connection, **message: Any) -> None:
    """As the real one."""
    connection.send_bytes(json.dumps(message).encode())


class Job:
    """What a child of this kind, and `IsolatedShards`, want to know."""

    def __init__(self, poisonous: Mapping[Any, str], isolation: Any, root: str) -> None:
        self.poisonous, self.isolation, self.root, self.mark = poisonous, isolation, root, f"{root}-mark"
