"""Gradients of layers of feature maps (N, C, H, W) in channels_last, C a multiple of 8; see `layer`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from faceloom.generators.fused import activation, down, same
from faceloom.generators.fused.packing import backward_filters, padded
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.sizes import Activation, band_rows, blocks, empty_maps
from faceloom.generators.fused.threads import even_pieces, in_parallel, kept, pieces_of, workspace


def convolve(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, weight: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    """The gradients for x and styles from the one before the activation; arguments are as in `forward.convolve`."""
    packed = backward_filters(weight, up=act.taps is not None)
    return (_back_same if act.taps is None else _back_up)(before, x, styles, factors, packed, act)


def before_activation(
    y: Tensor, grad: Tensor, noise: Tensor | None, act: Activation, wants_noise: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient before the activation (N, O, H, W), its sums (N, 3, O) and, where wanted, its sum (N, H · W)."""
    count, outputs, height, width = y.shape
    pixels = height * width
    before = empty_maps(count, outputs, height, width)
    by_pixel = torch.empty((count, pixels if wants_noise else 0))
    sums = []
    for image in range(count):
        added = 0 if noise is None else noise[image if noise.shape[0] > 1 else 0].data_ptr()
        pieces = pieces_of(pixels, math.ceil(pixels / (4 * torch.get_num_threads())))
        partial = torch.zeros((len(pieces), 3, outputs))

        def task(
            number: int, first: int, last: int, image: int = image, added: int = added, partial: Tensor = partial
        ) -> None:
            activation.activation_gradient(
                y[image].data_ptr(), grad[image].data_ptr(), added, before[image].data_ptr(),
                partial[number].data_ptr(), by_pixel[image].data_ptr() if wants_noise else 0, outputs,
                act.slope, act.bound, first, last,
            )  # fmt: skip

        in_parallel(task, pieces)
        sums.append(partial.sum(0))
    return before, torch.stack(sums), by_pixel


def _back_same(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, packed: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    count, outputs, height, width = x.shape
    inputs, columns = before.shape[1], padded(x.shape[1], COLUMNS)
    out = empty_maps(count, outputs, height, width)
    tiles = count * math.ceil(height / 4) * math.ceil(width / 4)
    block, grain = blocks(tiles, inputs, columns, same.PLANES)
    pieces = even_pieces(tiles, grain)
    sums = torch.zeros((len(pieces), count, outputs))

    def task(number: int, first: int, last: int) -> None:
        same.convolve_back(
            before.data_ptr(), packed.data_ptr(), out.data_ptr(), factors.data_ptr(), styles.data_ptr(), x.data_ptr(),
            sums[number].data_ptr(), height, width, inputs, outputs, columns,
            workspace(same.workspace(block, inputs, columns)), block, first, last,
        )  # fmt: skip

    in_parallel(task, pieces)
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
    block, grain = blocks(rows * across, inputs, columns, down.PLANES)
    band = kept("band", (8 * rows + 1) * row_floats)
    sums = torch.zeros((count, outputs))
    for image in range(count):
        for top in range(0, high, rows):
            bottom = min(top + rows, high)
            pieces = even_pieces((bottom - top) * across, grain)
            partial = torch.zeros((len(pieces), outputs))

            def lines(number: int, first: int, last: int, top: int = top, image: int = image) -> None:
                down.spread_gradient(
                    before[image].data_ptr(), band.data_ptr(), taps.data_ptr(), 8 * top, 2 * height, 2 * width, inputs,
                    8 * top + first, 8 * top + last,
                )  # fmt: skip

            def tiles(
                number: int, first: int, last: int, top: int = top, image: int = image, partial: Tensor = partial
            ) -> None:
                down.gather_tiles(
                    band.data_ptr(), packed.data_ptr(), out[image].data_ptr(), factors[image].data_ptr(),
                    styles[image].data_ptr(), x[image].data_ptr(), partial[number].data_ptr(), height, width, inputs,
                    outputs, columns, top, workspace(down.workspace(block, inputs, columns)), block, first, last,
                )  # fmt: skip

            in_parallel(lines, even_pieces(8 * (bottom - top) + 1, 8))
            in_parallel(tiles, pieces)
            sums[image] += partial.sum(0)
    return out, sums
