"""Reading ahead, writing behind, and side by side: what waits for files runs in threads."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")
_END: Any = object()


def ahead(items: Iterable[Item], depth: int) -> Iterator[Item]:
    """The items in their order, made in a thread of their own, at most `depth` before they are asked for.

    An exception comes where its item would have come.
    """
    iterator = (item for item in items)
    pool = ThreadPoolExecutor(1, "ahead")
    try:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        iterator.close()


@contextlib.contextmanager
def behind(function: Callable[..., Any], depth: int) -> Iterator[Callable[..., None]]:
    """A function that does its work later, in a thread of its own, call after call; `depth` calls may wait.

    An exception comes from one of the next calls, or when the `with` block is left; nothing is called after it.
    """
    waiting, failed = deque[Future[Any]](), threading.Event()

    def call(*arguments: Any) -> None:
        if failed.is_set():
            return
        try:
            function(*arguments)
        except BaseException:
            failed.set()  # at once: the next call waits already
            raise

    with ThreadPoolExecutor(1, "behind") as pool:

        def later(*arguments: Any) -> None:
            if len(waiting) == depth:
                waiting.popleft().result()
            waiting.append(pool.submit(call, *arguments))

        try:
            yield later
            for future in waiting:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class InTurn(Generic[Found, Item]):
    """So many of something, each fed in a thread of its own. The items go to them in turn, so that what one is fed does
    not depend on the clock.

    Args:
        make: one of them, when it is needed first.
        feed: an item to one of them.
    """

    def __init__(self, make: Callable[[], Found], feed: Callable[[Found, Item], None], count: int) -> None:
        self._make, self._feed, self._count = make, feed, count
        self._found, self._threads = list[Found](), deque[Callable[[Item], None]]()
        self._ends = contextlib.ExitStack()

    def add(self, item: Item) -> None:
        """Feed the next one; an exception of an earlier item may come here."""
        if len(self._found) < self._count:
            self._found.append(self._make())
            feed = functools.partial(self._feed, self._found[-1])
            self._threads.append(self._ends.enter_context(behind(feed, 1)))
        else:
            self._threads.rotate(-1)
        self._threads[-1](item)

    def finish(self) -> list[Found]:
        """All of them, once they have been fed all."""
        self._ends.close()
        return self._found


def side_by_side(function: Callable[[Item], Found], items: Iterable[Item], threads: int) -> Iterator[Found]:
    """Like `map`, with so many calls at once; of neither the items nor the results are more than a few held.

    An exception comes where its result would have come; nothing new is called after it.
    """
    pool, waiting = ThreadPoolExecutor(threads, "side by side"), deque[Future[Found]]()
    try:
        for item in items:
            if len(waiting) == 2 * threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
