"""Both convolutions where there are so few pixels that reading the filters is most of the work: direct products.

Transformed filters are four times as many as there are taps; below some sixty pixels that costs more than the
transforms save.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np

from faceloom.generators.fused.activation import activated
from faceloom.generators.fused.lanes import add, compiled, load, load_float, multiply, spread, store
from faceloom.generators.fused.products import multiply_panel

MOST_PIXELS = 64


@compiled
def gather(x: int, scale: int, count: int, height: int, width: int, inputs: int, reach: int, out: int) -> None:
    """Rows of scale · x around each pixel, (N · H · W, (2 · reach + 1)², inputs), with zeros beyond the edges.

    Args:
        x: address of (N, H, W, inputs).
        scale: of (N, inputs).
        count, height, width, inputs: N, H, W; inputs a multiple of 8.
        reach: how far, up, down, left and right.
        out: of the rows.
    """
    zero = spread(np.float32(0))
    for image in range(count):
        factors = scale + 4 * image * inputs
        for i in range(height):
            for j in range(width):
                for row in range(i - reach, i + reach + 1):
                    for column in range(j - reach, j + reach + 1):
                        pixel = x + 4 * ((image * height + row) * width + column) * inputs
                        inside = 0 <= row < height and 0 <= column < width
                        for c in range(0, inputs, 8):
                            store(out, c, multiply(load(pixel, c), load(factors, c)) if inside else zero)
                        out += 4 * inputs


@compiled
def convolve_few(
    a: int, packed: int, out: int, factor: int, bias: int, noise: int, noise_image: int, count: int, pixels: int,
    inputs: int, outputs: int, gain: float, slope: float, clamp: float, work: int, first: int, last: int,
) -> None:  # fmt: skip
    """Channels 16 · `first` to 16 · `last` of clamp(leaky(factor · conv + gain · noise + bias)).

    Args:
        a: address of what `gather` wrote with a reach of 1.
        packed: of the filters, (outputs / 16, 9 · inputs, 16).
        out: of (N, P, outputs).
        factor, bias: of (N, outputs) and (outputs,).
        noise, noise_image: of the map (P,) of the first image; floats from image to image.
        count, pixels, inputs, outputs: N, P = H · W, and channels.
        gain: of the noise.
        slope, clamp: of the leaky ReLU; the bound on the magnitude.
        work: address of 16 · N · P floats.
        first, last: which channels.
    """
    slopes, high, low = spread(np.float32(slope)), spread(np.float32(clamp)), spread(np.float32(-clamp))
    gains = spread(np.float32(gain))
    for panel in range(first, last):
        weights = packed + 4 * 16 * 9 * inputs * panel
        multiply_panel(a, 4 * 9 * inputs, weights, count * pixels, 9 * inputs, work, 4 * 16)
        for c in range(16 * panel, min(16 * panel + 16, outputs), 8):
            biases = load(bias, c)
            for image in range(count):
                factors = load(factor, image * outputs + c)
                for pixel in range(pixels):
                    place = image * pixels + pixel
                    y = load(work, 16 * place + c - 16 * panel)
                    added = spread(load_float(noise, image * noise_image + pixel))
                    y = activated(y, factors, biases, added, gains, slopes, high, low)
                    store(out, place * outputs + c, y)


@compiled
def spread_few(
    a: int, packed: int, band: int, count: int, height: int, width: int, inputs: int, outputs: int, image_floats: int,
    stride: int, work: int, first: int, last: int,
) -> None:  # fmt: skip
    """Channels 16 · `first` to 16 · `last` of the transposed convolution, added to the spread image.

    Args:
        a: address of what `gather` wrote with a reach of 0.
        packed: of the filters, (outputs / 16, 9, inputs, 16).
        band: of the first sample of the spread image (2H + 1, 2W + 1, outputs) of the first image.
        count, height, width, inputs, outputs: N, H, W and channels.
        image_floats, stride: floats from image to image and from row to row of `band`.
        work: address of 16 · N · H · W floats.
        first, last: which channels.
    """
    for panel in range(first, last):
        for tap in range(9):
            weights = packed + 4 * 16 * inputs * (9 * panel + tap)
            multiply_panel(a, 4 * inputs, weights, count * height * width, inputs, work, 4 * 16)
            for c in range(16 * panel, min(16 * panel + 16, outputs), 8):
                source = work + 4 * (c - 16 * panel)
                for image in range(count):
                    for i in range(height):
                        row = band + 4 * (image * image_floats + (2 * i + tap // 3) * stride + tap % 3 * outputs + c)
                        for j in range(width):
                            store(row, 2 * j * outputs, add(load(row, 2 * j * outputs), load(source, 0)))
                            source += 4 * 16
