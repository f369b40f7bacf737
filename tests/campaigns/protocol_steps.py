"""The commit protocol, call by call, as the code does it: each `yield` is one call of
`transforms.storage.place.Place`.

`attempt` is `transforms.attribute.attribute_shard`, `finalize` is `every_shard`, `check_parts` and `finalize_run`;
`protocol_launch` is the rest. A file is its content here, so that two files have one digest just when they are equal,
and one that is hashed is as good as read.
`exists` and then `open` are one call, `read`, since only a launcher removes files.

Two shards, the first with a refused row. Attempts write different bytes, as they do with `batch_size: auto`; and they
may disagree about which rows are refused, as they may where rows crash their process.
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
        disagreeing: every second attempt refuses other rows than the first, as many or one more.
        accounts: each row of a shard is looked for in its part and in its quarantine file, and not only counted.
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
    disagreeing: bool = False
    accounts: bool = True


class File(NamedTuple):
    """A part or its quarantine file; `refused`: the row that is not in the one, but in the other; `state`: whole, half
    (written so far), cut (its footer tells) or flipped."""

    fingerprint: str
    shard: int
    maker: str
    refused: str
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
        return f"bytes {1 + self._odd}" if self.name.startswith("attempt") else f"bytes of {self.name}"

    @property
    def _odd(self) -> bool:
        return self.name.startswith("attempt") and int(self.name[-1]) % 2 == 1

    def refused(self, shard: int) -> str:
        """The row that this one refuses; none: an empty text."""
        if self.protocol.disagreeing and self._odd:
            return "another row"
        return "a row" if shard in REFUSED else ""

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
    part, mine = me.part(shard), File(me.fingerprint, shard, me.bytes, me.refused(shard))
    found = yield from me.standing(part)
    if found is not None:
        return (yield from _adopt(me, shard, part, found))
    writes = [(part, mine)]
    if mine.refused and (yield Call("read", part)) is None:
        writes.insert(0 if me.protocol.quarantine_first else 1, (quarantine(part), mine))
    lost = False
    for name, content in writes:
        first = yield from me.publish(name, content)
        lost |= name == part and not first
    return (yield from _adopt(me, shard, part, (yield Call("read", part)))) if lost else "done"


def _adopt(me: Actor, shard: int, part: str, found: File | None) -> Program:
    """Take another attempt's part for one's own."""
    if found is None or not sound(found, me, shard, False):
        return "E_PART_DAMAGED"
    refused = (yield Call("read", quarantine(part))) if found.refused else None
    return "done" if not found.refused or sound(refused, me, shard, False) else "E_PART_DAMAGED"


def finalize(me: Actor) -> Program:
    """Check every part, then publish listing, manifest and `_SUCCESS`; or adopt those that are there."""
    names = yield Call("names")
    if me.protocol.barrier and me.missing(names):
        return "E_PART_MISSING"
    if [name for name in names if name.startswith("part-") and not name.partition(me.fingerprint)[1]]:
        return "E_PART_FOREIGN"
    listing = yield from checked(me, [(shard, me.planned(names, shard)) for shard in SHARDS])
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


def checked(me: Actor, planned: list[tuple[int, list[str]]]) -> Generator[Call, Any, Any]:
    """The names of the parts and quarantine files, with their contents; None when one is not what it must be."""
    parts = [(shard, part) for shard, names in planned for part in names[:1]]
    refusing = SHARDS if me.protocol.disagreeing else REFUSED
    files = [name for shard, part in parts for name in (part, quarantine(part))[: 1 + (shard in refusing)]]
    contents = dict(zip(files, (yield Call("read all", content=tuple(files))), strict=True))
    for shard, part in parts:
        if not sound(contents[part], me, shard, True):
            return None
        beside, refused = contents.get(quarantine(part)), contents[part].refused
        if refused and not sound(beside, me, shard, True):
            return None
        if me.protocol.accounts and refused != (beside.refused if beside else ""):
            return None
        if not refused:
            contents.pop(quarantine(part), None)
    return tuple(contents.items())
