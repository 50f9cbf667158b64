"""Feature maps to red, green and blue, with the image of the block before, twice as large, added in the same pass."""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.lanes import compiled, fma, inlined, load, load_float, spread, store, store_float, total


@compiled
def to_rgb(
    x: int, weight: int, bias: int, before: int, taps: int, out: int, height: int, width: int, channels: int,
    clamp: float, first: int, last: int,
) -> None:  # fmt: skip
    """Rows `first` to `last` of clamp(weight · x + bias) + upsampled `before`.

    Args:
        x: address of one image (H, W, channels).
        weight, bias: of (3, channels) and (3,).
        before: of the image (3, H / 2, W / 2) to enlarge; 0 for none.
        taps: of the four taps of the filter, along one dimension, gain included.
        out: of (3, H, W).
        height, width, channels: sizes; channels a multiple of 8.
        clamp: bound on the magnitude of what is added.
        first, last: which rows.
    """
    for i in range(first, last):
        for j in range(width):
            place = i * width + j
            colours(x + 4 * place * channels, weight, channels, out + 4 * place, height * width)
        _finish_row(out, bias, before, taps, height, width, clamp, i)


@inlined
def colours(x: int, weight: int, channels: int, out: int, plane: int) -> None:
    """The product weight · x of one pixel, its three values `plane` floats apart."""
    red, green, blue = weight, weight + 4 * channels, weight + 8 * channels
    r = g = b = spread(np.float32(0))
    for c in range(0, channels, 8):
        value = load(x, c)
        r, g, b = fma(value, load(red, c), r), fma(value, load(green, c), g), fma(value, load(blue, c), b)
    store_float(out, 0, total(r))
    store_float(out, plane, total(g))
    store_float(out, 2 * plane, total(b))


@compiled
def finish_rows(
    out: int, bias: int, before: int, taps: int, height: int, width: int, clamp: float, first: int, last: int
) -> None:
    """Rows `first` to `last` of clamp(out + bias) + upsampled `before`, in place; arguments are those of `to_rgb`."""
    for i in range(first, last):
        _finish_row(out, bias, before, taps, height, width, clamp, i)


@inlined
def _finish_row(out: int, bias: int, before: int, taps: int, height: int, width: int, clamp: float, row: int) -> None:
    plane, small = height * width, (height // 2) * (width // 2)
    high, low = np.float32(clamp), np.float32(-clamp)
    for channel in range(3):
        target = out + 4 * channel * plane
        added = load_float(bias, channel)
        for place in range(row * width, row * width + width):
            store_float(target, place, max(min(load_float(target, place) + added, high), low))
        if before:
            _add_row(before + 4 * channel * small, target, taps, height // 2, width // 2, row)


@inlined
def _add_row(small: int, out: int, taps: int, height: int, width: int, row: int) -> None:
    """Add row `row` of the plane (height, width), zeros between its samples and filtered, to that of `out`."""
    odd = row % 2
    near = row // 2
    far = near + 1 if odd else near - 1
    # The sample at 2m is reached by taps 1 and 3, from m and m - 1; the one at 2m + 1 by 2 and 0, from m and m + 1.
    f_near, f_far = load_float(taps, 2 if odd else 1), load_float(taps, 0 if odd else 3)
    t0, t1, t2, t3 = load_float(taps, 0), load_float(taps, 1), load_float(taps, 2), load_float(taps, 3)
    if far < 0 or far >= height:
        far, f_far = near, np.float32(0)
    target = 2 * row * width
    previous = np.float32(0)
    current = f_near * load_float(small, near * width) + f_far * load_float(small, far * width)
    for m in range(width):
        following = np.float32(0)
        if m + 1 < width:
            following = f_near * load_float(small, near * width + m + 1) + f_far * load_float(
                small, far * width + m + 1
            )
        place = target + 2 * m
        store_float(out, place, load_float(out, place) + t1 * current + t3 * previous)
        store_float(out, place + 1, load_float(out, place + 1) + t2 * current + t0 * following)
        previous, current = current, following


@compiled
def rgb_gradient(
    x: int, weight: int, g: int, out: int, sums: int, pixels: int, channels: int, first: int, last: int
) -> None:
    """Pixels `first` to `last` of the gradient weightᵀ · g for x, and sums of g · x for the weight.

    Args:
        x, out: addresses of one image (P, channels) and the gradient for it.
        weight: of (3, channels).
        g: of the gradient (3, P) of the image.
        sums: of (3, channels), added to.
        pixels, channels: P; channels a multiple of 8.
        first, last: which pixels.
    """
    for start in range(first, last, 16):
        end = min(start + 16, last)
        for c in range(0, channels, 8):
            red, green, blue = load(weight, c), load(weight, channels + c), load(weight, 2 * channels + c)
            r, gr, b = load(sums, c), load(sums, channels + c), load(sums, 2 * channels + c)
            zero = spread(np.float32(0))
            for pixel in range(start, end):
                g0, g1 = spread(load_float(g, pixel)), spread(load_float(g, pixels + pixel))
                g2 = spread(load_float(g, 2 * pixels + pixel))
                place = pixel * channels + c
                store(out, place, fma(g0, red, fma(g1, green, fma(g2, blue, zero))))
                value = load(x, place)
                r, gr, b = fma(g0, value, r), fma(g1, value, gr), fma(g2, value, b)
            store(sums, c, r)
            store(sums, channels + c, gr)
            store(sums, 2 * channels + c, b)
