"""The transposed 3x3 convolution that doubles the size, by F(4, 2) on even samples, and the low-pass filter after it.

Seen from the output, even rows are reached by the outer two rows of the filter and odd rows by the middle one; columns
alike. Five points and four plain copies in each dimension make 81 planes for four by four inputs, where direct
computation takes 144, and only 36 different matrices. The result, "spread", has 2H + 1 by 2W + 1 samples: tiles of
eight by eight make all but the first row and column, which are convolutions in one dimension. It is made in bands of
rows, as there is memory for; then filter, noise, bias and activation go over them.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.activation import activated
from faceloom.generators.fused.lanes import (
    add,
    compiled,
    fence,
    fma,
    inlined,
    load,
    load_float,
    multiply,
    spread,
    store,
    stream,
)
from faceloom.generators.fused.products import multiply_planes
from faceloom.generators.fused.tiles import copy_window, five_points, four_of_five

PLANES = 81
MARGIN = 3  # rows of a band that the filter of the next one still needs
FRAME = 3  # columns of a band beside those of tiles: zeros at either end, and the first of the spread image
# Of the 36 matrices, those of taps 0, 1 and 2 against tap 0 of the other dimension; that of tap 2 is halved.
_ROW_TAPS = (6 * 4 + 4, 6 * 4 + 5, 6 * 4 + 0)
_COLUMN_TAPS = (6 * 4 + 4, 6 * 5 + 4, 6 * 0 + 4)


def workspace(tiles: int, inputs: int, columns: int) -> int:
    """Floats that a block of `tiles` needs."""
    return PLANES * (tiles * (inputs + columns) + 2 * 16 + 8) + 25 * inputs


@inlined
def into_points(x: int, row: int, column: int, scale: int, out: int, plane: int, rest: int, c: int) -> None:
    """Transform the five by five window at `x`: five points and copies of the first four samples, each way."""
    factor = load(scale, c)
    for j in range(5):
        d0, d1, d2 = load(x, c), load(x + row, c), load(x + 2 * row, c)
        d3, d4 = load(x + 3 * row, c), load(x + 4 * row, c)
        points = five_points(d0, d1, d2, d3, d4)
        for i in range(5):
            store(rest, (i * 5 + j) * 8, multiply(points[i], factor))
        copies = (d0, d1, d2, d3, d4)
        for i in range(4):
            store(rest, ((5 + i) * 5 + j) * 8, multiply(copies[i], factor))
        x += column
    for i in range(9):
        line = rest + 4 * 40 * i
        d = (load(line, 0), load(line, 8), load(line, 16), load(line, 24), load(line, 32))
        points = five_points(d[0], d[1], d[2], d[3], d[4])
        for j in range(5):
            store(out, c, points[j])
            out += plane
        for j in range(4):
            store(out, c, d[j])
            out += plane


@inlined
def all_products(
    v: int, packed: int, m: int, tiles: int, inputs: int, columns: int, v_plane: int, m_plane: int
) -> None:
    """The 36 matrices on their planes: one, four or sixteen each."""
    for a in range(6):
        for b in range(6):
            plane = 9 * a + b
            weights = packed + 4 * (6 * a + b) * columns * inputs
            multiply_planes(
                v + plane * v_plane, weights, m + plane * m_plane, tiles, inputs, columns,
                4 if a == 5 else 1, 4 if b == 5 else 1, v_plane, m_plane,
            )  # fmt: skip


@compiled
def spread_tiles(
    x: int, packed: int, band: int, scale: int, height: int, width: int, inputs: int, outputs: int, columns: int,
    top_tile: int, work: int, block: int, first: int, last: int,
) -> None:  # fmt: skip
    """Tiles `first` to `last`, counted from row `top_tile` of tiles, of the transposed convolution of scale · x.

    Args:
        x: address of one image (H, W, inputs).
        packed: of the transformed filters, (36, columns / 16, inputs, 16).
        band: of (MARGIN + rows, 8 · tiles + FRAME, outputs): behind the margin, rows of the spread image from
            8 · `top_tile` + 1 on, behind a column of zeros and the spread image's first.
        scale: of (inputs,).
        height, width, inputs, outputs, columns: sizes; `columns` is `outputs` rounded up to 16.
        top_tile: the first row of tiles of the band.
        work: address of `workspace` floats.
        block: tiles at a time.
        first, last: which tiles.
    """
    across = (width + 3) // 4
    stride = (8 * across + FRAME) * outputs
    v_plane, m_plane = 4 * (block * inputs + 16), 4 * (block * columns + 16)
    m = work + 81 * v_plane
    rest = m + 81 * m_plane
    window = rest + 4 * 81 * 8
    for start in range(first, last, block):
        end = min(start + block, last)
        for tile in range(start, end):
            top, left = 4 * (top_tile + tile // across), 4 * (tile % across)
            out = work + 4 * (tile - start) * inputs
            if top + 5 <= height and left + 5 <= width:
                corner, row = x + 4 * (top * width + left) * inputs, 4 * width * inputs
            else:
                copy_window(x, height, width, inputs, top, left, 5, 5, window)
                corner, row = window, 20 * inputs
            for c in range(0, inputs, 8):
                into_points(corner, row, 4 * inputs, scale, out, v_plane, rest, c)
        all_products(work, packed, m, end - start, inputs, columns, v_plane, m_plane)
        for tile in range(start, end):
            row, column = 8 * (tile // across) + MARGIN, 8 * (tile % across) + 2
            corner = band + 4 * (row * stride + column * outputs)
            products = m + 4 * (tile - start) * columns
            for c in range(0, outputs, 8):
                _out_of_points(products, m_plane, rest, corner, stride, outputs, c)


@inlined
def _out_of_points(m: int, plane: int, rest: int, corner: int, stride: int, outputs: int, c: int) -> None:
    """81 products to eight by eight samples of the spread image."""
    for i in range(9):
        line = m + 9 * i * plane
        even = four_of_five(
            load(line, c), load(line + plane, c), load(line + 2 * plane, c), load(line + 3 * plane, c),
            load(line + 4 * plane, c),
        )  # fmt: skip
        for j in range(4):
            store(rest, (i * 8 + 2 * j) * 8, load(line + (5 + j) * plane, c))
            store(rest, (i * 8 + 2 * j + 1) * 8, even[j])
    for j in range(8):
        column = rest + 32 * j
        even = four_of_five(load(column, 0), load(column, 64), load(column, 128), load(column, 192), load(column, 256))
        for i in range(4):
            store(corner, 2 * i * stride + j * outputs + c, load(column, 64 * (5 + i)))
            store(corner, (2 * i + 1) * stride + j * outputs + c, even[i])


@compiled
def spread_edge(
    x: int, step: int, count: int, packed: int, scale: int, inputs: int, outputs: int, columns: int, across: bool,
    work: int, out: int,
) -> None:  # fmt: skip
    """The first row of the spread image or, where `across` is False, the first column: (2 · count + 1, outputs).

    Args:
        x: address of the first of `count` pixels (inputs,), which are `step` floats apart.
        packed, scale, inputs, outputs, columns: as in `spread_tiles`.
        work: address of count · (inputs + 3 · columns) floats.
        out: of the result.
    """
    products = work + 4 * count * inputs
    for i in range(count):
        for c in range(0, inputs, 8):
            store(work, i * inputs + c, multiply(load(x, i * step + c), load(scale, c)))
    plane = 4 * count * columns
    for tap in range(3):
        weights = packed + 4 * (_ROW_TAPS[tap] if across else _COLUMN_TAPS[tap]) * columns * inputs
        multiply_planes(work, weights, products + tap * plane, count, inputs, columns, 1, 1, 0, 0)
    two, zero = spread(np.float32(2)), spread(np.float32(0))
    for c in range(0, outputs, 8):
        carried = zero
        for i in range(count):
            place = products + 4 * i * columns
            store(out, 2 * i * outputs + c, add(load(place, c), carried))
            store(out, (2 * i + 1) * outputs + c, load(place + plane, c))
            carried = multiply(two, load(place + 2 * plane, c))
        store(out, 2 * count * outputs + c, carried)


@compiled
def filter_rows(
    band: int, top: int, out: int, taps: int, factor: int, bias: int, noise: int, noise_row: int, width: int,
    outputs: int, gain: float, slope: float, clamp: float, streams: bool, line: int, first: int, last: int,
) -> None:  # fmt: skip
    """Output rows `first` to `last` of clamp(leaky(factor · lowpass(spread) + gain · noise + bias)).

    Args:
        band: address of the band, as in `spread_tiles`.
        top: the row of the spread image that the band holds behind its margin.
        out: of one image (2H, 2W, outputs).
        taps: of the four taps of the filter, along one dimension.
        factor, bias: of (outputs,).
        noise, noise_row: of its map, and floats from row to row.
        width: W.
        outputs: channels, a multiple of 8.
        gain: of the noise.
        slope, clamp: of the leaky ReLU; the bound on the magnitude.
        streams: whether `out` goes past the caches; its address is a multiple of 32 then.
        line: address of 4 · `outputs` floats to work in.
        first, last: which rows of `out`.
    """
    stride = (8 * ((width + 3) // 4) + FRAME) * outputs
    f0, f1 = spread(load_float(taps, 0)), spread(load_float(taps, 1))
    f2, f3 = spread(load_float(taps, 2)), spread(load_float(taps, 3))
    slopes, high, low = spread(np.float32(slope)), spread(np.float32(clamp)), spread(np.float32(-clamp))
    gains = spread(np.float32(gain))
    pixel = 4 * outputs
    for row in range(first, last):
        place = band + 4 * (row - 1 - top + MARGIN) * stride
        grain = noise + 4 * row * noise_row
        target = out + 4 * row * 2 * width * outputs
        # Pixel by pixel, channel after channel as they lie: a column at a time would meet few sets of the cache.
        a, b, d, e = line, line + pixel, line + 2 * pixel, line + 3 * pixel
        for _ in range(3):
            for c in range(0, outputs, 8):
                store(a, c, _down(place, stride, f0, f1, f2, f3, c))
            place += pixel
            a, b, d = b, d, a
        for column in range(2 * width):
            added = spread(load_float(grain, column))
            for c in range(0, outputs, 8):
                newest = _down(place, stride, f0, f1, f2, f3, c)
                store(e, c, newest)
                y = fma(f0, load(a, c), fma(f1, load(b, c), fma(f2, load(d, c), multiply(f3, newest))))
                y = activated(y, load(factor, c), load(bias, c), added, gains, slopes, high, low)
                if streams:
                    stream(target, c, y)
                else:
                    store(target, c, y)
            target += pixel
            place += pixel
            a, b, d, e = b, d, e, a
    if streams:
        fence()


@inlined
def _down(place: int, stride: int, f0: object, f1: object, f2: object, f3: object, c: int) -> object:
    """The filter along a column of four samples."""
    last = multiply(f3, load(place, 3 * stride + c))
    return fma(f0, load(place, c), fma(f1, load(place, stride + c), fma(f2, load(place, 2 * stride + c), last)))
