"""Every way in which a process can be lost, done to real ones: the row is found, the rest goes on, and nobody waits.

These processes load no model; `tests/pipeline/test_isolated_runs.py` and `tests/campaigns/poison.py` have real ones.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import children

from transforms.errors import AttribeamError, UsageError
from transforms.isolation import process
from transforms.isolation.bounds import Bounds
from transforms.isolation.shards import IsolatedShards
from transforms.records.source import RowRange
from transforms.runs.shard import Shard
from transforms.runs.work_done import ShardResult
from transforms.storage import own_folder

ROWS = 12
MEMORY, SHARD_S = 400 * 2**20, 3.0
# what a row does → the code that it is refused with, and what it died of
KINDS = {
    "segfault": ("E_POISON_CRASH", "died of SIGSEGV"),
    "abort": ("E_POISON_CRASH", "died of SIGABRT"),
    "exit": ("E_POISON_CRASH", "ended with exit code 3"),
    "hang in C": ("E_POISON_TIMEOUT", f"no progress for {SHARD_S:g} s"),
    "grow": ("E_POISON_MEMORY", f"more than {MEMORY} bytes"),
    "out of memory": ("E_POISON_MEMORY", "asked for more memory than there is"),
}
Made = Callable[..., IsolatedShards]


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[Made]:
    """isolated({row: what it does}, attempts=1) → shards explained by such a child."""
    monkeypatch.setattr(process, "START", children.START)
    made = list[IsolatedShards]()

    def new(poisonous: Any, attempts: int = 1) -> IsolatedShards:
        job: Any = children.Job(poisonous, Bounds(SHARD_S, MEMORY, attempts), str(tmp_path / "out"))
        made.append(IsolatedShards(job))
        return made[-1]

    yield new
    for one in made:
        one.close()


def shard(stop: int = ROWS, number: int = 0) -> Shard:
    return Shard(number, "/data/a", "a", "parquet", "none", RowRange(0, stop), "digest")


def outcome(result: ShardResult) -> tuple[int, int, dict[str, int]]:
    return result.rows, result.quarantined, dict(result.refused)


def test_the_rows_that_kill_their_process_are_refused_and_no_other(isolated: Made, caplog: Any) -> None:
    rows = dict(zip((0, 3, 4, 7, 9, 11), KINDS, strict=True))
    found = isolated(rows).attribute(shard())
    codes = Counter(code for code, _ in KINDS.values())
    assert outcome(found) == (ROWS - len(KINDS), len(KINDS), dict(codes))
    assert all(said in caplog.text for _, said in KINDS.values())


def test_a_process_serves_one_shard_after_the_other(isolated: Made) -> None:
    shards = isolated({})
    first, second = shards.attribute(shard()), shards.attribute(shard(number=1))
    assert (first.number, second.number) == (0, 1)
    assert first.gradients == second.gradients, "their process ids"


def test_what_happens_once_costs_no_row(isolated: Made) -> None:
    assert outcome(isolated({7: "once"}, attempts=2).attribute(shard())) == (ROWS, 0, {})
    assert outcome(isolated({7: "once"}, attempts=1).attribute(shard())) == (ROWS, 0, {})


def test_what_dead_processes_left_is_removed_while_the_run_goes_on(isolated: Made, tmp_path: pathlib.Path) -> None:
    left = tmp_path / "out/_scratch" / f"{own_folder.SCRATCH}of-a-dead-one"
    left.mkdir(parents=True)
    (left / "part").write_bytes(b"half of it")
    os.utime(left, (time.time() - 2 * own_folder.GRACE_S,) * 2)
    used = own_folder.OwnFolder(left.parent, own_folder.SCRATCH)
    os.utime(used.path, (time.time() - 2 * own_folder.GRACE_S,) * 2)
    isolated({7: "abort"}).attribute(shard())
    assert [*left.parent.iterdir()] == [used.path]


def test_where_no_row_is_to_blame_alone_the_shard_is_refused(isolated: Made) -> None:
    found = isolated({("attribute", 7): "abort"}).attribute(shard())
    assert outcome(found) == (0, ROWS, {"E_POISON_CRASH": ROWS})


def test_too_many_culprits_cost_the_shard(isolated: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.isolation.shards.MOST_CULPRITS", 1)
    found = isolated(dict.fromkeys((1, 9), "abort")).attribute(shard())
    assert outcome(found) == (0, ROWS, {"E_POISON_CRASH": ROWS})


def test_a_process_that_does_not_even_start_ends_the_run(isolated: Made) -> None:
    with pytest.raises(AttribeamError, match=r"E_ISOLATED_START: .*a rows 0 to 11.*died of SIGABRT"):
        isolated({"start": "abort"}, attempts=2).attribute(shard())


def test_errors_are_those_of_a_run_without_isolation(isolated: Made) -> None:
    shards = isolated({3: "refuse"})
    with pytest.raises(UsageError, match="E_TEST: not this one"):
        shards.attribute(shard())
    assert shards.attribute(shard(3)).rows == 3, "a new process"
    with pytest.raises(RuntimeError, match="OSError: no space left on device"):
        isolated({3: "raise"}).attribute(shard())


def test_the_launchers_trial_leaves_poison_to_the_run(isolated: Made, caplog: Any) -> None:
    isolated({0: "segfault"}).try_one_batch(shard())
    assert "the first rows of a" in caplog.text
    with pytest.raises(UsageError, match="E_TEST"):
        isolated({0: "refuse"}).try_one_batch(shard())
