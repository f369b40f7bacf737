"""Something done before or after the n-th call of what a run does to its files, without a hook in the code itself."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from transforms.records.part_writer import PartWriter
from transforms.storage import own_folder
from transforms.storage.own_folder import OwnFolder
from transforms.storage.place import LocalPlace

Act = Callable[[int, str, Any], None]
# owner, name: every call that changes something in a local directory; between two of them it makes no difference when
CALLS: Sequence[tuple[Any, str]] = (
    *((LocalPlace, name) for name in ("publish", "remove", "clear")),
    *((PartWriter, name) for name in ("__init__", "write", "__exit__")),
    (OwnFolder, "__init__"),
    (own_folder, "_remove"),
    (os, "link"),
    (os, "fsync"),
)


@contextlib.contextmanager
def stepping(act: Act, calls: Sequence[tuple[Any, str]] = CALLS) -> Iterator[None]:
    """Within it, each call is two steps: `act` is told the number, `before …` or `after …`, and the first argument."""
    counted, lock = [0], threading.Lock()

    def step(what: str, subject: Any) -> None:
        with lock:
            counted[0] += 1
            number = counted[0]
        act(number, what, subject)

    def stepped(function: Any, name: str) -> Any:
        @functools.wraps(function)
        def called(*arguments: Any, **named: Any) -> Any:
            subject = arguments[0] if arguments else None
            step(f"before {name}", subject)
            answer = function(*arguments, **named)
            step(f"after {name}", subject)
            return answer

        return called

    originals = [(owner, name, getattr(owner, name)) for owner, name in calls]
    for owner, name, function in originals:
        setattr(owner, name, stepped(function, f"{getattr(owner, '__name__', owner)}.{name}"))
    try:
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def never(number: int, what: str, subject: Any) -> None:
    """Nothing happens."""


def signalled(at: int, kind: signal.Signals) -> Act:
    """This process sends itself a signal at a step."""

    def act(number: int, what: str, subject: Any) -> None:
        if number == at:
            os.kill(os.getpid(), kind)

    return act
