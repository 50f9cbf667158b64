"""Compiled tasks on as many threads as PyTorch uses, each with a workspace of its own."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_pool: ThreadPoolExecutor | None = None
_lock = threading.Lock()
_local = threading.local()
_ALIGNMENT = 64


def workspace(floats: int) -> int:
    """Address of this thread's own memory of at least so many floats, on a cache line; kept for the next time."""
    held: Tensor | None = getattr(_local, "work", None)
    if held is None or held.numel() < floats + _ALIGNMENT // 4:
        held = torch.empty(floats + _ALIGNMENT // 4, dtype=torch.float32, device="cpu")
        _local.work = held
    return held.data_ptr() + -held.data_ptr() % _ALIGNMENT


def pieces_of(count: int, grain: int) -> list[tuple[int, int]]:
    """First and last of the pieces of `grain` of range(count)."""
    return [(start, min(start + grain, count)) for start in range(0, count, grain)]


def even_pieces(count: int, grain: int) -> list[tuple[int, int]]:
    """The same, but what does not go round all threads is cut once more, so that none of them waits for the others."""
    threads = torch.get_num_threads()
    even = count - count % (grain * threads)
    tail = pieces_of(count - even, max(1, math.ceil((count - even) / threads)))
    return pieces_of(even, grain) + [(even + first, even + last) for first, last in tail]


def in_parallel(task: Callable[[int, int, int], None], pieces: Sequence[tuple[int, int]]) -> None:
    """Call task(number, first, last) for these pieces, numbered from 0, on all threads."""
    threads = min(torch.get_num_threads(), len(pieces))
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
