"""Clocks and tallies: what is counted once is counted once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from transforms.runs.work_done import Clocks, ShardResult, Stopwatch, Tally, WorkDone

PAUSE_S = 0.02


def test_the_time_in_which_items_are_made_counts_and_no_other() -> None:
    watch = Stopwatch()

    def items() -> object:
        for number in range(3):
            time.sleep(PAUSE_S)
            yield number

    found, used = [], 0.0
    for item in watch.timed(items()):  # type: ignore[arg-type]
        found.append(item)
        started = time.monotonic()
        time.sleep(5 * PAUSE_S)
        used += time.monotonic() - started
    assert found == [0, 1, 2]
    assert watch.seconds >= 3 * PAUSE_S
    with watch.running():
        pass
    whole = Stopwatch()
    with whole.running():
        list(watch.timed([1]))
    assert whole.seconds >= 0


def test_an_error_is_handed_on_and_its_time_counts() -> None:
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch.running():
        time.sleep(PAUSE_S)
        _ = 1 / 0
    assert watch.seconds >= PAUSE_S


def test_waiting_for_rows_is_not_computing() -> None:
    clocks = Clocks()
    clocks.reading.seconds, clocks.explaining.seconds = 1.0, 5.0
    clocks.waiting.seconds, clocks.writing.seconds = 2.0, 0.5
    assert clocks.seconds == (1.0, 3.0, 0.5)


def test_growth_is_handed_out_once_whoever_asks() -> None:
    tally = Tally()
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(tally.take, range(1, 1001)))
    assert sum(taken) == 1000 and min(taken) >= 0
    assert tally.take(1000) == 0


def test_work_adds_up_but_memory_does_not() -> None:
    first = ShardResult(0, 9, 1, True, 2.0, 100, 3, 72, {"E_LABEL_DTYPE": 1}, 0.5, 1.0, 0.25, 2)
    second = ShardResult(1, 9, 0, True, 2.0, 90, 0, 72, {}, 0.5, 1.0, 0.25, 0)
    total = sum(map(WorkDone.of, (first, second)), WorkDone())
    assert total == WorkDone(2, 100, 3, 1.0, 2.0, 0.5, 2)
