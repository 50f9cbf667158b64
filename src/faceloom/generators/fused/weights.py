"""The gradient of filters: for each tap, products of the samples that meet it with the gradients where they meet.

Direct products, without points: a sum over all pixels has as many terms either way, and filters are few. Samples are
kept in groups of eight channels and gradients in groups of sixteen, so that a product reads both in order.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.lanes import add, compiled, fma, load, load_float, multiply, spread, store

BLOCK = 1024
"""Pixels that a product is summed over at a time: their samples and gradients stay in the cache."""


@compiled
def group_channels(
    x: int, scale: int, height: int, width: int, row_floats: int, channels: int, top: int, left: int, rows: int,
    columns: int, group: int, out: int, first: int, last: int,
) -> None:  # fmt: skip
    """Groups `first` to `last` of the channels of a window of scale · x, (groups, rows, columns, group).

    Args:
        x: address of (height, width, channels), `row_floats` from row to row.
        scale: of (channels,).
        height, width, channels: sizes, the last a multiple of 8.
        top, left, rows, columns: of the window; beyond the edges are zeros.
        group: channels in a group, 8 or 16, with zeros for those that there are not.
        out: of the groups.
        first, last: which groups.
    """
    zero = spread(np.float32(0))
    for number in range(first, last):
        place = number * rows * columns * group
        for i in range(top, top + rows):
            for j in range(left, left + columns):
                for c in range(group * number, group * (number + 1), 8):
                    if 0 <= i < height and 0 <= j < width and c < channels:
                        store(out, place, multiply(load(x, i * row_floats + j * channels + c), load(scale, c)))
                    else:
                        store(out, place, zero)
                    place += 8


@compiled
def _four_by_sixteen(
    a: int, a_row: int, b: int, b_row: int, b_step: int, rows: int, columns: int, c: int, c_row: int
) -> None:
    """C += Aᵀ · B for four channels of samples in groups of 8 and sixteen of gradients, over rows and columns."""
    zero = spread(np.float32(0))
    u0 = u1 = u2 = u3 = v0 = v1 = v2 = v3 = zero
    for _ in range(rows):
        for j in range(columns):
            left, right = load(b, b_step * j), load(b, b_step * j + 8)
            x = spread(load_float(a, 8 * j))
            u0, v0 = fma(x, left, u0), fma(x, right, v0)
            x = spread(load_float(a, 8 * j + 1))
            u1, v1 = fma(x, left, u1), fma(x, right, v1)
            x = spread(load_float(a, 8 * j + 2))
            u2, v2 = fma(x, left, u2), fma(x, right, v2)
            x = spread(load_float(a, 8 * j + 3))
            u3, v3 = fma(x, left, u3), fma(x, right, v3)
        a += 4 * a_row
        b += 4 * b_row
    store(c, 0, add(load(c, 0), u0))
    store(c, 8, add(load(c, 8), v0))
    store(c, c_row, add(load(c, c_row), u1))
    store(c, c_row + 8, add(load(c, c_row + 8), v1))
    store(c, 2 * c_row, add(load(c, 2 * c_row), u2))
    store(c, 2 * c_row + 8, add(load(c, 2 * c_row + 8), v2))
    store(c, 3 * c_row, add(load(c, 3 * c_row), u3))
    store(c, 3 * c_row + 8, add(load(c, 3 * c_row + 8), v3))


@compiled
def add_products(
    a: int, b: int, out: int, rows: int, columns: int, channels: int, panels: int, up: bool, first: int, last: int
) -> None:
    """Add to (9, channels, 16 · panels) what each tap of the filters gets from rows · columns samples.

    Args:
        a: address of samples in groups of 8: (rows + 2, columns + 2) of them, a frame around those that count; with
            `up` (rows, columns).
        b: of gradients in groups of 16: (rows, columns) of them; with `up` (2 · rows + 1, 2 · columns + 1), of the
            spread image.
        out: of the sums.
        rows, columns: how many samples count.
        channels, panels: of samples, a multiple of 8, and groups of gradients.
        up: whether samples meet taps on their way to a spread image, twice as large.
        first, last: which four samples' channels.
    """
    a_columns, b_columns = (columns, 2 * columns + 1) if up else (columns + 2, columns)
    a_group = 8 * a_columns * (rows if up else rows + 2)
    b_group = 16 * b_columns * (2 * rows + 1 if up else rows)
    factor = 2 if up else 1
    high = max(1, BLOCK // columns)
    for top in range(0, rows, high):
        some = min(high, rows - top)
        for panel in range(panels):
            for four in range(first, last):
                for tap in range(9):
                    i, j = tap // 3, tap % 3
                    samples = a + 4 * (four // 2 * a_group + four % 2 * 4 + top * a_columns * 8)
                    gradients = b + 4 * (panel * b_group + factor * top * b_columns * 16)
                    if up:
                        gradients += 4 * 16 * (i * b_columns + j)
                    else:
                        samples += 4 * 8 * (i * a_columns + j)
                    _four_by_sixteen(
                        samples, 8 * a_columns, gradients, factor * b_columns * 16, factor * 16, some, columns,
                        out + 4 * 16 * ((tap * channels + 4 * four) * panels + panel), 16 * panels,
                    )  # fmt: skip
