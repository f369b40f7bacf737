"""Everything that can happen to one output directory: who may take a step, and what each step does.

Two launchers of one configuration, the second of which resumes what the first left, and one of another configuration;
attempts at the shards, which outlive their launcher; finalizers, several of one job; damage to any file of the result.
A launcher may die at any moment. So may all others: a process that takes no further step is one that has died, and
every such case is among those looked at. A reader may look at any moment, which is why the rules of `protocol_rules`
hold for every state and step, and not only in the end.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from campaigns.model_checker import Numbered, Step
from campaigns.protocol_processes import Files, Process, Processes, apply
from campaigns.protocol_steps import RUN, SHARDS, SUCCESS, Call, File, Protocol


@dataclasses.dataclass(frozen=True)
class Cast:
    """How many of each there are; `damages`: of one file, each."""

    launchers: int = 2
    attempts: int = 3
    finalizers: int = 2
    foreign: bool = True
    damages: int = 0


class Work(NamedTuple):
    """A job that a launcher started: the shards to do, those with a result, and what became of it."""

    number: int = 0
    todo: tuple[int, ...] = ()
    results: frozenset[int] = frozenset()
    outcome: str = "none"


State = tuple[int, ...]
"""Numbers of the files, the damages left, each launcher's work, and each process."""


