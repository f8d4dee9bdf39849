"""Calls that run ahead of the consumer, who gets their results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def run_ahead(
    calls: Iterable[tuple[int, Callable[[], T]]], *, threads: int, ahead: int, name: str
) -> Iterator[T]:
    """Make calls in threads, yielding their results in order; few are held at a time.

    Each call comes with the size of its result. It is taken from `calls` once there is room: the
    results that wait or are on their way have a size of `ahead` in all, or there is only one.
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
