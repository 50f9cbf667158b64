"""Filters in the form that the compiled convolutions read, made once for each state of a weight."""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from faceloom.generators.derived import derived
from faceloom.generators.fused.lanes import (
    compiled,
    fma,
    inlined,
    load,
    load_float,
    multiply,
    spread,
    store,
    store_float,
)
from faceloom.generators.fused.pages import large
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.threads import MOVED, even_pieces, useful_threads, workspace
from faceloom.generators.fused.tiles import TOOM_DOWN, TOOM_UP
from faceloom.generators.winograd import FILTERS
from faceloom.parallel import in_parallel

LANES = 8
_DEPTH = 16  # filters deep at a time


def padded(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def forward_filters(weight: Tensor, *, up: bool) -> Tensor:
    """Filters (O, I, 3, 3) as (36, O / 16, I, 16), O and I rounded up, with zeros; `up` for the transposed ones."""
    if up:
        return derived(weight, "fused up", lambda plain: _pack(plain, TOOM_UP))
    return derived(weight, "fused same", lambda plain: _pack(plain, FILTERS))


def backward_filters(weight: Tensor, *, up: bool) -> Tensor:
    """The same for the gradient of the input: (36, I / 16, O, 16)."""
    if up:
        return derived(weight, "fused up back", lambda plain: _pack(plain, TOOM_DOWN, back=True))
    # Upside down and mirrored.
    return derived(weight, "fused same back", lambda plain: _pack(plain, FILTERS[:, ::-1], back=True))


def few_filters(weight: Tensor) -> Tensor:
    """Filters (O, I, 3, 3) as (O / 16, 9, I, 16), O and I rounded up, with zeros."""
    return derived(weight, "fused few", _pack_taps)


def _pack_taps(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    rows, depth = padded(outputs, COLUMNS), padded(inputs, LANES)
    weight = functional.pad(weight, (0, 0, 0, 0, 0, depth - inputs, 0, rows - outputs))
    return large(rows // COLUMNS, 9, depth, COLUMNS).copy_(weight.reshape(-1, COLUMNS, depth, 9).permute(0, 3, 2, 1))


def _pack(weight: Tensor, points: np.ndarray[Any, np.dtype[np.float64]], *, back: bool = False) -> Tensor:
    """Filters at points of both dimensions, (36, O / 16, I, 16); with `back` (36, I / 16, O, 16), for the way back."""
    weight = weight.contiguous()
    rows, depth = weight.shape[:2][::-1] if back else weight.shape[:2]
    steps = (9, 9 * weight.shape[1]) if back else (9 * weight.shape[1], 9)
    panels, deep = padded(rows, COLUMNS) // COLUMNS, padded(depth, LANES)
    packed = large(36, panels, deep, COLUMNS)
    factors = np.ascontiguousarray(points, np.float32)

    def task(number: int, first: int, last: int) -> None:
        filters_at_points(
            weight.data_ptr(), packed.data_ptr(), factors.ctypes.data, rows, depth, *steps, panels, deep,
            workspace(9 * COLUMNS * _DEPTH), first, last,
        )  # fmt: skip

    threads = useful_threads(MOVED * packed.numel())
    in_parallel(task, even_pieces(panels, math.ceil(panels / (4 * threads)), threads), threads)
    return packed


@compiled
def filters_at_points(
    weight: int, packed: int, points: int, rows: int, depth: int, row_step: int, depth_step: int, panels: int,
    deep: int, work: int, first: int, last: int,
) -> None:  # fmt: skip
    """Panels `first` to `last` of filters at points of both dimensions.

    Args:
        weight: address of the filters, nine floats each.
        packed: of (36, panels, deep, 16).
        points: of (6, 3) factors: what each tap of a dimension counts at each point.
        rows, depth: how many filters there are each way; beyond them are zeros.
        row_step, depth_step: floats from one to the next.
        panels, deep: `rows` in sixteens, and `depth` rounded up.
        work: address of 144 floats for each of `_DEPTH` filters.
        first, last: which panels.
    """
    plane = panels * deep * 16
    for panel in range(first, last):
        for start in range(0, deep, _DEPTH):
            end = min(start + _DEPTH, deep)
            for lane in range(16):
                row = 16 * panel + lane
                for k in range(start, end):
                    place, source = 144 * (k - start) + lane, row * row_step + k * depth_step
                    inside = row < rows and k < depth
                    for tap in range(9):
                        value = load_float(weight, source + tap) if inside else np.float32(0)
                        store_float(work, place + 16 * tap, value)
            # Six planes at a time: they lie at distances that drive each other out of the cache.
            for i in range(6):
                for k in range(start, end):
                    for half in range(0, 16, 8):
                        taps = work + 4 * (144 * (k - start) + half)
                        left = _point(points, i, load(taps, 0), load(taps, 48), load(taps, 96))
                        middle = _point(points, i, load(taps, 16), load(taps, 64), load(taps, 112))
                        right = _point(points, i, load(taps, 32), load(taps, 80), load(taps, 128))
                        place = 6 * i * plane + (panel * deep + k) * 16 + half
                        for j in range(6):
                            store(packed, place, _point(points, j, left, middle, right))
                            place += plane


@inlined
def _point(points: int, i: int, a: Any, b: Any, c: Any) -> Any:
    last = multiply(spread(load_float(points, 3 * i + 2)), c)
    return fma(spread(load_float(points, 3 * i)), a, fma(spread(load_float(points, 3 * i + 1)), b, last))
