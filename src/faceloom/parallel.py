"""Tasks on several threads of this process, for work that lets go of Python's lock."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def pieces_of(count: int, grain: int) -> list[tuple[int, int]]:
    """First and last of the pieces of `grain` of range(count)."""
    return [(start, min(start + grain, count)) for start in range(0, count, grain)]


def in_parallel(task: Callable[[int, int, int], None], pieces: Sequence[tuple[int, int]], threads: int) -> None:
    """Call task(number, first, last) for these pieces, numbered from 0, on so many threads, this one among them."""
    threads = min(threads, len(pieces))
    numbers, taking = itertools.count(), threading.Lock()

    def work() -> None:
        while True:
            with taking:
                number = next(numbers)
            if number >= len(pieces):
                return
            task(number, *pieces[number])

    waiting = [_workers().submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for future in waiting:
            future.result()


def _workers() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="faceloom")
        return _pool


def _forget() -> None:
    """Threads do not survive a fork."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
