"""`Batching`: the batch size that is found while the work is done, with a clock and a memory of the tests' own."""

import types

import numpy as np
import pytest
import tensorflow as tf

from transforms.attribution.engine import batching
from transforms.attribution.engine.batching import (
    GAIN,
    MAX_POINTS,
    PATIENCE,
    ROUNDS,
    Batching,
    first_points,
    is_out_of_memory,
)


@pytest.fixture
def machine(monkeypatch):
    """A machine with a clock that stands still between calls, and its memory, in bytes."""
    found = types.SimpleNamespace(now=0.0, peak=0, free=np.inf)
    monkeypatch.setattr(batching.time, "perf_counter", lambda: found.now)
    monkeypatch.setattr(batching, "peak_memory_bytes", lambda: found.peak)
    monkeypatch.setattr(batching, "free_memory_bytes", lambda: found.free)
    return found


def work(machine, sizes, seconds, calls=100, points=None):
    """Calls of the size of the moment; `seconds` by size. Every size that there was, in order, each once."""
    seen = [sizes.points]
    for _ in range(calls):
        size = points(sizes.points) if points else sizes.points
        with sizes.call(size):
            machine.now += seconds(size)
        if sizes.points != seen[-1]:
            seen.append(sizes.points)
    return seen


def saturating(best):
    """Seconds of a call on a machine whose rate grows up to `best` points and stays there."""
    return lambda points: max(points, best) * 1e-3


def test_it_doubles_until_the_rate_stops_rising(machine):
    seen = work(machine, Batching(16, tuned=True), saturating(128))
    # patience: three more sizes without a gain, then the best and those four times more, in turn
    assert (PATIENCE, ROUNDS) == (3, 4)
    assert seen == [16, 32, 64, 128, 256, 512, 1024, *[128, 256, 512, 1024] * 4, 128]


def test_a_dip_is_forgiven_when_the_next_size_is_better(machine):
    dip = {8: 1.0, 16: 2.0, 32: 1.5, 64: 4.0, 128: 3.0, 256: 2.0, 512: 1.0}
    seen = work(machine, Batching(8, tuned=True), lambda points: points / dip[points] / 10)
    assert seen == [8, 16, 32, 64, 128, 256, 512, *[64, 128, 256, 512] * 4, 64]


def test_a_size_that_something_else_slowed_gets_a_second_look(machine):
    measured = []

    def seconds(points):
        measured.append(points)
        slowed = points >= 128 and measured.count(points) <= 2  # its first window: one call warms up
        return saturating(256)(points) * (9 if slowed else 1)

    assert work(machine, Batching(16, tuned=True), seconds)[-1] == 256


def test_a_size_that_was_lucky_once_is_not_kept(machine):
    measured = []

    def seconds(points):
        measured.append(points)
        lucky = points == 64 and measured.count(points) <= 2
        return saturating(256)(points) / (9 if lucky else 1)

    assert work(machine, Batching(16, tuned=True), seconds)[-1] == 256


@pytest.mark.parametrize(("gain", "best"), [(GAIN + 0.01, 64), (GAIN - 0.01, 16)])
def test_a_gain_within_the_noise_is_none(machine, gain, best):
    rates = {16: 1.0, 32: gain, 64: gain**2 if gain > GAIN else gain}
    seen = work(machine, Batching(16, tuned=True), lambda points: points / rates.get(points, 0.5) / 10)
    assert seen[-1] == best


def test_what_is_found_is_kept(machine):
    sizes = Batching(16, tuned=True)
    work(machine, sizes, saturating(64))
    assert work(machine, sizes, lambda points: 1 / points) == [64]


@pytest.mark.parametrize("first", [3, 64, 2500, MAX_POINTS])
def test_it_never_grows_beyond_the_most(machine, first):
    seen = work(machine, Batching(first, tuned=True), lambda points: 1.0)  # the more, the faster
    assert seen[-1] == max(seen) <= MAX_POINTS < 2 * seen[-1]


