"""Ahead, behind, in turn and side by side: the same items, calls and errors as without, in their order, few at once."""

import threading

import pytest

from transforms.overlap import ahead, behind, side_by_side

WAIT_S = 30  # for another thread, that comes at once unless something is broken


def named(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_items_come_all_and_in_order(depth, count):
    assert list(ahead(iter(range(count)), depth)) == list(range(count))
    assert list(ahead(range(count), depth)) == list(range(count))
    assert not named("ahead")


class Reader:
    """Counts what was read, and says so."""

    def __init__(self, count, fails_at=None):
        self.read, self.closed, self._count, self._fails_at = 0, False, count, fails_at
        self._news = threading.Condition()

    def __iter__(self):
        try:
            for number in range(self._count):
                if number == self._fails_at:
                    raise OSError("a bad page")
                with self._news:
                    self.read += 1
                    self._news.notify_all()
                yield number
        finally:
            self.closed = True

    def until(self, read):
        with self._news:
            return self._news.wait_for(lambda: self.read >= read, WAIT_S)


@pytest.mark.parametrize("depth", [1, 3])
def test_so_many_are_read_ahead_and_no_more(depth):
    reader = Reader(20)
    items = ahead(reader, depth)
    assert reader.read == 0
    for number in range(20):
        assert next(items) == number
        most = min(20, number + 1 + depth)
        assert reader.until(most), "nothing is read while somebody works on the item before"
        assert reader.read == most


@pytest.mark.parametrize("position", [0, 1, 4])
def test_an_error_comes_where_its_item_would_have_come(position):
    reader, found = Reader(9, fails_at=position), []
    with pytest.raises(OSError, match="a bad page"):
        for item in ahead(reader, 3):
            found.append(item)
    assert found == list(range(position))
    assert reader.read == position and not named("ahead")


@pytest.mark.parametrize("taken", [1, 3])
def test_who_stops_early_leaves_no_thread_and_no_open_reader(taken):
    reader = Reader(1000)
    items = ahead(reader, 2)
    for _ in range(taken):
        next(items)
    items.close()
    assert reader.closed and not named("ahead")
    assert reader.read <= taken + 2


def test_it_is_read_in_another_thread():
    def where():
        yield threading.get_ident()

    assert list(ahead(where(), 1)) != [threading.get_ident()]


def test_calls_are_made_all_and_in_order():
    made = []
    with behind(lambda *arguments: made.append((arguments, threading.get_ident())), 2) as later:
        for number in range(50):
            later(number, str(number))
    assert [arguments for arguments, _ in made] == [(number, str(number)) for number in range(50)]
    assert {ident for _, ident in made} != {threading.get_ident()} and len({ident for _, ident in made}) == 1
    assert not named("behind")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_so_many_calls_wait_and_no_more(depth):
    go, accepted, made = threading.Semaphore(0), [], []

    def slow(number):
        go.acquire(timeout=WAIT_S)
        made.append(number)

    def caller():
        with behind(slow, depth) as later:
            for number in range(10):
                later(number)
                accepted.append(number)

    thread = threading.Thread(target=caller)
    thread.start()
    for number in range(10):
        # whoever calls is held up only by the call `depth` before
        assert len(accepted) <= len(made) + depth + 1
        assert made == list(range(number))
        go.release()
        while len(made) == number and thread.is_alive():
            thread.join(0.001)
    thread.join(WAIT_S)
    assert made == accepted == list(range(10))


@pytest.mark.parametrize("position", [0, 1, 5, 8, 9])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_an_error_is_raised_and_nothing_is_called_after_it(position, depth):
    made, accepted = [], []

    def fails(number):
        made.append(number)
        if number == position:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), behind(fails, depth) as later:
        for number in range(10):
            later(number)
            accepted.append(number)
    assert made == list(range(position + 1))
    assert len(accepted) <= position + 1 + depth
    assert not named("behind")


def test_what_waits_is_not_called_once_the_caller_failed():
    go, made = threading.Event(), []

    def slow(number):
        go.wait(WAIT_S)
        made.append(number)

    def fails():
        with behind(slow, 3) as later:
            for number in range(3):
                later(number)
            threading.Timer(0.2, go.set).start()
            raise ValueError("the caller")

    with pytest.raises(ValueError, match="the caller"):
        fails()
    # the one under way is waited for; it may be that none was yet
    assert made in ([], [0])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 50])
def test_results_come_all_and_in_order(threads, count):
    assert list(side_by_side(lambda number: -number, range(count), threads)) == [-number for number in range(count)]
    assert not named("side by side")


def test_so_many_calls_are_made_at_once_and_few_items_are_held():
    together, taken = threading.Barrier(3), []

    def items():
        for number in range(30):
            taken.append(number)
            yield number

    def meet(number):
        together.wait(WAIT_S)  # breaks unless three are here
        return number

    for number in side_by_side(meet, items(), 3):
        assert len(taken) <= number + 1 + 2 * 3


def test_an_error_comes_where_its_result_would_have_come():
    called, found = [], []

    def fails(number):
        called.append(number)
        if number == 4:
            raise OSError("a bad page")
        return number

    with pytest.raises(OSError, match="a bad page"):
        found.extend(side_by_side(fails, range(1000), 2))
    assert max(called) <= 4 + 2 * 2 and not named("side by side")
