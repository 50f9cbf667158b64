"""Gradients of layers of feature maps (N, C, H, W) in channels_last, C a multiple of 8; see `layer`."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from faceloom.generators.fused import activation, down, same, tile_weights, weights
from faceloom.generators.fused.packing import backward_filters, padded
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.sizes import Activation, band_rows, blocks, empty_maps, held_tiles
from faceloom.generators.fused.threads import MOVED, address, even_pieces, kept, useful_threads, workspace
from faceloom.generators.winograd import FILTERS
from faceloom.parallel import in_parallel, pieces_of


def convolve(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, weight: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    """The gradients for x and styles from the one before the activation; arguments are as in `forward.convolve`."""
    packed = backward_filters(weight, up=act.taps is not None)
    return (_back_same if act.taps is None else _back_up)(before, x, styles, factors, packed, act)


def filters(before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, weight: Tensor, act: Activation) -> Tensor:
    """The gradient for the filters (O', I', 3, 3), as far as it does not come through the factors."""
    outputs, inputs = weight.shape[:2]
    if act.taps is None:
        sums = _filters_same(before, x, styles, factors)
    else:
        sums = torch.zeros((9, x.shape[1], padded(before.shape[1], COLUMNS)))
        for image in range(x.shape[0]):
            _add_up(sums, before[image], x[image], styles[image], factors[image], act.taps)
    return sums[:, :inputs, :outputs].permute(2, 1, 0).reshape(weight.shape)


def _filters_same(before: Tensor, x: Tensor, styles: Tensor, factors: Tensor) -> Tensor:
    """That of a convolution that keeps the size, as (9, I, 16 · panels)."""
    count, inputs, height, width = x.shape
    outputs, columns = before.shape[1], padded(before.shape[1], COLUMNS)
    tiles = math.ceil(height / 4) * math.ceil(width / 4)
    sums = kept("points", tile_weights.POINTS * inputs * columns)
    sums.zero_()
    held = held_tiles(tiles, inputs, columns)
    samples = kept("samples", tile_weights.POINTS * tile_weights.plane(inputs, held))
    gradients = kept("gradients", tile_weights.POINTS * tile_weights.plane(columns, held))
    moving = useful_threads(MOVED * tile_weights.POINTS * held * (inputs + columns))
    multiplying = useful_threads(tile_weights.POINTS * held * inputs * columns)
    for image in range(count):
        for start in range(0, tiles, held):
            some = min(held, tiles - start)

            def transform(number: int, first: int, last: int, image: int = image, start: int = start) -> None:
                tile_weights.tiles_at_points(
                    address(x, image), address(styles, image), address(before, image), address(factors, image),
                    height, width, inputs, outputs, columns, samples.data_ptr(), gradients.data_ptr(), held,
                    workspace(tile_weights.workspace(inputs, columns)), start, start + first, start + last,
                )  # fmt: skip

            def multiply(number: int, first: int, last: int, some: int = some) -> None:
                tile_weights.add_products(
                    samples.data_ptr(), gradients.data_ptr(), sums.data_ptr(), some, held, inputs, columns, first, last
                )

            in_parallel(transform, even_pieces(some, math.ceil(some / (2 * moving)), moving), moving)
            in_parallel(multiply, even_pieces(tile_weights.POINTS, 3, multiplying), multiplying)
    out = torch.empty((9, inputs, columns))
    points = np.ascontiguousarray(FILTERS, np.float32)

    def finish(number: int, first: int, last: int) -> None:
        tile_weights.filters_of_points(
            sums.data_ptr(), points.ctypes.data, out.data_ptr(), inputs, columns, first, last
        )

    threads = useful_threads(MOVED * tile_weights.POINTS * inputs * columns)
    in_parallel(finish, even_pieces(inputs, math.ceil(inputs / (2 * threads)), threads), threads)
    return out


def _add_up(sums: Tensor, before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, taps: Tensor) -> None:
    """Add an image's share to (9, I, 16 · panels): before (O, 2H, 2W), x (I, H, W), styles (I,), factors (O,)."""
    inputs, height, width = x.shape
    outputs = before.shape[0]
    row_floats = (8 * math.ceil(width / 4) + 1) * outputs
    rows = band_rows(height, 8 * row_floats)
    band = kept("band", (2 * rows + 1) * row_floats)
    for top in range(0, height, rows):
        some = min(rows, height - top)

        def lines(number: int, first: int, last: int, top: int = top) -> None:
            down.spread_gradient(
                before.data_ptr(), band.data_ptr(), taps.data_ptr(), 2 * top, 2 * height, 2 * width, outputs,
                workspace(4 * outputs), 2 * top + first, 2 * top + last,
            )  # fmt: skip

        high, wide = 2 * some + 1, 2 * width + 1
        threads = useful_threads(MOVED * high * row_floats)
        in_parallel(lines, even_pieces(high, 8, threads), threads)
        samples = _grouped(x[:, top : top + some], styles, width * inputs, some, width, 8, "samples")
        gradients = _grouped(band, factors, row_floats, high, wide, COLUMNS, "gradients")
        _add_products(sums, samples, gradients, some, width)


