"""Styled convolutions as functions on tensors, with gradients for all that is not a filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from faceloom.generators import ops
from faceloom.generators.fused import activation, down, same, up
from faceloom.generators.fused.packing import LANES, backward_filters, forward_filters, padded
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.threads import in_parallel, workspace

# Bytes, for processors with some 512 KiB of L2 cache for each core and 8 MiB of L3.
_LEAST_BLOCK, _MOST_BLOCK = 3 << 19, 11 << 20
_LEAST_BAND, _MOST_BAND = 4 << 20, 10 << 20
_UNBOUNDED = 3.0e38
_Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Activation:
    """What follows the convolution.

    Attributes:
        slope: of the leaky ReLU for negative values.
        clamp: bound on the magnitude of the outcome; None for none.
        noise_gain: factor of the noise.
        taps: (4,) low-pass filter along one dimension, as correlation, gain included, where the layer doubles the size.
    """

    slope: float
    clamp: float | None
    noise_gain: float
    taps: Tensor | None

    @property
    def bound(self) -> float:
        """The clamp as a number."""
        return _UNBOUNDED if self.clamp is None else self.clamp


def styled_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    *,
    strength: Tensor | float = 1.0,
    gain: float = 1.0,
    clamp: float | None = None,
    up_kernel: Tensor | None = None,
) -> Tensor:
    """As `ops.styled_convolution`, for float32 on a CPU, in channels_last; differentiable once, but not in `weight`."""
    gain *= ops.ACTIVATION_GAIN  # see there why it may go inside
    factors, bias = ops.demodulation(weight, styles) * gain, bias * gain
    if noise is not None and isinstance(strength, Tensor) and ops.wants_gradients(strength):
        noise, strength = noise * strength, 1.0
    grain = None if noise is None else noise.squeeze(1).contiguous()
    taps = None if up_kernel is None else up_kernel.sum(0).flip(0) * 2.0
    outputs, inputs = weight.shape[:2]
    more, extra = padded(inputs, LANES) - inputs, padded(outputs, LANES) - outputs
    if more:
        x, styles = functional.pad(x, (0, 0, 0, 0, 0, more)), functional.pad(styles, (0, more))
    if extra:
        factors, bias = functional.pad(factors, (0, extra)), functional.pad(bias, (0, extra))
    x = x.contiguous(memory_format=torch.channels_last)
    y: Tensor = _StyledConvolution.apply(  # type: ignore[no-untyped-call]
        x, styles.contiguous(), factors.contiguous(), grain, bias.contiguous(), weight,
        Activation(ops.LEAKY_SLOPE, clamp, float(strength) * gain, taps),
    )  # fmt: skip
    return y[:, :outputs] if extra else y


class _StyledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        styles: Tensor,
        factors: Tensor,
        noise: Tensor | None,
        bias: Tensor,
        weight: Tensor,
        act: Activation,
    ) -> Tensor:
        convolve = _convolve_same if act.taps is None else _convolve_up
        y = convolve(x, styles, factors, noise, bias, forward_filters(weight, up=act.taps is not None), act)
        ctx.save_for_backward(x, styles, factors, noise, bias, y)
        ctx.weight, ctx.act = weight, act
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, styles, factors, noise, bias, y = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        wants_noise = noise is not None and ctx.needs_input_grad[3]
        before, sums, pixels = _before_activation(y, grad, noise, ctx.act, wants_noise)
        by_value, plain, by_noise = sums.unbind(1)
        found: list[Tensor | None] = [None] * 7
        if ctx.needs_input_grad[2]:
            # What multiplied the factor is the value before the activation, without noise and bias, over the factor.
            found[2] = (by_value - by_noise * ctx.act.noise_gain - bias * plain) / factors
        if wants_noise:
            pixels = pixels.reshape(x.shape[0], *y.shape[2:])
            found[3] = ctx.act.noise_gain * (pixels.sum(0, keepdim=True) if noise.shape[0] == 1 else pixels)
        if ctx.needs_input_grad[4]:
            found[4] = plain.sum(0)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            back = _back_same if ctx.act.taps is None else _back_up
            packed = backward_filters(ctx.weight, up=ctx.act.taps is not None)
            found[0], found[1] = back(before, x, styles, factors, packed, ctx.act)
        return tuple(found)


def _block(count: int, depth: int, columns: int, planes: int) -> int:
    """Tiles at a time: what the cache holds, in as many blocks for each thread as for the others.

    Filters stream through the cache once for each block, so the more of them, the larger the block.
    """
    held = min(max(_filter_bytes(depth, columns) * 3 // 10, _LEAST_BLOCK), _MOST_BLOCK)
    threads = torch.get_num_threads()
    rounds = math.ceil(count * 4 * planes * (depth + columns) / (held * threads))
    return math.ceil(count / (rounds * threads))


def _band(rows: int, row_bytes: int, depth: int, columns: int) -> int:
    """Rows of tiles in a band: what the cache holds, in bands of about equal size; for filters, as above."""
    held = min(max(_filter_bytes(depth, columns), _LEAST_BAND), _MOST_BAND)
    bands = math.ceil(rows / max(1, held // row_bytes))
    return math.ceil(rows / bands)


def _filter_bytes(depth: int, columns: int) -> int:
    return 4 * 36 * depth * columns


def _noise(noise: Tensor | None, width: int) -> tuple[Tensor, int, int]:
    """The noise, and floats from image to image and from row to row."""
    if noise is None:
        return torch.zeros(width + 4), 0, 0
    return noise, noise.shape[1] * noise.shape[2] if noise.shape[0] > 1 else 0, noise.shape[2]


def _empty(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.empty((count, channels, height, width), memory_format=torch.channels_last)


def _convolve_same(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, packed: Tensor, act: Activation
) -> Tensor:
    count, inputs, height, width = x.shape
    outputs = bias.shape[0]
    columns = padded(outputs, COLUMNS)
    y = _empty(count, outputs, height, width)
    grain, noise_image, noise_row = _noise(noise, width)
    tiles = count * math.ceil(height / 4) * math.ceil(width / 4)
    block = _block(tiles, inputs, columns, same.PLANES)

    def task(number: int, first: int, last: int) -> None:
        same.convolve_same(
            x.data_ptr(), packed.data_ptr(), y.data_ptr(), styles.data_ptr(), factors.data_ptr(), bias.data_ptr(),
            grain.data_ptr(), noise_image, noise_row, height, width, inputs, outputs, columns, act.noise_gain,
            act.slope, act.bound, workspace(same.workspace(block, inputs, columns)), block, first, last,
        )  # fmt: skip

    in_parallel(task, tiles, block)
    return y


def _convolve_up(
    x: Tensor, styles: Tensor, factors: Tensor, noise: Tensor | None, bias: Tensor, packed: Tensor, act: Activation
) -> Tensor:
    count, inputs, height, width = x.shape
    outputs = bias.shape[0]
    assert act.taps is not None
    taps = act.taps
    columns = padded(outputs, COLUMNS)
    y = _empty(count, outputs, 2 * height, 2 * width)
    grain, noise_image, noise_row = _noise(noise, 2 * width)
    across, high = math.ceil(width / 4), math.ceil(height / 4)
    rows = _band(high, 32 * (8 * across + up.FRAME) * outputs, inputs, columns)
    block = _block(rows * across, inputs, columns, up.PLANES)
    # In numpy, whose small loops wake no threads that would then stand in the way of ours.
    band = np.empty((up.MARGIN + 8 * rows + 1, 8 * across + up.FRAME, outputs), np.float32)
    band[:, [0, -1]] = 0.0
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
                    x[image].data_ptr(), packed.data_ptr(), band.ctypes.data, styles[image].data_ptr(), height, width,
                    inputs, outputs, columns, top, workspace(up.workspace(block, inputs, columns)), block, first, last,
                )  # fmt: skip

            def lines(number: int, first: int, last: int, top: int = top, image: int = image, done: int = done) -> None:
                up.filter_rows(
                    band.ctypes.data, 8 * top + 1, y[image].data_ptr(), taps.data_ptr(), factors[image].data_ptr(),
                    bias.data_ptr(), grain.data_ptr() + 4 * image * noise_image, noise_row, width, outputs,
                    act.noise_gain, act.slope, act.bound, done + first, done + last,
                )  # fmt: skip

            in_parallel(tiles, (bottom - top) * across, block)
            in_parallel(lines, finished - done, 8)
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

    in_parallel(line, 2, 1)
    return found[0], found[1]


def _before_activation(
    y: Tensor, grad: Tensor, noise: Tensor | None, act: Activation, wants_noise: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient before the activation (N, O, H, W), its sums (N, 3, O) and, where wanted, its sum (N, H · W)."""
    count, outputs, height, width = y.shape
    pixels = height * width
    before = _empty(count, outputs, height, width)
    by_pixel = torch.empty((count, pixels if wants_noise else 0))
    sums = []
    for image in range(count):
        grain = 0 if noise is None else noise[image if noise.shape[0] > 1 else 0].data_ptr()
        piece = math.ceil(pixels / (4 * torch.get_num_threads()))
        partial = torch.zeros((math.ceil(pixels / piece), 3, outputs))

        def task(
            number: int, first: int, last: int, image: int = image, grain: int = grain, partial: Tensor = partial
        ) -> None:
            activation.activation_gradient(
                y[image].data_ptr(), grad[image].data_ptr(), grain, before[image].data_ptr(),
                partial[number].data_ptr(), by_pixel[image].data_ptr() if wants_noise else 0, outputs,
                act.slope, act.bound, first, last,
            )  # fmt: skip

        in_parallel(task, pixels, piece)
        sums.append(partial.sum(0))
    return before, torch.stack(sums), by_pixel


