"""Calls that run ahead of whoever takes their results, in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_ahead(
    calls: Iterable[tuple[int, Callable[[], T]]], *, threads: int, ahead: int, name: str
) -> Iterator[T]:
    """Make calls in threads, yielding their results in order; few are held at a time.

    Args:
        calls: how much each holds once it is done, and the call; taken when there is room for it.
        threads: how many calls run at once.
        ahead: how much is begun before it is asked for, in the units of `calls`.
        name: of the threads.
    """
    waiting = iter(calls)
    begun: deque[tuple[int, Future[T]]] = deque()
    held = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        following = next(waiting, None)
        while begun or following:
            while following and (not begun or held + following[0] <= ahead):
                size, call = following
                begun.append((size, pool.submit(call)))
                held += size
                following = next(waiting, None)
            size, result = begun.popleft()
            yield result.result()
            held -= size
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
