"""The launcher's part of the commit protocol, call by call: `launch` is `pipeline.launch.run` from `_claimed` on, of a
job without baselines of its dataset; `_set_damaged_aside` is that of `pipeline.damage`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from campaigns.protocol_steps import (
    ASIDE,
    FILES,
    MANIFEST,
    PLAN,
    RUN,
    SHARDS,
    SUCCESS,
    Actor,
    Call,
    Job,
    Program,
    checked,
    quarantine,
)


def launch(me: Actor, job: Job) -> Program:
    """`attribeam run`: claim the directory, mend what is damaged, have the rest computed and finalized."""
    if (yield Call("read", RUN)) not in (None, me.fingerprint):
        return "refused"
    if not me.protocol.claims_first:
        yield from _record_plan(me)
    yield Call("publish", RUN, me.fingerprint)
    if (yield Call("read", RUN)) != me.fingerprint:
        return "refused"
    if me.protocol.claims_first:
        yield from _record_plan(me)
    if (yield from _still_finished(me)):
        return "done"
    outcome = yield from job(me.missing((yield Call("names"))))
    if outcome in ("E_PART_DAMAGED", "E_RUN_STALE"):
        yield from (_withdraw() if outcome == "E_RUN_STALE" else _set_damaged_aside(me, ()))
        outcome = yield from job(me.missing((yield Call("names"))))
    return outcome


def _record_plan(me: Actor) -> Generator[Call, Any, None]:
    plan = yield Call("read", PLAN)
    if plan not in (None, me.fingerprint) and (me.protocol.claims_first or (yield Call("read", RUN)) is None):
        yield Call("remove", PLAN)
        plan = None
    if plan is None:
        yield Call("publish", PLAN, me.fingerprint)


def _still_finished(me: Actor) -> Generator[Call, Any, bool]:
    """Whether the run is finished and whole; what vouches for one that is not goes."""
    if me.protocol.evidence and (yield Call("read", SUCCESS)) is None:
        return False
    pinned = yield from _pinned()
    if pinned is not None:
        yield from _set_damaged_aside(me, pinned)
        if (yield Call("read", SUCCESS)) is not None and not me.missing((yield Call("names"))):
            return True
    yield from _withdraw()
    return False


def _pinned() -> Generator[Call, Any, Any]:
    """What a finished run vouches for; None when it is not finished, or its records do not agree."""
    manifest = yield Call("read", MANIFEST)
    if manifest is None or (yield Call("read", SUCCESS)) != manifest:
        return None
    return manifest.files if (yield Call("read", FILES)) == manifest.files else None


def _withdraw() -> Generator[Call, Any, None]:
    for name in (SUCCESS, MANIFEST, FILES):
        yield Call("remove", name)


def _set_damaged_aside(me: Actor, pinned: Any) -> Generator[Call, Any, None]:
    names, vouched, faulty = (yield Call("names")), dict(pinned), list[str]()
    for shard in SHARDS:
        for part in me.planned(names, shard):
            found = yield from checked(me, [(shard, [part])])
            if found is None or any(vouched.get(name, content) != content for name, content in found):
                faulty += [part, quarantine(part)]
    if faulty and me.protocol.withdraws:
        yield from _withdraw()
    for name in faulty:
        damaged = yield Call("read", name)
        if damaged is not None:
            yield Call("publish", ASIDE + name, damaged)
            yield Call("remove", name)