def _grouped(x: Tensor, scale: Tensor, row_floats: int, rows: int, columns: int, group: int, name: str) -> Tensor:
    """Scale · x with its channels in groups; see `weights.group_channels`."""
    channels = scale.shape[0]
    groups = math.ceil(channels / group)
    out = kept(name, groups * group * rows * columns)

    def task(number: int, first: int, last: int) -> None:
        weights.group_channels(
            x.data_ptr(), scale.data_ptr(), row_floats, rows, columns, channels, group, out.data_ptr(), first, last
        )  # fmt: skip

    threads = useful_threads(MOVED * out.numel())
    in_parallel(task, even_pieces(groups, 1, threads), threads)
    return out


def _add_products(sums: Tensor, samples: Tensor, gradients: Tensor, rows: int, columns: int) -> None:
    _, channels, width = sums.shape

    def task(number: int, first: int, last: int) -> None:
        weights.add_products(
            samples.data_ptr(), gradients.data_ptr(), sums.data_ptr(), rows, columns, channels, width // COLUMNS,
            first, last,
        )  # fmt: skip

    fours, threads = channels // 4, useful_threads(9 * rows * columns * channels * width)
    in_parallel(task, even_pieces(fours, math.ceil(fours / (2 * threads)), threads), threads)


def before_activation(
    y: Tensor, grad: Tensor, noise: Tensor | None, act: Activation, wants_noise: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient before the activation (N, O, H, W), its sums (N, 3, O) and, where wanted, its sum (N, H · W)."""
    count, outputs, height, width = y.shape
    pixels = height * width
    threads = useful_threads(MOVED * pixels * outputs)
    before = empty_maps(count, outputs, height, width)
    by_pixel = torch.empty((count, pixels if wants_noise else 0))
    sums = []
    for image in range(count):
        added = 0 if noise is None else noise[image if noise.shape[0] > 1 else 0].data_ptr()
        pieces = pieces_of(pixels, math.ceil(pixels / (4 * threads)))
        partial = torch.zeros((len(pieces), 3, outputs))

        def task(
            number: int, first: int, last: int, image: int = image, added: int = added, partial: Tensor = partial
        ) -> None:
            activation.activation_gradient(
                address(y, image), address(grad, image), added, address(before, image),
                partial[number].data_ptr(), address(by_pixel, image) if wants_noise else 0, outputs,
                act.slope, act.bound, first, last,
            )  # fmt: skip

        in_parallel(task, pieces, threads)
        sums.append(partial.sum(0))
    return before, torch.stack(sums), by_pixel


def _summed_pieces(count: int, grain: int, threads: int) -> list[tuple[int, int]]:
    """`even_pieces`, several even for one thread: sums of sums are rounded less."""
    return even_pieces(count, grain, threads) if threads > 1 else pieces_of(count, grain)


def _back_same(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, packed: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    count, outputs, height, width = x.shape
    inputs, columns = before.shape[1], padded(x.shape[1], COLUMNS)
    out = empty_maps(count, outputs, height, width)
    tiles = count * math.ceil(height / 4) * math.ceil(width / 4)
    threads = useful_threads(tiles * same.PLANES * inputs * columns)
    block, grain = blocks(tiles, inputs, columns, same.PLANES, threads)
    pieces = _summed_pieces(tiles, grain, threads)
    sums = torch.zeros((len(pieces), count, outputs))

    def task(number: int, first: int, last: int) -> None:
        same.convolve_back(
            before.data_ptr(), packed.data_ptr(), out.data_ptr(), factors.data_ptr(), styles.data_ptr(), x.data_ptr(),
            sums[number].data_ptr(), height, width, inputs, outputs, columns,
            workspace(same.workspace(block, inputs, columns)), block, first, last,
        )  # fmt: skip

    in_parallel(task, pieces, threads)
    return out, sums.sum(0)


def _back_up(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, packed: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    count, outputs, height, width = x.shape
    assert act.taps is not None
    taps = act.taps
    inputs, columns = before.shape[1], padded(outputs, COLUMNS)
    out = empty_maps(count, outputs, height, width)
    across, high = math.ceil(width / 4), math.ceil(height / 4)
    row_floats = (8 * across + 1) * inputs
    rows = band_rows(high, 32 * row_floats)
    threads = useful_threads(rows * across * down.PLANES * inputs * columns)
    moving = useful_threads(MOVED * 8 * rows * row_floats)
    block, grain = blocks(rows * across, inputs, columns, down.PLANES, threads)
    band = kept("band", (8 * rows + 1) * row_floats)
    sums = torch.zeros((count, outputs))
    for image in range(count):
        for top in range(0, high, rows):
            bottom = min(top + rows, high)
            pieces = _summed_pieces((bottom - top) * across, grain, threads)
            partial = torch.zeros((len(pieces), outputs))

            def lines(number: int, first: int, last: int, top: int = top, image: int = image) -> None:
                down.spread_gradient(
                    address(before, image), band.data_ptr(), taps.data_ptr(), 8 * top, 2 * height, 2 * width, inputs,
                    workspace(4 * inputs), 8 * top + first, 8 * top + last,
                )  # fmt: skip

            def tiles(
                number: int, first: int, last: int, top: int = top, image: int = image, partial: Tensor = partial
            ) -> None:
                down.gather_tiles(
                    band.data_ptr(), packed.data_ptr(), address(out, image), address(factors, image),
                    address(styles, image), address(x, image), partial[number].data_ptr(), height, width, inputs,
                    outputs, columns, top, workspace(down.workspace(block, inputs, columns)), block, first, last,
                )  # fmt: skip

            in_parallel(lines, even_pieces(8 * (bottom - top) + 1, 8, moving), moving)
            in_parallel(tiles, pieces, threads)
            sums[image] += partial.sum(0)
    return out, sums
