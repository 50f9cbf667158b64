"""Memory in large pages, for what is read from end to end: there are fewer addresses to look up.

Filters of a picture are hundreds of megabytes, which are read once each. docs/performance.md says what that brings.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import weakref
from contextlib import suppress

import torch
from torch import Tensor

_LARGE = 2 << 20  # bytes
_SPARE = 96 << 20
_spare: list[mmap.mmap] = []


def large(*shape: int) -> Tensor:
    """Float32 numbers of this shape with anything in them; in pages of 2 MiB where the system has those on demand.

    Memory that was given up lately is taken again: filters that change with every step need as much each time.
    """
    floats = math.prod(shape)
    if 4 * floats < _LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=torch.float32, device="cpu")
    memory = _spare_of(4 * floats + _LARGE) or _new(4 * floats + _LARGE)  # so much more that it can begin with a page
    lent = (ctypes.c_char * len(memory)).from_buffer(memory)
    # The tensor holds it, and nothing else does.
    weakref.finalize(lent, _give_up, memory).atexit = False
    start = -ctypes.addressof(lent) % _LARGE
    return torch.frombuffer(lent, dtype=torch.float32, count=floats, offset=start).reshape(shape)


def _new(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # of a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


# No lock: memory is given up wherever Python happens to be, in `_spare_of` too. Each change of the list is one step.


def _spare_of(size: int) -> mmap.mmap | None:
    for memory in tuple(_spare):
        if len(memory) == size:
            with suppress(ValueError):  # another thread was first
                _spare.remove(memory)
                return memory
    return None


def _give_up(memory: mmap.mmap) -> None:
    if len(memory) > _SPARE:
        return
    _spare.append(memory)
    while sum(map(len, tuple(_spare))) > _SPARE:
        with suppress(IndexError):
            _spare.pop(0)
