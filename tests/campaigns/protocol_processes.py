"""Processes as values: each is what it was told so far, from which its program is run again up to its next call."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from campaigns.model_checker import Numbered
from campaigns.protocol_launch import launch
from campaigns.protocol_steps import Actor, Call, Program, Protocol, attempt, finalize

OURS, FOREIGN = "A", "B"
Files = frozenset[tuple[str, Any]]


class Process(NamedTuple):
    """Somebody at work: what it does, and all the answers that it got so far; `task` None before it begins."""

    kind: str
    name: str
    task: Any = None
    answers: tuple[Any, ...] = ()


class Processes(Numbered[Process]):
    """All processes that there can be under a protocol; `gone` is any that has ended."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__()
        self._protocol, self.gone = protocol, self.number(Process("", "whoever has ended"))
        self.next, self.answer = functools.cache(self._next), functools.cache(self._answer)
        self.begun = functools.cache(self._begun)

    def _begun(self, number: int, task: Any) -> int:
        return self.number(self[number]._replace(task=task))

    def _next(self, number: int) -> Call:
        call, _ = self._replayed(self[number])
        assert isinstance(call, Call)
        return call

    def _answer(self, number: int, answer: Any) -> tuple[int, int | str | None, str]:
        """(the process with one more answer, the shard that it is done with since then, its end)."""
        process = self[number]
        before = self._replayed(process)[1]
        process = process._replace(answers=(*process.answers, answer))
        call, after = self._replayed(process)
        done = after[-1] if len(after) > len(before) else None
        return (self.gone, done, call) if isinstance(call, str) else (self.number(process), done, "")

    def _replayed(self, process: Process) -> tuple[Call | str, list[int]]:
        """What a process does after all that it was answered: its next call or its end; the shards it is done with."""
        done = list[int]()
        program = _program(process, self._protocol, done)
        try:
            call = next(program)
            for answer in process.answers:
                call = program.send(answer)
        except StopIteration as end:
            return str(end.value), done
        return call, done


def apply(files: Files, call: Call) -> tuple[Any, Files]:
    """One call of a store: its answer, and the files after it."""
    there = dict(files)
    if call.kind == "names":
        return tuple(sorted(name for name in there if name.startswith("part-"))), files
    if call.kind == "read":
        return there.get(call.name), files
    if call.kind == "read all":
        return tuple(there.get(name) for name in call.content), files
    if call.kind == "remove":
        there.pop(call.name, None)
    elif call.kind == "write" or call.name not in there:
        there[call.name] = call.content
    else:
        return False, files
    return True, frozenset(there.items())


def by_itself(me: Actor, todo: tuple[int, ...]) -> Program:
    """A job of one attempt a shard, undisturbed."""
    for shard in todo:
        outcome = yield from attempt(me, shard)
        if outcome != "done":
            return outcome
    return (yield from finalize(me))


def _by_workers(todo: tuple[int, ...]) -> Program:
    yield Call("start", content=todo)
    return str((yield Call("outcome")))


def _bundle(me: Actor, shards: tuple[int, ...], done: list[int]) -> Program:
    for shard in shards:
        outcome = yield from attempt(me, shard)
        if outcome != "done":
            return outcome
        done.append(shard)
    return "done"


def _program(process: Process, protocol: Protocol, done: list[int]) -> Program:
    me = Actor(process.name.replace(" ", ""), OURS, protocol)
    if process.kind == "launcher":
        return launch(me, _by_workers)
    if process.kind == "foreign":
        me = me._replace(fingerprint=FOREIGN)
        return launch(me, functools.partial(by_itself, me))
    return finalize(me) if process.kind == "finalizer" else _bundle(me, process.task[2], done)
