"""The commit protocol, call by call, as the code does it: each `yield` is one call of
`transforms.storage.place.Place`.

`attempt` is `transforms.attribute.attribute_shard`, `finalize` is `every_shard`, `check_parts` and `finalize_run`,
`launch` is `pipeline.launch.run` from `_claimed` on, of a job without baselines of its dataset. A file is its content
here, so that two files have one digest just when they are equal. `exists` and then `open` are one call, `read`, since
only a launcher removes files.

Two shards, the first with refused rows. Attempts write different bytes, as they do with `batch_size: auto`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

SHARDS, REFUSED = (0, 1), (0,)
PLAN, RUN, FILES, MANIFEST, SUCCESS = "_plan.parquet", "_run.json", "_files.parquet", "_manifest.json", "_SUCCESS"
ASIDE = "_quarantine/damaged/"


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The protocol as it is, or one that is known to be wrong.

    Attributes:
        put: how a file gets its name: if that is free, by writing over, or in place with a marker file afterwards.
        attempt_in_name: a part is named after its attempt as well.
        quarantine_first: a quarantine file is published before its part.
        barrier: finalizing waits for every shard's result, and looks whether every part is there.
        adopts: who finds a manifest there vouches for that one, and not for his own.
        withdraws: `_SUCCESS` goes before what it vouches for is moved aside.
        claims_first: `_run.json` is claimed before `_plan.parquet` is written.
        evidence: `_SUCCESS`, manifest and listing are removed only where they are found to be wrong.
        compares: whoever finds a listing or a manifest there adopts it only if it is of the same files.
        lock: one launcher works at a time, as in a local directory.
        survivors: of a job that has failed, or whose launcher is dead and the next one at work, go on: nobody, only the
            attempts, or all.
    """

    put: str = "if absent"
    attempt_in_name: bool = False
    quarantine_first: bool = True
    barrier: bool = True
    adopts: bool = True
    withdraws: bool = True
    claims_first: bool = True
    evidence: bool = True
    compares: bool = True
    lock: bool = True
    survivors: str = "attempts"


class File(NamedTuple):
    """A part or its quarantine file; `state`: whole, half (written so far), cut (its footer tells) or flipped."""

    fingerprint: str
    shard: int
    maker: str
    state: str = "whole"


class Manifest(NamedTuple):
    """The manifest, with the contents of what it pins; those in `files` by way of `_files.parquet`."""

    maker: str
    run: Any
    plan: Any
    files: Any


class Call(NamedTuple):
    """A call: names, read, publish (answers whether the name was free), write (over), remove, start, outcome."""

    kind: str
    name: str = ""
    content: Any = None


Program = Generator[Call, Any, str]
Job = Callable[[tuple[int, ...]], Program]


class Actor(NamedTuple):
    """Who does something, by which protocol, for which configuration."""

    name: str
    fingerprint: str
    protocol: Protocol

    @property
    def bytes(self) -> str:
        """What this one writes: of two attempts that follow each other, not the same."""
        return f"bytes {1 + int(self.name[-1]) % 2}" if self.name.startswith("attempt") else f"bytes of {self.name}"

    def part(self, shard: int) -> str:
        """The name that this one publishes a shard under."""
        attempt = f"-{self.name}" if self.protocol.attempt_in_name else ""
        return f"part-{shard}-{self.fingerprint}{attempt}"

    def planned(self, names: Any, shard: int) -> list[str]:
        """The names that are there for a shard."""
        return sorted(name for name in names if name.startswith(f"part-{shard}-{self.fingerprint}"))

    def missing(self, names: Any) -> tuple[int, ...]:
        """The shards without a part, by the names that are there."""
        return tuple(shard for shard in SHARDS if not self.planned(names, shard))

    def publish(self, name: str, content: Any) -> Generator[Call, Any, bool]:
        """As the protocol has it; whether this was the first."""
        if self.protocol.put == "if absent":
            return bool((yield Call("publish", name, content)))
        if self.protocol.put == "marker" and isinstance(content, File):
            yield Call("write", name, content._replace(state="half"))
        yield Call("write", name, content)
        if self.protocol.put == "marker" and isinstance(content, File):
            yield Call("write", f"_done/{name}", content)
        return True

    def standing(self, part: str) -> Generator[Call, Any, Any]:
        """The part that another attempt has published, if any."""
        if self.protocol.put == "marker" and (yield Call("read", f"_done/{part}")) is None:
            return None
        return (yield Call("read", part))


