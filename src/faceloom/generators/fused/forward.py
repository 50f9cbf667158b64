"""Layers of feature maps (N, C, H, W) in channels_last, C a multiple of 8; see `layer`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.generators.fused import few, same, up
from faceloom.generators.fused.packing import few_filters, forward_filters, padded
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.sizes import Activation, band_rows, blocks, empty_maps, streams
from faceloom.generators.fused.threads import MOVED, address, even_pieces, kept, useful_threads, workspace
from faceloom.parallel import in_parallel, pieces_of

_Floats = np.ndarray[Any, np.dtype[np.float32]]


def convolve(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, weight: Tensor, act: Activation,
    rgb: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The layer, by what is fastest for so many pixels.

    Args:
        x: (N, I, H, W).
        styles: (N, I), for the filters' inputs.
        factors: (N, O), for their outputs.
        noise: (N or 1, H', W'); None for none.
        bias: (O,).
        weight: (O', I', 3, 3), O and I before they were rounded up.
        act: the rest.
        rgb: (N, 3, O), filters of a toRGB layer whose image is wanted instead; only where `paints` says so.

    Returns:
        (N, O, H', W'), or (N, 3, H', W') with `rgb`.
    """
    if _is_small(x):
        return _convolve_few(x, styles, factors, noise, bias, few_filters(weight), act)
    packed = forward_filters(weight, up=act.taps is not None)
    if act.taps is None:
        return _convolve_same(x, styles, factors, noise, bias, packed, act, rgb)
    return _convolve_up(x, styles, factors, noise, bias, packed, act)


def paints(x: Tensor, act: Activation) -> bool:
    """Whether a layer of these maps can go on to an image at once."""
    return act.taps is None and not _is_small(x)


def _is_small(x: Tensor) -> bool:
    return x.shape[0] * x.shape[2] * x.shape[3] <= few.MOST_PIXELS


def _noise(noise: Tensor | None, width: int) -> tuple[Tensor, int, int]:
    """The noise, and floats from image to image and from row to row."""
    if noise is None:
        return torch.zeros(max(width, few.MOST_PIXELS) + 4), 0, 0
    return noise, noise.shape[1] * noise.shape[2] if noise.shape[0] > 1 else 0, noise.shape[2]


def _convolve_same(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, packed: Tensor, act: Activation,
    rgb: Tensor | None,
) -> Tensor:  # fmt: skip
    count, inputs, height, width = x.shape
    outputs = bias.shape[0]
    columns = padded(outputs, COLUMNS)
    y = empty_maps(count, outputs, height, width) if rgb is None else torch.empty((count, 3, height, width))
    filters = 0 if rgb is None else rgb.data_ptr()
    added, noise_image, noise_row = _noise(noise, width)
    tiles = count * math.ceil(height / 4) * math.ceil(width / 4)
    threads = useful_threads(tiles * same.PLANES * inputs * columns + MOVED * y.numel())
    block, grain = blocks(tiles, inputs, columns, same.PLANES, threads)

    def task(number: int, first: int, last: int) -> None:
        same.convolve_same(
            x.data_ptr(), packed.data_ptr(), y.data_ptr(), styles.data_ptr(), factors.data_ptr(), bias.data_ptr(),
            added.data_ptr(), noise_image, noise_row, height, width, inputs, outputs, columns, act.noise_gain,
            act.slope, act.bound, streams(y), filters, y.data_ptr(), workspace(same.workspace(block, inputs, columns)),
            block, first, last,
        )  # fmt: skip

    in_parallel(task, even_pieces(tiles, grain, threads), threads)
    return y


