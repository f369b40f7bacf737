"""The commit protocol, explored exhaustively: `PYTHONPATH=tests python -m campaigns.protocol_model [--long]`.

Every interleaving of all that `protocol_world` lets happen, under the protocol as it is (`protocol_steps`), held to
`protocol_rules`; and the same under protocols that are known to be wrong, each of which must be found out. It prints a
line for each, and of the wrong ones a shortest way to the fault. The long form looks at more processes at once.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator

from campaigns.model_checker import Explored, explore
from campaigns.protocol_rules import Rules
from campaigns.protocol_steps import Protocol
from campaigns.protocol_world import Cast, World

AS_IT_IS, NOBODY_LEFT = Protocol(), Protocol(survivors="none")
UNLOCKED, ALL_LEFT = Protocol(lock=False, survivors="all"), Protocol(survivors="all")
DISAGREEING = Protocol(survivors="none", disagreeing=True)
Case = tuple[Protocol, Cast]

_RACE, _RESUME = Cast(launchers=1, attempts=2, finalizers=1), Cast(attempts=1, finalizers=1, foreign=False)
_BEGUN_TOGETHER = Cast(launchers=1, attempts=1, finalizers=1)
_DAMAGE = Cast(attempts=1, finalizers=1, foreign=False, damages=1)
_DISPUTE = Cast(launchers=1, attempts=2, finalizers=1, foreign=False)
TRUE: dict[str, Case] = {
    "three attempts race, another configuration": (AS_IT_IS, Cast(launchers=1, attempts=3, finalizers=1)),
    "finalized twice": (AS_IT_IS, Cast(launchers=1, attempts=2, finalizers=2)),
    "a launcher dies, the next one resumes among the old attempts": (AS_IT_IS, Cast(attempts=2, finalizers=1)),
    "damage, before or after the end": (NOBODY_LEFT, _DAMAGE),
    "two launchers at once, as without a lock": (UNLOCKED, _RESUME),
    "two configurations begin together, as without a lock": (UNLOCKED, _BEGUN_TOGETHER),
    "a job that goes on to finalize beside the next launcher": (ALL_LEFT, _RESUME),
    "attempts that disagree about a row": (DISAGREEING, _DISPUTE),
}
LONG: dict[str, Case] = {
    "three attempts, a resume": (AS_IT_IS, Cast(attempts=3, finalizers=1)),
    "finalized twice, a resume": (AS_IT_IS, Cast(attempts=2, finalizers=2)),
    "damage among more attempts": (NOBODY_LEFT, Cast(attempts=2, finalizers=1, foreign=False, damages=1)),
    "damage, finalized twice": (NOBODY_LEFT, Cast(1, attempts=2, finalizers=2, foreign=False, damages=1)),
    "without a lock: two launchers, more attempts": (UNLOCKED, Cast(attempts=2, finalizers=2, foreign=False)),
    "without a lock: two launchers, another configuration": (UNLOCKED, Cast(attempts=1, finalizers=1)),
    "attempts that disagree about a row, finalized twice": (DISAGREEING, Cast(1, 3, finalizers=2, foreign=False)),
    "attempts that disagree about a row, a resume": (DISAGREEING, Cast(attempts=2, finalizers=1, foreign=False)),
}
WRONG: dict[str, Case] = {
    "last writer wins": (Protocol(put="last writer wins"), _RACE),
    "in place, with a marker file": (Protocol(put="marker"), _RACE),
    "the attempt in the part's name": (Protocol(attempt_in_name=True), _RACE),
    "the part before its quarantine file": (Protocol(quarantine_first=False), _RACE),
    "finalizing without a barrier": (Protocol(barrier=False), _RACE),
    "_SUCCESS for one's own manifest": (Protocol(adopts=False, compares=False), Cast(1, attempts=1, finalizers=2)),
    "moved aside while _SUCCESS stands": (Protocol(survivors="none", withdraws=False), _DAMAGE),
    "a plan before its claim": (dataclasses.replace(UNLOCKED, claims_first=False), _BEGUN_TOGETHER),
    "_SUCCESS removed unseen": (dataclasses.replace(UNLOCKED, evidence=False), _RESUME),
    "rows that are counted only": (dataclasses.replace(DISAGREEING, accounts=False), _DISPUTE),
    "a listing adopted unseen": (
        Protocol(survivors="none", compares=False),
        Cast(attempts=2, finalizers=2, foreign=False, damages=1),
    ),
}
BEYOND: dict[str, Case] = {
    "attempts that go on while a damaged part is moved aside": (
        Protocol(),
        Cast(1, attempts=2, finalizers=1, foreign=False, damages=1),
    ),
}
"""What the protocol does not hold out against, and the documentation asks not to do."""


def check(protocol: Protocol, cast: Cast) -> Explored:
    """Explore all that can happen under a protocol, up to the first fault."""
    world = World(protocol, cast)
    return explore(world.initial, world.steps, Rules(world).fault)


def described(name: str, found: Explored, seconds: float) -> Iterator[str]:
    """A line of figures, and the way to the fault, if there is one."""
    figures = f"{found.states:,} states, {found.transitions:,} transitions, {seconds:.1f} s"
    yield f"{name}: {found.fault or 'no violation'} ({figures})"
    yield from (f"  {number:2} {label}" for number, label in enumerate(found.trace, 1))


def main(long: bool) -> int:
    """Explore all, print what was found; 1 if any of it is not what it must be."""
    failed = 0
    for cases, holds in ((TRUE | (LONG if long else {}), True), (WRONG | BEYOND, False)):
        for name, case in cases.items():
            started = time.monotonic()
            found = check(*case)
            failed += (found.fault is None) != holds
            print(*described(name, found, time.monotonic() - started), sep="\n", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main("--long" in sys.argv[1:]))