def quarantine(part: str) -> str:
    """The file of a part's refused rows."""
    return f"_quarantine/{part}"


def sound(file: File | None, me: Actor, shard: int, deep: bool) -> bool:
    """Whether it is the planned one, by its footer alone or to the last page."""
    states = ("whole",) if deep else ("whole", "flipped")
    return file is not None and file[:2] == (me.fingerprint, shard) and file.state in states


def attempt(me: Actor, shard: int) -> Program:
    """Compute a shard, or adopt its part."""
    part, mine = me.part(shard), File(me.fingerprint, shard, me.bytes)
    found = yield from me.standing(part)
    if found is not None:
        found_refused = (yield Call("read", quarantine(part))) if shard in REFUSED else None
        whole = shard not in REFUSED or sound(found_refused, me, shard, False)
        return "done" if whole and sound(found, me, shard, False) else "E_PART_DAMAGED"
    writes = [(part, mine)]
    if shard in REFUSED:
        writes.insert(0 if me.protocol.quarantine_first else 1, (quarantine(part), mine))
    lost = False
    for name, content in writes:
        first = yield from me.publish(name, content)
        lost |= name == part and not first
    if lost and not sound((yield Call("read", part)), me, shard, False):
        return "E_PART_DAMAGED"
    return "done"


def finalize(me: Actor) -> Program:
    """Check every part, then publish listing, manifest and `_SUCCESS`; or adopt those that are there."""
    names = yield Call("names")
    if me.protocol.barrier and me.missing(names):
        return "E_PART_MISSING"
    if [name for name in names if name.startswith("part-") and not name.partition(me.fingerprint)[1]]:
        return "E_PART_FOREIGN"
    listing = yield from _checked(me, [(shard, me.planned(names, shard)) for shard in SHARDS])
    if listing is None:
        return "E_PART_DAMAGED"
    first = yield from me.publish(FILES, listing)
    if not first and me.protocol.compares and (yield Call("read", FILES)) != listing:
        return "E_RUN_STALE"
    manifest = Manifest(me.name, *(yield Call("read all", content=(RUN, PLAN, FILES))))
    yield from me.publish(MANIFEST, manifest)
    kept = (yield Call("read", MANIFEST)) if me.protocol.adopts else manifest
    if kept is None or (me.protocol.compares and kept[1:] != manifest[1:]):
        return "E_RUN_STALE"
    yield from me.publish(SUCCESS, kept)
    return "done"


def _checked(me: Actor, planned: list[tuple[int, list[str]]]) -> Generator[Call, Any, Any]:
    """The names of the parts and quarantine files, with their contents; None when one is not what it must be."""
    files = [(shard, part) for shard, parts in planned for part in parts[:1]]
    files += [(shard, quarantine(part)) for shard, part in files if shard in REFUSED]
    names = tuple(name for _, name in files)
    contents = yield Call("read all", content=names)
    whole = [sound(content, me, shard, True) for (shard, _), content in zip(files, contents, strict=True)]
    return tuple(zip(names, contents, strict=True)) if all(whole) else None


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
            found = yield from _checked(me, [(shard, [part])])
            if found is None or any(vouched.get(name, content) != content for name, content in found):
                faulty += [part, quarantine(part)]
    if faulty and me.protocol.withdraws:
        yield from _withdraw()
    for name in faulty:
        damaged = yield Call("read", name)
        if damaged is not None:
            yield Call("publish", ASIDE + name, damaged)
            yield Call("remove", name)
