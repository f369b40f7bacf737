"""What must hold in every state, at every step, and for a rerun from wherever the others stopped."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from campaigns.protocol_launch import launch
from campaigns.protocol_processes import FOREIGN, OURS, Files, apply, by_itself
from campaigns.protocol_steps import (
    FILES,
    MANIFEST,
    PLAN,
    RUN,
    SHARDS,
    SUCCESS,
    Actor,
    File,
    Manifest,
    Protocol,
    quarantine,
)
from campaigns.protocol_world import State, World


class Rules:
    """The rules for the states of a world; each set of files is judged once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._file_fault, self._step_fault = functools.cache(self._of_files), functools.cache(self._of_step)

    def fault(self, before: State, after: State) -> str | None:
        """What is wrong after a step, or with the step itself."""
        if before[0] == after[0]:
            return None
        damage = before[1] != after[1]
        return self._file_fault(after[0]) or (None if damage else self._step_fault(before[0], after[0]))

    def _of_files(self, number: int) -> str | None:
        files = self._world.files[number]
        return next(standing_faults(dict(files)), None) or rerun_fault(files, self._world.protocol)

    def _of_step(self, before: int, after: int) -> str | None:
        """While `_SUCCESS` stands for files that are whole, nothing that stands is touched."""
        old, new = dict(self._world.files[before]), dict(self._world.files[after])
        if SUCCESS not in old or damaged(old):
            return None
        touched = sorted(name for name in old if new.get(name) != old[name])
        return f"{touched[0]} is overwritten or removed while _SUCCESS stands" if touched else None


def damaged(files: dict[str, Any]) -> bool:
    """Whether a part or quarantine file is not as it was published."""
    finals = (content for name, content in files.items() if name.startswith(("part-", "_quarantine/part-")))
    return any(content.state in ("cut", "flipped") for content in finals) or any(map(bool, disagreements(files)))


def disagreements(files: dict[str, Any]) -> Iterator[str]:
    """Parts beside a quarantine file of other rows than they lack."""
    for name, content in files.items():
        beside = files.get(quarantine(name))
        if name.startswith("part-") and beside is not None and beside.refused != content.refused:
            yield f"{name} lacks {content.refused or 'no row'}, its quarantine file has {beside.refused}"


def standing_faults(files: dict[str, Any]) -> Iterator[str]:
    """What a reader who looks now would find wrong."""
    for name, content in files.items():
        if isinstance(content, File) and content.state == "half":
            yield f"{name} is seen half written"
        if name.startswith("part-") and content.refused and quarantine(name) not in files:
            yield f"{name} is there, and its quarantine file is not"
    if RUN in files and files.get(PLAN) not in (None, files[RUN]):
        yield "_run.json stands, and _plan.parquet is of another run"
    if SUCCESS in files:
        yield from _finished_faults(files, files[SUCCESS])


def _finished_faults(files: dict[str, Any], manifest: Manifest) -> Iterator[str]:
    for name, wanted in ((MANIFEST, manifest), (FILES, manifest.files), (RUN, manifest.run), (PLAN, manifest.plan)):
        if files.get(name) != wanted:
            yield f"_SUCCESS stands, and {name} is not what it vouches for"
    pinned = dict(manifest.files)
    parts = [(name, content) for name, content in files.items() if name.startswith("part-")]
    for shard in SHARDS:
        own = [name for name, part in parts if part.shard == shard and part.fingerprint == manifest.run]
        if len(own) != 1:
            yield f"_SUCCESS stands, and shard {shard} has {len(own)} parts"
        elif own[0] not in pinned or (pinned[own[0]].refused and quarantine(own[0]) not in pinned):
            yield f"_SUCCESS stands, and {own[0]} is not pinned"
    yield from (f"_SUCCESS stands, and {fault}" for fault in disagreements(pinned))
    if [name for name, part in parts if part.fingerprint != manifest.run]:
        yield "_SUCCESS stands, and a part of another run is there"
    for name, wanted in pinned.items():
        found = files.get(name)
        if found is None or wanted not in (found, found._replace(state="whole")):
            yield f"_SUCCESS stands, and {name} is not the file that is pinned"


def rerun_fault(files: Files, protocol: Protocol) -> str | None:
    """Whether the same command, undisturbed, ends well from here; the other configuration's must be refused."""
    owner = dict(files).get(RUN)
    for fingerprint in (OURS, FOREIGN):
        outcome, after = rerun(files, fingerprint, protocol)
        wanted = "done" if owner in (None, fingerprint) else "refused"
        if outcome != wanted:
            return f"a rerun of {fingerprint} ends with {outcome}, not with {wanted}"
        if wanted == "done":
            left = dict(after)
            fault = next(standing_faults(left), None) or ("it is damaged" if damaged(left) else None)
            if SUCCESS not in left or fault:
                return f"a rerun of {fingerprint} ends well, but {fault or 'there is no _SUCCESS'}"
        elif after != files:
            return f"a rerun of {fingerprint} is refused, and has changed something"
    return None


def rerun(files: Files, fingerprint: str, protocol: Protocol) -> tuple[str, Files]:
    """The command, run to its end with nobody else at work: how it ended, and what it left."""
    me = Actor("rerun", fingerprint, protocol)
    program = launch(me, functools.partial(by_itself, me))
    try:
        call = next(program)
        while True:
            answer, files = apply(files, call)
            call = program.send(answer)
    except StopIteration as end:
        return str(end.value), files