def _convolve_up(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, packed: Tensor, act: Activation
) -> Tensor:
    count, inputs, height, width = x.shape
    outputs = bias.shape[0]
    assert act.taps is not None
    taps = act.taps
    columns = padded(outputs, COLUMNS)
    y = empty_maps(count, outputs, 2 * height, 2 * width)
    added, noise_image, noise_row = _noise(noise, 2 * width)
    across, high = math.ceil(width / 4), math.ceil(height / 4)
    rows = band_rows(high, 32 * (8 * across + up.FRAME) * outputs)
    threads = useful_threads(rows * across * up.PLANES * inputs * columns)
    block, grain = blocks(rows * across, inputs, columns, up.PLANES, threads)
    moving = useful_threads(MOVED * 8 * rows * 2 * width * outputs)
    # In numpy, whose small loops wake no threads that would then stand in the way of ours.
    shape = up.MARGIN + 8 * rows + 1, 8 * across + up.FRAME, outputs
    band = kept("band", math.prod(shape)).numpy().reshape(shape)
    band[:, 0] = band[:, -1] = 0.0
    for image in range(count):
        first_row, first_column = _edges(x[image], packed, styles[image], outputs)
        band[: up.MARGIN - 1] = 0.0
        band[up.MARGIN - 1, 1:-1] = first_row
        done = 0
        for top in range(0, high, rows):
            bottom = min(top + rows, high)
            if top:
                band[: up.MARGIN] = band[8 * rows : 8 * rows + up.MARGIN]
            band[up.MARGIN : up.MARGIN + 8 * (bottom - top), 1] = first_column[8 * top + 1 : 8 * bottom + 1]
            finished = 8 * bottom - 1
            if bottom == high:
                finished = 2 * height
                band[up.MARGIN + 8 * (bottom - top)] = 0.0

            def tiles(number: int, first: int, last: int, top: int = top, image: int = image) -> None:
                up.spread_tiles(
                    address(x, image), packed.data_ptr(), band.ctypes.data, address(styles, image), height, width,
                    inputs, outputs, columns, top, workspace(up.workspace(block, inputs, columns)), block, first, last,
                )  # fmt: skip

            def lines(number: int, first: int, last: int, top: int = top, image: int = image, done: int = done) -> None:
                up.filter_rows(
                    band.ctypes.data, 8 * top + 1, address(y, image), taps.data_ptr(), address(factors, image),
                    bias.data_ptr(), added.data_ptr() + 4 * image * noise_image, noise_row, width, outputs,
                    act.noise_gain, act.slope, act.bound, streams(y), workspace(4 * outputs), done + first,
                    done + last,
                )  # fmt: skip

            in_parallel(tiles, even_pieces((bottom - top) * across, grain, threads), threads)
            in_parallel(lines, even_pieces(finished - done, 8, moving), moving)
            done = finished
    return y


def _edges(x: Tensor, packed: Tensor, styles: Tensor, outputs: int) -> tuple[_Floats, _Floats]:
    """The first row (2W + 1, outputs) and column of the spread image of an image (I, H, W), zeros up to whole tiles."""
    inputs, height, width = x.shape
    columns = padded(outputs, COLUMNS)
    found = [np.zeros((8 * math.ceil(count / 4) + 1, outputs), np.float32) for count in (width, height)]

    def line(number: int, first: int, last: int) -> None:
        along = number == 0
        count = width if along else height
        up.spread_edge(
            x.data_ptr(), inputs if along else inputs * width, count, packed.data_ptr(), styles.data_ptr(), inputs,
            outputs, columns, along, workspace(count * (inputs + 3 * columns)), found[number].ctypes.data,
        )  # fmt: skip

    in_parallel(line, pieces_of(2, 1), useful_threads(3 * (height + width) * inputs * columns))
    return found[0], found[1]


def _convolve_few(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, packed: Tensor, act: Activation
) -> Tensor:
    count, inputs, height, width = x.shape
    outputs, taps, pixels = bias.shape[0], act.taps, height * width
    scale, factor = (1, 9) if taps is None else (2, 1)
    y = empty_maps(count, outputs, scale * height, scale * width)
    added, noise_image, noise_row = _noise(noise, scale * width)
    rows = np.empty((count * pixels, factor * inputs), np.float32)
    few.gather(x.data_ptr(), styles.data_ptr(), count, height, width, inputs, factor // 9, rows.ctypes.data)
    panels = padded(outputs, COLUMNS) // COLUMNS
    threads = useful_threads(count * pixels * 9 * inputs * COLUMNS * panels)
    grain = math.ceil(panels / (4 * threads))
    if taps is None:

        def finished(number: int, first: int, last: int) -> None:
            few.convolve_few(
                rows.ctypes.data, packed.data_ptr(), y.data_ptr(), factors.data_ptr(), bias.data_ptr(),
                added.data_ptr(), noise_image, count, pixels, inputs, outputs, act.noise_gain, act.slope, act.bound,
                workspace(COLUMNS * count * pixels), first, last,
            )  # fmt: skip

        in_parallel(finished, even_pieces(panels, grain, threads), threads)
        return y
    band = np.zeros((count, up.MARGIN + 2 * height + 1, 8 * math.ceil(width / 4) + up.FRAME, outputs), np.float32)

    def spread(number: int, first: int, last: int) -> None:
        few.spread_few(
            rows.ctypes.data, packed.data_ptr(), band[:, up.MARGIN - 1 :, 1:].ctypes.data, count, height, width, inputs,
            outputs, band[0].size, band[0, 0].size, workspace(COLUMNS * count * pixels), first, last,
        )  # fmt: skip

    in_parallel(spread, even_pieces(panels, grain, threads), threads)
    for image in range(count):
        up.filter_rows(
            band[image].ctypes.data, 1, address(y, image), taps.data_ptr(), address(factors, image),
            bias.data_ptr(), added.data_ptr() + 4 * image * noise_image, noise_row, width, outputs, act.noise_gain,
            act.slope, act.bound, False, workspace(4 * outputs), 0, 2 * height,
        )  # fmt: skip
    return y
