"""The gradient of filters that double the size: for each tap, products of samples with the gradients where they meet.

Direct products: points would save less than half of them here, as in `up`, 81 for 144. Samples are kept in groups of
eight channels and gradients in groups of sixteen, so that a product reads both in order.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.lanes import add, compiled, fma, load, load_float, multiply, spread, store

BLOCK = 1024
"""Pixels that a product is summed over at a time: their samples and gradients stay in the cache."""


@compiled
def group_channels(
    x: int, scale: int, row_floats: int, rows: int, columns: int, channels: int, group: int, out: int, first: int,
    last: int,
) -> None:  # fmt: skip
    """Groups `first` to `last` of the channels of scale · x, (groups, rows, columns, group).

    Args:
        x: address of (rows, columns, channels), `row_floats` from row to row.
        scale: of (channels,).
        rows, columns, channels: sizes, the last a multiple of 8.
        group: channels in a group, 8 or 16, with zeros for those that there are not.
        out: of the groups.
        first, last: which groups.
    """
    zero = spread(np.float32(0))
    for number in range(first, last):
        place = number * rows * columns * group
        for i in range(rows):
            for j in range(columns):
                for c in range(group * number, group * (number + 1), 8):
                    if c < channels:
                        store(out, place, multiply(load(x, i * row_floats + j * channels + c), load(scale, c)))
                    else:
                        store(out, place, zero)
                    place += 8


@compiled
def four_by_sixteen(
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
    a: int, b: int, out: int, rows: int, columns: int, channels: int, panels: int, first: int, last: int
) -> None:
    """Add to (9, channels, 16 · panels) what each tap of the filters gets from rows · columns samples.

    Args:
        a: address of samples in groups of 8, (rows, columns) of them.
        b: of gradients in groups of 16, (2 · rows + 1, 2 · columns + 1) of them, of the spread image.
        out: of the sums.
        rows, columns: how many samples there are.
        channels, panels: of samples, a multiple of 8, and groups of gradients.
        first, last: which four samples' channels.
    """
    b_columns = 2 * columns + 1
    a_group, b_group = 8 * columns * rows, 16 * b_columns * (2 * rows + 1)
    high = max(1, BLOCK // columns)
    for top in range(0, rows, high):
        some = min(high, rows - top)
        for panel in range(panels):
            for four in range(first, last):
                for tap in range(9):
                    samples = a + 4 * (four // 2 * a_group + four % 2 * 4 + top * columns * 8)
                    gradients = b + 4 * (panel * b_group + 16 * ((2 * top + tap // 3) * b_columns + tap % 3))
                    four_by_sixteen(
                        samples, 8 * columns, gradients, 32 * b_columns, 32, some, columns,
                        out + 4 * 16 * ((tap * channels + 4 * four) * panels + panel), 16 * panels,
                    )  # fmt: skip
