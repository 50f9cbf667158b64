"""Noise, bias, leaky ReLU and clamp, and their gradient in one pass."""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

from typing import Any

import numpy as np

from faceloom.generators.fused.lanes import (
    add,
    compiled,
    fma,
    inlined,
    larger,
    load,
    load_float,
    multiply,
    smaller,
    spread,
    store,
    store_float,
    stream,
    subtract,
    total,
    where_positive,
)


@inlined
def activated(y: Any, factors: Any, biases: Any, noise: Any, gains: Any, slopes: Any, high: Any, low: Any) -> Any:
    """The leaky ReLU of factors · y + gains · noise + biases, between low and high."""
    y = fma(noise, gains, fma(y, factors, biases))
    return larger(smaller(larger(y, multiply(y, slopes)), high), low)


@inlined
def write_out(source: int, target: int, floats: int, streams: bool) -> None:
    """Copy so many floats, a multiple of 8; past the caches where it `streams`."""
    if streams:
        for i in range(0, floats, 8):
            stream(target, i, load(source, i))
    else:
        for i in range(0, floats, 8):
            store(target, i, load(source, i))


@compiled
def activation_gradient(
    y: int, g: int, noise: int, out: int, sums: int, pixels: int, channels: int, slope: float, clamp: float,
    first: int, last: int,
) -> None:  # fmt: skip
    """Pixels `first` to `last` of the gradient before the activation, and its sums.

    Args:
        y, g: addresses of the layer's output (P, C) and its gradient.
        noise: of the (P,) that was added; 0 for none.
        out: of (P, C), the gradient before the activation.
        sums: of (3, C), added to: out times the value before the activation, out, and out times noise.
        pixels: of (P,), the sum of `out` over channels; 0 where it is not wanted.
        channels: C, a multiple of 8.
        slope, clamp: of the leaky ReLU; the bound on the magnitude of y.
        first, last: which pixels.
    """
    zero, one, bound = spread(np.float32(0)), spread(np.float32(1)), spread(np.float32(clamp))
    slopes, inverse = spread(np.float32(slope)), spread(np.float32(1.0 / slope))
    for pixel in range(first, last):
        source = 4 * pixel * channels
        grain = spread(load_float(noise, pixel)) if noise else zero
        sum_ = zero
        for c in range(0, channels, 8):
            value, given = load(y + source, c), load(g + source, c)
            given = multiply(given, where_positive(value, one, slopes))
            given = where_positive(subtract(bound, value), given, zero)
            given = where_positive(add(bound, value), given, zero)
            value = multiply(value, where_positive(value, one, inverse))
            store(out + source, c, given)
            sum_ = add(sum_, given)
            store(sums, c, fma(given, value, load(sums, c)))
            store(sums, channels + c, add(given, load(sums, channels + c)))
            store(sums, 2 * channels + c, fma(given, grain, load(sums, 2 * channels + c)))
        if pixels:
            store_float(pixels, pixel, total(sum_))
