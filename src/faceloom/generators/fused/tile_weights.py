"""The gradient of the filters of a convolution that keeps the size, by F(3x3, 4x4): the transpose of `same`.

An output is the sum over points of filters times samples, all of them transformed, and linear in each of them. So the
gradient of the filters is that of points, transformed back: products of samples with gradients, summed over tiles.
There are a quarter as many as without points.

Source: Winograd 1980, chapter 5 (transposes of bilinear algorithms need as many products).
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

from typing import Any

import numpy as np

from faceloom.generators.fused.lanes import compiled, fma, inlined, load, load_float, multiply, spread, store
from faceloom.generators.fused.same import into_points
from faceloom.generators.fused.tiles import copy_window, six_of_four
from faceloom.generators.fused.weights import four_by_sixteen

POINTS = 36
_PADDING = 16  # floats behind each plane, so that planes do not meet in the same sets of the cache


def workspace(inputs: int, columns: int) -> int:
    """Floats that `tiles_at_points` needs for its windows."""
    return 36 * max(inputs, columns)


def plane(channels: int, held: int) -> int:
    """Floats from point to point, where `held` tiles are kept."""
    return channels * held + _PADDING


@inlined
def _gradients_at_points(
    g: int, row: int, column: int, factor: int, out: int, step: int, held: int, channels: int, columns: int
) -> None:
    """The four by four window at `g`, times a factor for each channel, to groups of sixteen channels of each point."""
    zero = spread(np.float32(0))
    for c in range(0, columns, 8):
        place = out + 4 * (held * (c - c % 16) + c % 16)
        if c >= channels:
            for _ in range(36):
                store(place, 0, zero)
                place += step
            continue
        factors = load(factor, c)
        lines = (
            _gradient_column(g, row, c),
            _gradient_column(g + column, row, c),
            _gradient_column(g + 2 * column, row, c),
            _gradient_column(g + 3 * column, row, c),
        )
        for i in range(6):
            points = six_of_four(lines[0][i], lines[1][i], lines[2][i], lines[3][i])
            for j in range(6):
                store(place, 0, multiply(points[j], factors))
                place += step


@inlined
def _gradient_column(g: int, row: int, c: int) -> Any:
    return six_of_four(load(g, c), load(g + row, c), load(g + 2 * row, c), load(g + 3 * row, c))


@compiled
def tiles_at_points(
    x: int, scale: int, g: int, factor: int, height: int, width: int, inputs: int, outputs: int, columns: int,
    samples: int, gradients: int, held: int, work: int, start: int, first: int, last: int,
) -> None:  # fmt: skip
    """Tiles `first` to `last` of an image's samples and gradients, transformed.

    Args:
        x, g: addresses of (height, width, inputs) and (height, width, outputs).
        scale, factor: of (inputs,) and (outputs,), which they are multiplied by.
        height, width, inputs, outputs, columns: sizes; `columns` is `outputs` rounded up to 16.
        samples: of (inputs / 8, held, 8) for each of 36 points, `plane` floats apart.
        gradients: of (columns / 16, held, 16) for each, likewise.
        held: tiles that there is room for.
        work: address of `workspace` floats.
        start: the tile that comes first there.
        first, last: which tiles.
    """
    across = (width + 3) // 4
    x_step, g_step = 4 * (inputs * held + _PADDING), 4 * (columns * held + _PADDING)
    for tile in range(first, last):
        top, left = 4 * (tile // across), 4 * (tile % across)
        corner, row = x + 4 * ((top - 1) * width + left - 1) * inputs, 4 * width * inputs
        if top == 0 or left == 0 or top + 5 > height or left + 5 > width:
            copy_window(x, height, width, inputs, top - 1, left - 1, 6, 6, work)
            corner, row = work, 24 * inputs
        place = samples + 32 * (tile - start)
        into_points(corner, row, 4 * inputs, scale, place, x_step, 8 * held, inputs)
        corner, row = g + 4 * (top * width + left) * outputs, 4 * width * outputs
        if top + 4 > height or left + 4 > width:
            copy_window(g, height, width, outputs, top, left, 4, 4, work)
            corner, row = work, 16 * outputs
        place = gradients + 64 * (tile - start)
        _gradients_at_points(corner, row, 4 * outputs, factor, place, g_step, held, outputs, columns)


@compiled
def add_products(
    samples: int, gradients: int, out: int, tiles: int, held: int, channels: int, columns: int, first: int, last: int
) -> None:
    """Add to (36, channels, columns) the products of `tiles` tiles, for the points `first` to `last`.

    Other arguments are as in `tiles_at_points`.
    """
    for point in range(first, last):
        a = samples + 4 * point * (channels * held + _PADDING)
        b = gradients + 4 * point * (columns * held + _PADDING)
        for panel in range(0, columns, 16):
            for four in range(0, channels, 4):
                place = out + 4 * ((point * channels + four) * columns + panel)
                four_by_sixteen(
                    a + 4 * (held * (four - four % 8) + four % 8), 0, b + 4 * held * panel, 0, 16, 1, tiles, place,
                    columns,
                )  # fmt: skip


@compiled
def filters_of_points(sums: int, points: int, out: int, channels: int, columns: int, first: int, last: int) -> None:
    """Channels `first` to `last` of (9, channels, columns) taps, from the sums (36, channels, columns) at points.

    Args:
        sums, out: addresses.
        points: of (6, 3) factors: what each tap of a dimension counts at each point.
        channels, columns: sizes, the latter a multiple of 16.
        first, last: which channels.
    """
    step = channels * columns
    zero = spread(np.float32(0))
    for channel in range(first, last):
        source, target = sums + 4 * channel * columns, out + 4 * channel * columns
        for c in range(0, columns, 8):
            for tap in range(9):
                store(target, tap * step + c, zero)
        for a in range(6):
            for c in range(0, columns, 8):
                for j in range(3):
                    value = zero
                    for b in range(6):
                        value = fma(spread(load_float(points, 3 * b + j)), load(source, (6 * a + b) * step + c), value)
                    for i in range(3):
                        place = (3 * i + j) * step + c
                        store(target, place, fma(spread(load_float(points, 3 * a + i)), value, load(target, place)))