def _back_same(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, packed: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    count, outputs, height, width = x.shape
    inputs, columns = before.shape[1], padded(x.shape[1], COLUMNS)
    out = _empty(count, outputs, height, width)
    tiles = count * math.ceil(height / 4) * math.ceil(width / 4)
    block = _block(tiles, inputs, columns, same.PLANES)
    sums = torch.zeros((math.ceil(tiles / block), count, outputs))

    def task(number: int, first: int, last: int) -> None:
        same.convolve_back(
            before.data_ptr(), packed.data_ptr(), out.data_ptr(), factors.data_ptr(), styles.data_ptr(), x.data_ptr(),
            sums[number].data_ptr(), height, width, inputs, outputs, columns,
            workspace(same.workspace(block, inputs, columns)), block, first, last,
        )  # fmt: skip

    in_parallel(task, tiles, block)
    return out, sums.sum(0)


def _back_up(
    before: Tensor, x: Tensor, styles: Tensor, factors: Tensor, packed: Tensor, act: Activation
) -> tuple[Tensor, Tensor]:
    count, outputs, height, width = x.shape
    assert act.taps is not None
    taps = act.taps
    inputs, columns = before.shape[1], padded(outputs, COLUMNS)
    out = _empty(count, outputs, height, width)
    across, high = math.ceil(width / 4), math.ceil(height / 4)
    row_floats = (8 * across + 1) * inputs
    rows = _band(high, 32 * row_floats, inputs, columns)
    block = _block(rows * across, inputs, columns, down.PLANES)
    band = torch.empty((8 * rows + 1, row_floats))
    sums = torch.zeros((count, outputs))
    for image in range(count):
        for top in range(0, high, rows):
            bottom = min(top + rows, high)
            partial = torch.zeros((math.ceil((bottom - top) * across / block), outputs))

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

            in_parallel(lines, 8 * (bottom - top) + 1, 8)
            in_parallel(tiles, (bottom - top) * across, block)
            sums[image] += partial.sum(0)
    return out, sums