class World:
    """A directory and all who work on it, under one protocol."""

    def __init__(self, protocol: Protocol, cast: Cast) -> None:
        self.protocol, self.cast = protocol, cast
        self.files, self._processes, self._work = Numbered[Files](), Processes(protocol), Numbered[Work]()
        people = [Process("launcher", f"launcher {number + 1}") for number in range(cast.launchers)]
        people += [Process("foreign", "foreign launcher")] * cast.foreign
        self._first, self._last = 2 + cast.launchers, 2 + cast.launchers + len(people)
        people += [Process("attempt", f"attempt {number + 1}") for number in range(cast.attempts)]
        people += [Process("finalizer", f"finalizer {number + 1}") for number in range(cast.finalizers)]
        works = [self._work.number(Work())] * cast.launchers
        self.initial = (self.files.number(frozenset()), cast.damages, *works, *map(self._processes.number, people))
        self._move, self._settled = functools.cache(self._moved), functools.cache(self._whether_settled)

    def steps(self, state: State) -> Iterator[Step[State]]:
        """Everything that can happen next."""
        settled = self._settled_step(state)
        if settled is not None:
            yield settled
            return
        if state[1]:
            yield from self._damages(state)
        for place in range(self._first, len(state)):
            if state[place] == self.initial[place]:
                for task in self._tasks(state, place):
                    yield from self._call(state, place, self._processes.begun(self.initial[place], task))
            elif state[place] != self._processes.gone:
                yield from self._call(state, place, state[place])
                if place < self._last:
                    yield f"{self._processes[state[place]].name} dies", _put(state, place, self._processes.gone)

    def _settled_step(self, state: State) -> Step[State] | None:
        """A step that nothing can change any more, and that changes no file: it is taken first, and no other beside it,
        since it makes no difference when it is taken."""
        if self.protocol.put != "if absent" or self.protocol.attempt_in_name or not self.protocol.barrier:
            return None
        if self.protocol.disagreeing:  # whole parts are moved aside too
            return None
        for place in range(self._first, len(state)):
            if self._at_work(state, place) and self._settled(state[0], state[place]) and not state[1]:
                return next(self._call(state, place, state[place]), None)
        return None

    def _whether_settled(self, files: int, process: int) -> bool:
        """Whether a process's next call reads what is there for good: undamaged parts and their like, `_run.json`."""
        call, there = self._processes.next(process), dict(self.files[files])
        parts = [content for content in there.values() if isinstance(content, File)]
        if any(content.state != "whole" for content in parts):
            return False
        if call.kind == "names":
            return len({content.shard for name, content in there.items() if name.startswith("part-")}) == len(SHARDS)
        wanted = {"read": (call.name,), "read all": call.content}.get(call.kind, ())
        stays = [name in there and (name == RUN or isinstance(there[name], File)) for name in wanted]
        return bool(stays) and all(stays)

    def _tasks(self, state: State, place: int) -> Iterator[Any]:
        """What somebody who has not begun yet may begin."""
        if place < self._last:
            if not self.protocol.lock or not any(self._at_work(state, at) for at in range(self._first, self._last)):
                yield place - self._first
            return
        attempting = place < self._last + self.cast.attempts
        for launcher in range(self.cast.launchers):
            work = self._work[state[2 + launcher]]
            if work.outcome == "working" and (work.todo or not attempting):
                forward = (place - self._last) % 2 == 0  # every second attempt begins with the last shard
                yield launcher, work.number, (work.todo if forward else work.todo[::-1]) if attempting else ()

    def _at_work(self, state: State, place: int) -> bool:
        return state[place] not in (self.initial[place], self._processes.gone)

    def _call(self, state: State, place: int, process: int) -> Iterator[Step[State]]:
        """The next call of a process, if it can be made now."""
        finalizing = place >= self._last + self.cast.attempts
        if place >= self._last and not self._may_go_on(state, self._processes[process].task, finalizing):
            return
        if self._processes.next(process).kind in ("start", "outcome"):
            yield from self._job_call(state, place, process)
            return
        label, files, after, reported = self._move(state[0], process)
        state = (files, *state[1:place], after, *state[place + 1 :])
        yield label, state if reported is None else self._report(state, self._processes[process].task, reported)

    def _may_go_on(self, state: State, task: tuple[int, int, Any], finalizing: bool) -> bool:
        """Whether an attempt or a finalizer is still at work; the latter only once every shard has a result."""
        launcher, number, _ = task
        work, survivors = self._work[state[2 + launcher]], self.protocol.survivors
        if finalizing and self.protocol.barrier and not work.results.issuperset(work.todo):
            return False
        others = [self._first + other for other in range(self.cast.launchers) if other != launcher]
        succeeded = any(state[place] != self.initial[place] for place in others)
        late = (
            state[self._first + launcher] == self._processes.gone and succeeded
        )  # for the next launcher is there already
        failed = work.number != number or work.outcome not in ("working", "done")
        if not finalizing:
            return survivors != "none" or not (failed or late)
        repeated = survivors == "attempts" and work.outcome == "done"
        return not failed and (not late or repeated or survivors == "all")

    def _job_call(self, state: State, place: int, process: int) -> Iterator[Step[State]]:
        """A launcher starts a job, or learns what became of it."""
        slot, call, name = 2 + place - self._first, self._processes.next(process), self._processes[process].name
        work = self._work[state[slot]]
        if call.kind == "start":
            started = self._work.number(Work(work.number + 1, call.content, frozenset(), "working"))
            label = f"{name} starts a job for the shards {call.content}"
            yield label, _put(_put(state, place, self._processes.answer(process, None)[0]), slot, started)
        elif work.outcome != "working":
            yield f"{name} learns: {work.outcome}", _put(state, place, self._processes.answer(process, work.outcome)[0])

    def _report(self, state: State, task: tuple[int, int, Any], reported: int | str) -> State:
        """A shard's result, or the job's outcome, as its runner learns it, unless that has learnt of one before."""
        slot, number = 2 + task[0], task[1]
        work = self._work[state[slot]]
        if work.number != number or work.outcome != "working":
            return state
        if isinstance(reported, str):
            work = work._replace(outcome=reported)
        else:
            work = work._replace(results=work.results | {reported})
        return _put(state, slot, self._work.number(work))

    def _damages(self, state: State) -> Iterator[Step[State]]:
        files = self.files[state[0]]
        for name, content in files:
            if isinstance(content, File) and content.state == "whole" and name.startswith(("part-", "_quarantine/p")):
                for kind in ("cut", "flipped"):
                    harmed = files - {(name, content)} | {(name, content._replace(state=kind))}
                    yield f"damage: {name} is {kind}", (self.files.number(harmed), state[1] - 1, *state[2:])
                if name.startswith("part-") and SUCCESS not in dict(files) and not self._finalizing(state):
                    yield (
                        f"damage: {name} is lost",
                        (self.files.number(files - {(name, content)}), state[1] - 1, *state[2:]),
                    )

    def _finalizing(self, state: State) -> bool:
        """Whether somebody who saw every part may be about to say so: if one is lost then, every reader sees it."""
        places = range(self._last + self.cast.attempts, len(state))
        at_work = [self._processes[state[place]].task for place in places if self._at_work(state, place)]
        return any(self._may_go_on(state, task, True) for task in at_work)

    def _moved(self, files: int, number: int) -> tuple[str, int, int, int | str | None]:
        """(files, process) → the process's next call, in words; both after it; what it reports to its job."""
        process, call = self._processes[number], self._processes.next(number)
        answer, after = apply(self.files[files], call)
        next_number, reported, end = self._processes.answer(number, answer)
        if process.kind == "finalizer" or (process.kind == "attempt" and end not in ("", "done")):
            reported = end or None
        return _label(process.name, call, end), self.files.number(after), next_number, reported


def _put(state: State, place: int, number: int) -> State:
    return (*state[:place], number, *state[place + 1 :])


def _label(name: str, call: Call, end: str) -> str:
    what = f" of {call.content.maker}" if hasattr(call.content, "maker") else ""
    half = ", half of it" if getattr(call.content, "state", "") == "half" else ""
    return f"{name}: {call.kind} {call.name}{what}{half}".rstrip() + (f"; ends: {end}" if end else "")
