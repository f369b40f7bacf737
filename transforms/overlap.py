"""Reading ahead, writing behind, and side by side: what waits for files runs in threads."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

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
