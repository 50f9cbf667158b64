"""The 3x3 convolution that keeps the size, by F(4x4, 3x3), with everything around it fused in.

Feature maps are (N, H, W, C) float32 with C a multiple of 8. A tile is four by four outputs; a block of tiles goes
through input transform, 36 matrix products and output transform while it is in the cache.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

from typing import Any

import numpy as np

from faceloom.generators.fused.activation import activated, write_out
from faceloom.generators.fused.lanes import (
    compiled,
    fence,
    fma,
    inlined,
    load,
    load_float,
    multiply,
    spread,
    store,
)
from faceloom.generators.fused.products import multiply_planes
from faceloom.generators.fused.rgb import colours
from faceloom.generators.fused.tiles import copy_window, four_of_six, six_points

PLANES = 36


def workspace(tiles: int, inputs: int, columns: int) -> int:
    """Floats that a block of `tiles` needs."""
    return PLANES * (tiles * (inputs + columns) + 2 * 16) + max(PLANES * inputs, 16 * columns)


@inlined
def _column(x: int, row: int, c: int) -> Any:
    return six_points(
        load(x, c),
        load(x + row, c),
        load(x + 2 * row, c),
        load(x + 3 * row, c),
        load(x + 4 * row, c),
        load(x + 5 * row, c),
    )


@inlined
def into_points(x: int, row: int, column: int, scale: int, out: int, plane: int, group: int, channels: int) -> None:
    """The six by six window at `x` at points, times a factor a channel; `group` floats from one eight to the next."""
    for c in range(0, channels, 8):
        factor = load(scale, c)
        columns = (
            _column(x, row, c),
            _column(x + column, row, c),
            _column(x + 2 * column, row, c),
            _column(x + 3 * column, row, c),
            _column(x + 4 * column, row, c),
            _column(x + 5 * column, row, c),
        )
        place = out + 4 * group * (c // 8)
        for i in range(6):
            points = six_points(
                columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]
            )
            for j in range(6):
                store(place, 0, multiply(points[j], factor))
                place += plane


@inlined
def _out_of_points(m: int, plane: int, c: int) -> Any:
    """Six rows of products to four rows of outputs, for one column of the points."""
    row = 6 * plane
    return four_of_six(
        load(m, c),
        load(m + row, c),
        load(m + 2 * row, c),
        load(m + 3 * row, c),
        load(m + 4 * row, c),
        load(m + 5 * row, c),
    )


@inlined
def _tile_columns(m: int, plane: int, c: int) -> Any:
    return (
        _out_of_points(m, plane, c),
        _out_of_points(m + plane, plane, c),
        _out_of_points(m + 2 * plane, plane, c),
        _out_of_points(m + 3 * plane, plane, c),
        _out_of_points(m + 4 * plane, plane, c),
        _out_of_points(m + 5 * plane, plane, c),
    )


@inlined
def _products(
    x: int, packed: int, scale: int, height: int, width: int, inputs: int, columns: int,
    v: int, v_plane: int, m: int, m_plane: int, window: int, first: int, last: int,
) -> None:  # fmt: skip
    """Input transform and products of the tiles from `first` to `last`."""
    down, across = (height + 3) // 4, (width + 3) // 4
    for tile in range(first, last):
        image = tile // (down * across)
        top, left = 4 * (tile // across % down) - 1, 4 * (tile % across) - 1
        source, factors = x + 4 * image * height * width * inputs, scale + 4 * image * inputs
        out = v + 4 * (tile - first) * inputs
        if top >= 0 and left >= 0 and top + 6 <= height and left + 6 <= width:
            corner = source + 4 * (top * width + left) * inputs
            into_points(corner, 4 * width * inputs, 4 * inputs, factors, out, v_plane, 8, inputs)
        else:
            copy_window(source, height, width, inputs, top, left, 6, 6, window)
            into_points(window, 24 * inputs, 4 * inputs, factors, out, v_plane, 8, inputs)
    for k in range(36):
        weights = packed + 4 * k * columns * inputs
        multiply_planes(
            v + k * v_plane, weights, m + k * m_plane, last - first, inputs, columns, 1, 1, v_plane, m_plane
        )


@compiled
def convolve_same(
    x: int, packed: int, out: int, scale: int, factor: int, bias: int, noise: int, noise_image: int, noise_row: int,
    height: int, width: int, inputs: int, outputs: int, columns: int, gain: float, slope: float, clamp: float,
    streams: bool, rgb: int, image: int, work: int, block: int, first: int, last: int,
) -> None:  # fmt: skip
    """Tiles `first` to `last` of clamp(leaky(factor · conv(scale · x) + gain · noise + bias)).

    Args:
        x, out: addresses of (N, H, W, inputs) and (N, H, W, outputs).
        packed: of the transformed filters, (36, columns / 16, inputs, 16).
        scale, factor, bias: of (N, inputs), (N, outputs) and (outputs,).
        noise: of the map of the first image; `noise_image` and `noise_row` are floats from one to the next.
        height, width, inputs, outputs, columns: sizes; `columns` is `outputs` rounded up to 16.
        gain: of the noise.
        slope, clamp: of the leaky ReLU; the bound on the magnitude.
        streams: whether `out` goes past the caches; its address is a multiple of 32 then.
        rgb, image: of the filters (N, 3, outputs) of an image, 0 for none; of the image (N, 3, H, W), which is then
            written instead of `out`.
        work: address of `workspace` floats.
        block: tiles at a time.
        first, last: which tiles, of all images in order.
    """
    down, across = (height + 3) // 4, (width + 3) // 4
    v_plane, m_plane = 4 * (block * inputs + 16), 4 * (block * columns + 16)
    m = work + 36 * v_plane
    window = m + 36 * m_plane
    slopes, high, low = spread(np.float32(slope)), spread(np.float32(clamp)), spread(np.float32(-clamp))
    gains = spread(np.float32(gain))
    for start in range(first, last, block):
        end = min(start + block, last)
        _products(
            x, packed, scale, height, width, inputs, columns, work, v_plane, m, m_plane, window, start, end
        )  # fmt: skip
        for tile in range(start, end):
            index = tile // (down * across)
            top, left = 4 * (tile // across % down), 4 * (tile % across)
            rows, wide = min(4, height - top), min(4, width - left)
            corner = out + 4 * ((index * height + top) * width + left) * outputs
            grain = noise + 4 * (index * noise_image + top * noise_row + left)
            products = m + 4 * (tile - start) * columns
            for c in range(0, outputs, 8):
                factors, biases = load(factor + 4 * index * outputs, c), load(bias, c)
                t = _tile_columns(products, m_plane, c)
                for i in range(rows):
                    line = four_of_six(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i])
                    for j in range(wide):
                        added = spread(load_float(grain, i * noise_row + j))
                        y = activated(line[j], factors, biases, added, gains, slopes, high, low)
                        store(window, (i * 4 + j) * outputs + c, y)
            for i in range(rows):
                if rgb:
                    place = image + 4 * (3 * index * height + top + i) * width + 4 * left
                    for j in range(wide):
                        pixel = window + 4 * (4 * i + j) * outputs
                        colours(pixel, rgb + 12 * index * outputs, outputs, place + 4 * j, height * width)
                else:
                    write_out(window + 16 * i * outputs, corner + 4 * i * width * outputs, wide * outputs, streams)
    if streams:
        fence()


@compiled
def convolve_back(
    g: int, packed: int, out: int, scale: int, factor: int, x: int, sums: int, height: int, width: int,
    inputs: int, outputs: int, columns: int, work: int, block: int, first: int, last: int,
) -> None:  # fmt: skip
    """Tiles `first` to `last` of the gradient factor · conv(scale · g), and sums of x · conv(scale · g) to `sums`.

    As `convolve_same`; `x` is (N, H, W, outputs), and `sums` (N, outputs) is added to.
    """
    down, across = (height + 3) // 4, (width + 3) // 4
    v_plane, m_plane = 4 * (block * inputs + 16), 4 * (block * columns + 16)
    m = work + 36 * v_plane
    window = m + 36 * m_plane
    for start in range(first, last, block):
        end = min(start + block, last)
        _products(
            g, packed, scale, height, width, inputs, columns, work, v_plane, m, m_plane, window, start, end
        )  # fmt: skip
        for tile in range(start, end):
            image = tile // (down * across)
            top, left = 4 * (tile // across % down), 4 * (tile % across)
            rows, wide = min(4, height - top), min(4, width - left)
            corner = 4 * ((image * height + top) * width + left) * outputs
            products = m + 4 * (tile - start) * columns
            added = sums + 4 * image * outputs
            for c in range(0, outputs, 8):
                factors, sum_ = load(factor + 4 * image * outputs, c), load(added, c)
                t = _tile_columns(products, m_plane, c)
                for i in range(rows):
                    line = four_of_six(t[0][i], t[1][i], t[2][i], t[3][i], t[4][i], t[5][i])
                    for j in range(wide):
                        place = (i * width + j) * outputs + c
                        sum_ = fma(line[j], load(x + corner, place), sum_)
                        store(out + corner, place, multiply(line[j], factors))
                store(added, c, sum_)
