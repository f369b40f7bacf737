"""What a child tells its parent: small JSON objects, for it may have read what took it over."""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from transforms import errors
from transforms.runs.work_done import ShardResult

KINDS = {kind.__name__: kind for kind in (errors.AttribeamError, errors.UsageError, errors.StoreError)}


class Channel:
    """The child's end; any thread may tell something.

    Args:
        hang_s: without a word about a shard until this process ends itself, also when it is stuck where Python cannot
            end it and nobody is left to do so.
    """

    def __init__(self, connection: Connection, hang_s: float) -> None:
        self._connection, self._hang_s, self._telling = connection, hang_s, threading.Lock()
        self._asked = False

    def asked(self) -> Any:
        """The next request, of the parent, which is trusted; None when there is no parent any more."""
        with self._telling:
            self._asked = False
            faulthandler.cancel_dump_traceback_later()
        try:
            request = self._connection.recv()
        except EOFError:
            return None
        with self._telling:
            self._asked = True
            self._watched()
        return request

    def tell(self, **message: Any) -> None:
        """Something new: that is what counts as progress."""
        with self._telling:
            if self._asked:
                self._watched()
            self._connection.send_bytes(json.dumps(message).encode())

    def _watched(self) -> None:
        faulthandler.dump_traceback_later(self._hang_s, exit=True)


def from_result(result: ShardResult) -> dict[str, Any]:
    """A result as JSON has it; without what its part holds: one that a stranger's code was near is read again."""
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return fields | {"refused": dict(result.refused), "whole": None}


def to_result(values: Mapping[str, Any]) -> ShardResult:
    """The result again."""
    return ShardResult(**values)


def from_error(error: errors.AttribeamError) -> list[str]:
    """An error as JSON has it."""
    return [type(error).__name__, error.code, error.message]


def to_error(values: list[str]) -> errors.AttribeamError:
    """The error again."""
    kind, code, message = values
    return KINDS.get(kind, errors.AttribeamError)(code, message)