@pytest.mark.parametrize(("free", "best"), [(np.inf, MAX_POINTS), (8_000, 64), (7_999, 32)])
def test_it_leaves_memory_to_others(machine, free, best):
    machine.free, machine.peak = free, 1000

    def seconds(points):
        machine.peak = max(machine.peak, 1000 * points // 16)
        return 1.0  # the more points, the faster

    # 32 points take 1,000 bytes that 16 did not; 64 would take 2,000 more: a quarter of 8,000
    assert work(machine, Batching(16, tuned=True), seconds)[-1] == best


def test_the_first_call_of_a_size_is_not_measured(machine):
    sizes, warm = Batching(16, tuned=True), set()

    def seconds(points):
        slow = points not in warm
        warm.add(points)
        return 100.0 if slow else max(points, 64) * 1e-2

    assert work(machine, sizes, seconds) == [16, 32, 64, 128, 256, 512, *[64, 128, 256, 512] * 4, 64]


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_tails_are_ignored(machine, share):
    # calls of half a size or less: of nothing else, nothing can be learned
    sizes = Batching(16, tuned=True)
    assert work(machine, sizes, saturating(64), points=lambda size: int(size * share)) == [16]


def test_time_between_the_calls_does_not_count(machine):
    sizes = Batching(16, tuned=True)
    seen = [16]
    for _ in range(100):
        machine.now += 7.0 if sizes.points > 16 else 0.0  # a slow reader
        seen += work(machine, sizes, saturating(64), calls=1)
    assert list(dict.fromkeys(seen)) == [16, 32, 64, 128, 256, 512] and sizes.points == 64


@pytest.mark.parametrize("seconds", [1e-9, 1.0, 50.0])
def test_a_size_that_was_given_stays(machine, seconds):
    assert work(machine, Batching(12, tuned=False), lambda points: seconds) == [12]


def oom(message="out of memory"):
    return tf.errors.ResourceExhaustedError(None, None, message)


def test_what_did_not_fit_is_halved_remembered_and_counted(machine):
    sizes = Batching(64, tuned=True)
    sizes.ran_out(64, oom())
    sizes.ran_out(64, oom())  # another thread's call, of the size before: no reason for a quarter
    assert sizes.points == 32
    assert work(machine, sizes, lambda points: 1 / points) == [32]
    assert (sizes.take_out_of_memory(), sizes.take_out_of_memory()) == (2, 0)
    for _ in range(9):
        sizes.ran_out(sizes.points, oom())
    assert sizes.points == 1


def test_a_failed_call_is_over(machine):
    sizes = Batching(64, tuned=True)
    with pytest.raises(tf.errors.ResourceExhaustedError), sizes.call(64):
        machine.now += 100.0
        raise oom()
    sizes.ran_out(64, oom())
    assert work(machine, sizes, saturating(64)) == [32]


FACES = [
    oom(),
    tf.errors.InternalError(None, None, "Dst tensor is not initialized."),
    tf.errors.InternalError(None, None, "Out of memory while trying to allocate 123 bytes."),
    tf.errors.UnknownError(None, None, "Out of memory while trying to allocate 123 bytes."),
    MemoryError(),
]
OTHERS = [
    tf.errors.InternalError(None, None, "Blas GEMM launch failed"),
    tf.errors.InvalidArgumentError(None, None, "Incompatible shapes"),
    ValueError("Out of memory while trying to allocate 123 bytes."),
]


@pytest.mark.parametrize("error", FACES, ids=str)
def test_every_face_of_short_memory_is_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_another_error_is_raised_as_it_is(machine, error):
    sizes = Batching(64, tuned=True)
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)) as raised:
        sizes.ran_out(64, error)
    assert raised.value is error
    assert (sizes.points, sizes.take_out_of_memory()) == (64, 0)


@pytest.mark.parametrize(("values", "points"), [(1, 64), (2**12, 64), (2**14, 16), (2**16, 4), (2**30, 4), (0, 64)])
def test_the_first_points_take_about_a_megabyte(values, points):
    assert first_points(values) == points
