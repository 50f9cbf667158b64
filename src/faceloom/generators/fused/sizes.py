"""How much is done at a time: what the cache holds, evenly for all threads; and what a layer does besides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from faceloom.generators.fused.packing import padded
from faceloom.generators.fused.products import ROWS

# Bytes, for processors with some 512 KiB of L2 cache for each core and 8 MiB of L3.
_L3 = 8 << 20
_LEAST_BLOCK, _MOST_BLOCK = 1 << 18, 20 << 20
_LEAST_HELD = 1 << 20
_BAND = 40 << 20  # more than a cache: waiting for each other at its end costs threads more
_STREAMED = 24 << 20
_TASKS = 8  # of each thread: calls from Python cost, and what takes longest is waited for
_UNBOUNDED = 3.0e38


@dataclass(frozen=True)
class Activation:
    """What follows the convolution.

    Attributes:
        slope: of the leaky ReLU for negative values.
        clamp: bound on the magnitude of the outcome; None for none.
        noise_gain: factor of the noise.
        taps: (4,) low-pass filter along one dimension, as correlation, gain included, where the layer doubles the size.
    """

    slope: float
    clamp: float | None
    noise_gain: float
    taps: Tensor | None

    @property
    def bound(self) -> float:
        """The clamp as a number."""
        return _UNBOUNDED if self.clamp is None else self.clamp


def blocks(count: int, depth: int, columns: int, planes: int, threads: int) -> tuple[int, int]:
    """Tiles at a time, which the cache holds, and tiles of a task, of which all threads have about as many.

    Filters stream through the cache once for each block, so the more of them, the larger the block; even more so where
    they come from memory each time.
    """
    filters = _filter_bytes(depth, columns)
    held = min(max(filters * (3 if filters < _L3 else 7) // 10, _LEAST_BLOCK), _MOST_BLOCK)
    rounds = math.ceil(count * 4 * planes * (depth + columns) / (held * threads))
    # A lone block is cut finer, so that threads have alike: any even number of rows is made without waste.
    block = padded(math.ceil(count / (rounds * threads)), ROWS if rounds > 1 else 2)
    return block, block * max(1, rounds // _TASKS)


def held_tiles(count: int, depth: int, columns: int) -> int:
    """Tiles at a time where samples and gradients at points are both kept, and added to sums (36, depth, columns).

    The more of them, the less often sums come and go.
    """
    room = min(max(_LEAST_HELD, 2 * _filter_bytes(depth, columns)), _MOST_BLOCK)
    parts = math.ceil(count * 4 * 36 * (depth + columns) / room)
    return math.ceil(count / parts)


def band_rows(rows: int, row_bytes: int) -> int:
    """Rows of tiles in a band, in bands of about equal size."""
    bands = math.ceil(rows / max(1, _BAND // row_bytes))
    return math.ceil(rows / bands)


def _filter_bytes(depth: int, columns: int) -> int:
    return 4 * 36 * depth * columns


def empty_maps(count: int, channels: int, height: int, width: int) -> Tensor:
    """Feature maps with anything in them, channels last."""
    return torch.empty((count, channels, height, width), memory_format=torch.channels_last)


def streams(y: Tensor) -> bool:
    """Whether maps are written past the caches: none will hold them, and reading them before writing takes time."""
    return y.nbytes >= _STREAMED and y.data_ptr() % 32 == 0
