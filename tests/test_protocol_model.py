"""The commit protocol, explored exhaustively in a small world; and that the exploration finds what is wrong."""

from __future__ import annotations

import pytest
from campaigns.model_checker import explore
from campaigns.protocol_model import BEYOND, TRUE, WRONG, check

# of each, for what
FAULTS = {
    "last writer wins": "is not the file that is pinned",
    "in place, with a marker file": "is seen half written",
    "the attempt in the part's name": "has 2 parts",
    "the part before its quarantine file": "its quarantine file is not",
    "finalizing without a barrier": "has 0 parts",
    "_SUCCESS for one's own manifest": "_manifest.json is not what it vouches for",
    "moved aside while _SUCCESS stands": "E_RUN_STALE",
    "a plan before its claim": "_plan.parquet is of another run",
    "_SUCCESS removed unseen": "removed while _SUCCESS stands",
    "rows that are counted only": "lacks a row, its quarantine file has another row",
    "a listing adopted unseen": "is not the file that is pinned",
}


def test_the_protocol_holds_in_every_state() -> None:
    found = {name: check(*case) for name, case in TRUE.items()}
    assert {name: one.trace for name, one in found.items() if one.fault} == {}
    assert sum(one.states for one in found.values()) >= 10**4


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_protocol_is_found_out(name: str) -> None:
    found = check(*WRONG[name])
    assert found.fault is not None
    assert FAULTS[name] in found.fault
    assert found.trace


@pytest.mark.parametrize("name", BEYOND)
def test_what_must_not_be_done_would_do_harm(name: str) -> None:
    assert check(*BEYOND[name]).fault


def test_the_way_to_a_fault_is_a_shortest_one() -> None:
    found = explore(0, lambda state: [("add", state + 1), ("double", 2 * state)], lambda _, after: "11" * (after == 11))
    assert found.fault == "11"
    assert len(found.trace) == 6  # 1 2 4 5 10 11
