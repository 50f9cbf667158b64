"""The gradient of `up` for its input: the low-pass filter and the transposed convolution, the other way round."""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.lanes import add, compiled, fma, inlined, load, load_float, multiply, spread, store
from faceloom.generators.fused.tiles import five_points, four_of_five
from faceloom.generators.fused.up import all_products

PLANES = 81


def workspace(tiles: int, inputs: int, columns: int) -> int:
    """Floats that a block of `tiles` needs."""
    return PLANES * (tiles * (inputs + columns) + 2 * 16 + 8)


@compiled
def spread_gradient(
    g: int, band: int, taps: int, top: int, height: int, width: int, channels: int, line: int, first: int, last: int
) -> None:
    """Rows `first` to `last` of the gradient of the spread image, from that of the filtered one.

    Args:
        g: address of one image (2H, 2W, channels).
        band: of rows `top`, `top` + 1, ... of 8 · tiles + 1 samples each; beyond 2H + 1 by 2W + 1 they mean nothing.
        taps: of the four taps of the filter, along one dimension.
        top: the first row of the band.
        height, width, channels: 2H, 2W and channels of `g`.
        line: address of 4 · `channels` floats to work in.
        first, last: which rows of the spread image.
    """
    columns = 8 * ((width + 7) // 8) + 1
    f0, f1 = spread(load_float(taps, 0)), spread(load_float(taps, 1))
    f2, f3 = spread(load_float(taps, 2)), spread(load_float(taps, 3))
    pixel = 4 * channels
    for row in range(first, last):
        target = band + 4 * (row - top) * columns * channels
        # In the order of memory, as in `up.filter_rows`.
        a, b, d, e = line, line + pixel, line + 2 * pixel, line + 3 * pixel
        for column in range(-2, 1):
            _across(g, taps, row, column, height, width, channels, a)
            a, b, d = b, d, a
        for column in range(columns):
            _across(g, taps, row, column + 1, height, width, channels, e)
            for c in range(0, channels, 8):
                y = fma(f3, load(a, c), multiply(f2, load(b, c)))
                store(target, c, fma(f1, load(d, c), fma(f0, load(e, c), y)))
            target += pixel
            a, b, d, e = b, d, e, a


@inlined
def _across(g: int, taps: int, row: int, column: int, height: int, width: int, channels: int, out: int) -> None:
    """The mirrored filter along a column of `g`, as far as there is any, for all channels."""
    zero = spread(np.float32(0))
    first, last = max(0, row + 2 - height), min(4, row + 2)
    if not 0 <= column < width or first >= last:
        for c in range(0, channels, 8):
            store(out, c, zero)
        return
    place = g + 4 * ((row + 1) * width + column) * channels
    if last - first == 4:
        f0, f1 = spread(load_float(taps, 0)), spread(load_float(taps, 1))
        f2, f3 = spread(load_float(taps, 2)), spread(load_float(taps, 3))
        up = width * channels
        for c in range(0, channels, 8):
            y = fma(f1, load(place, c - up), multiply(f0, load(place, c)))
            store(out, c, fma(f3, load(place, c - 3 * up), fma(f2, load(place, c - 2 * up), y)))
        return
    for c in range(0, channels, 8):
        y = zero
        for k in range(first, last):
            y = fma(spread(load_float(taps, k)), load(place, c - k * width * channels), y)
        store(out, c, y)


@compiled
def gather_tiles(
    band: int, packed: int, out: int, scale: int, factor: int, x: int, sums: int, height: int, width: int,
    inputs: int, outputs: int, columns: int, top_tile: int, work: int, block: int, first: int, last: int,
) -> None:  # fmt: skip
    """Tiles `first` to `last`, from row `top_tile` on, of the gradient for the input, and sums for its styles.

    Args:
        band: address of what `spread_gradient` wrote from row 8 · `top_tile` on.
        packed: of the transformed filters, (36, columns / 16, inputs, 16).
        out, x: of the gradient and of the layer's input (H, W, outputs).
        scale, factor: of (inputs,) and (outputs,): out = factor · conv(scale · band).
        sums: of (outputs,), to which x · conv(scale · band) is added.
        height, width, inputs, outputs, columns: sizes; `columns` is `outputs` rounded up to 16.
        top_tile: the first row of tiles of the band.
        work, block: address of `workspace` floats; tiles at a time.
        first, last: which tiles.
    """
    across = (width + 3) // 4
    stride = (8 * across + 1) * inputs
    v_plane, m_plane = 4 * (block * inputs + 16), 4 * (block * columns + 16)
    m = work + 81 * v_plane
    rest = m + 81 * m_plane
    for start in range(first, last, block):
        end = min(start + block, last)
        for tile in range(start, end):
            corner = band + 4 * (8 * (tile // across) * stride + 8 * (tile % across) * inputs)
            for c in range(0, inputs, 8):
                _into_points(corner, stride, inputs, scale, work + 4 * (tile - start) * inputs, v_plane, rest, c)
        all_products(work, packed, m, end - start, inputs, columns, v_plane, m_plane)
        for tile in range(start, end):
            top, left = 4 * (top_tile + tile // across), 4 * (tile % across)
            rows, wide = min(4, height - top), min(4, width - left)
            corner = 4 * (top * width + left) * outputs
            for c in range(0, outputs, 8):
                _rows_of_points(m + 4 * (tile - start) * columns, m_plane, rest, c)
                factors, added = load(factor, c), load(sums, c)
                for i in range(rows):
                    line = rest + 4 * 72 * i
                    even = four_of_five(load(line, 0), load(line, 8), load(line, 16), load(line, 24), load(line, 32))
                    for j in range(wide):
                        y, place = add(even[j], load(line, 40 + 8 * j)), (i * width + j) * outputs + c
                        added = fma(y, load(x + corner, place), added)
                        store(out + corner, place, multiply(y, factors))
                store(sums, c, added)


@inlined
def _into_points(x: int, stride: int, inputs: int, scale: int, out: int, plane: int, rest: int, c: int) -> None:
    """Nine by nine samples, even and odd in turn, to the points of the even ones and copies of the odd ones."""
    factor = load(scale, c)
    for j in range(9):
        column = (2 * j if j < 5 else 2 * j - 9) * inputs + c
        points = five_points(
            load(x, column), load(x, column + 2 * stride), load(x, column + 4 * stride), load(x, column + 6 * stride),
            load(x, column + 8 * stride),
        )  # fmt: skip
        for i in range(5):
            store(rest, (i * 9 + j) * 8, multiply(points[i], factor))
        for i in range(4):
            store(rest, ((5 + i) * 9 + j) * 8, multiply(load(x, column + (2 * i + 1) * stride), factor))
    for i in range(9):
        line = rest + 4 * 72 * i
        points = five_points(load(line, 0), load(line, 8), load(line, 16), load(line, 24), load(line, 32))
        for j in range(5):
            store(out, c, points[j])
            out += plane
        for j in range(4):
            store(out, c, load(line, 40 + 8 * j))
            out += plane


@inlined
def _rows_of_points(m: int, plane: int, rest: int, c: int) -> None:
    """Nine rows of products to four rows, for each of nine columns."""
    for j in range(9):
        column, row = m + j * plane, 9 * plane
        even = four_of_five(
            load(column, c), load(column + row, c), load(column + 2 * row, c), load(column + 3 * row, c),
            load(column + 4 * row, c),
        )  # fmt: skip
        for i in range(4):
            store(rest, (i * 9 + j) * 8, add(even[i], load(column + (5 + i) * row, c)))
