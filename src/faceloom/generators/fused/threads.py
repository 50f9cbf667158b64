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
_WORTH_WAKING = 12_000_000  # multiplications: a thread that sleeps takes a tenth of a millisecond to begin
MOVED = 16
"""What it costs to read, change and write a number, in multiplications."""


def kept(name: str, floats: int) -> Tensor:
    """This thread's own memory of so many floats (floats,), with anything in them; kept for the next time."""
    held: dict[str, Tensor] = _local.__dict__.setdefault("held", {})
    if name not in held or held[name].numel() < floats:
        held[name] = torch.empty(floats, dtype=torch.float32, device="cpu")
    return held[name][:floats]


def workspace(floats: int) -> int:
    """Address of this thread's own memory of at least so many floats for a task, on a cache line."""
    address = kept("task", floats + _ALIGNMENT // 4).data_ptr()
    return address + -address % _ALIGNMENT


def pieces_of(count: int, grain: int) -> list[tuple[int, int]]:
    """First and last of the pieces of `grain` of range(count)."""
    return [(start, min(start + grain, count)) for start in range(0, count, grain)]


def useful_threads(work: float) -> int:
    """How many threads are worth waking for so many multiplications: at most as many as PyTorch uses."""
    return max(1, min(torch.get_num_threads(), int(work / _WORTH_WAKING)))


def even_pieces(count: int, grain: int, threads: int) -> list[tuple[int, int]]:
    """The same, but what does not go round all threads is cut once more, so that none of them waits for the others.

    One thread has one piece: every call costs.
    """
    if threads == 1:
        return pieces_of(count, max(1, count))
    even = count - count % (grain * threads)
    tail = pieces_of(count - even, max(1, math.ceil((count - even) / threads)))
    return pieces_of(even, grain) + [(even + first, even + last) for first, last in tail]


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
