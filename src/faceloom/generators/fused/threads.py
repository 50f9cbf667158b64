"""How compiled tasks are shared among the threads that PyTorch uses, each with a workspace of its own."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

from faceloom.generators.fused.pages import large
from faceloom.parallel import pieces_of

_local = threading.local()
_ALIGNMENT = 64
_WORTH_WAKING = 12_000_000  # multiplications: a thread that sleeps takes a tenth of a millisecond to begin
MOVED = 16
"""What it costs to read, change and write a number, in multiplications."""


def kept(name: str, floats: int) -> Tensor:
    """This thread's own memory of so many floats (floats,), with anything in them; kept for the next time."""
    held: dict[str, Tensor] = _local.__dict__.setdefault("held", {})
    if name not in held or held[name].numel() < floats:
        held[name] = large(floats)
    return held[name][:floats]


def address(numbers: Tensor, index: int) -> int:
    """Of the part `index` along the first dimension; quicker than to have it made."""
    return numbers.data_ptr() + numbers.element_size() * index * numbers.stride(0)


def workspace(floats: int) -> int:
    """Address of this thread's own memory of at least so many floats for a task, on a cache line."""
    place = kept("task", floats + _ALIGNMENT // 4).data_ptr()
    return place + -place % _ALIGNMENT


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
