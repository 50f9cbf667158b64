"""The 3x3 convolution that keeps the size, by F(4x4, 3x3), in plain PyTorch.

A tile of four by four outputs takes 36 products for each pair of channels, where direct computation takes 144. What it
costs besides, 36 values a tile in and out, pays on a CPU where there are many channels for each of them.

Source: Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 3 and 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from faceloom.generators.derived import derived, wants_gradients

# Points 0, 1, -1, 2, -2 and infinity. Rows of FILTERS are points, columns taps; then samples to points, and points to
# outputs.
FILTERS = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_LINE = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_BACK = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)
# The same for squares, row by row.
_INTO_POINTS, _OUT_OF_POINTS = np.kron(_LINE, _LINE), np.kron(_BACK, _BACK)
_LEAST_CHANNELS, _LEAST_PIXELS = 256, 16 * 16
_STRIP = 6 << 20  # floats at the points, before and after the products, that are had at a time


def pays(x: Tensor, weight: Tensor) -> bool:
    """Whether `convolve` is faster than PyTorch's own for (N, I, H, W) and filters (O, I, K, K) that want no gradients.

    Only in float32: half precision is too coarse for it, and in float64 the direct computation is what others are held
    to.
    """
    usable = x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and weight.shape[2:] == (3, 3)
    if not usable or wants_gradients(weight):
        return False
    return min(weight.shape[:2]) >= _LEAST_CHANNELS and x.shape[2] * x.shape[3] >= _LEAST_PIXELS


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution of (N, I, H, W) with (O, I, 3, 3), zeros beyond the edges; (N, O, H, W), channels last.

    Float32 on a CPU; differentiable. The filters' transform is kept, as `derived` says.
    """
    count, inputs, height, width = x.shape
    packed = derived(weight, "winograd", _pack)
    outputs = packed.shape[2]
    down, across = math.ceil(height / 4), math.ceil(width / 4)
    maps = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 4 * across - width + 1, 1, 4 * down - height + 1))
    into, out_of = torch.from_numpy(_INTO_POINTS), torch.from_numpy(_OUT_OF_POINTS)
    rows = max(1, _STRIP // (36 * count * across * (inputs + outputs)))
    strips = []
    for top in range(0, down, rows):
        high = min(rows, down - top)
        windows = maps[:, 4 * top : 4 * (top + high) + 2].unfold(1, 6, 4).unfold(2, 6, 4)
        samples = into @ windows.permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
        products = torch.bmm(samples.reshape(36, -1, inputs), packed)
        tiles = (out_of @ products.reshape(36, -1)).reshape(4, 4, count, high, across, outputs)
        strips.append(tiles.permute(2, 3, 0, 4, 1, 5).reshape(count, 4 * high, 4 * across, outputs))
    return torch.cat(strips, dim=1)[:, :height, :width].permute(0, 3, 1, 2)


def at_points(weight: Tensor, points: np.ndarray[Any, np.dtype[np.float64]]) -> Tensor:
    """Filters (O, I, 3, 3) at points of both dimensions, (36, O, I); `points` is (6, 3), as `FILTERS` is."""
    squares = torch.from_numpy(np.kron(points, points)).to(torch.float32)
    return (squares @ weight.reshape(-1, 9).t()).reshape(36, *weight.shape[:2])


def _pack(weight: Tensor) -> Tensor:
    """Filters (O, I, 3, 3) as (36, I, O)."""
    return at_points(weight, FILTERS).transpose(1, 2).contiguous()
