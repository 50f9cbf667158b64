"""toRGB layers as functions on tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from faceloom.generators import ops
from faceloom.generators.derived import derived, wants_gradients
from faceloom.generators.fused import rgb
from faceloom.generators.fused.packing import LANES, padded
from faceloom.generators.fused.threads import MOVED, address, useful_threads
from faceloom.parallel import in_parallel, pieces_of

_UNBOUNDED = 3.0e38


def to_rgb(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    *,
    clamp: float | None = None,
    before: Tensor | None = None,
    kernel: Tensor,
) -> Tensor:
    """As `ops.to_rgb`, for float32 on a CPU; differentiable once."""
    mixed = _filters(weight, styles)
    more = mixed.shape[2] - x.shape[1]
    if more:
        x = functional.pad(x, (0, 0, 0, 0, 0, more))
    x = x.contiguous(memory_format=torch.channels_last)
    # Gradients for the image before are PyTorch's own: there is little of it.
    apart = before is not None and wants_gradients(x, mixed, bias, before)
    small = None if before is None or apart else before.contiguous()
    given = x, mixed, bias, _UNBOUNDED if clamp is None else clamp, small, _taps(kernel)
    apply: Callable[..., Tensor] = _ToRGB.apply if wants_gradients(x, mixed, bias) else _draw
    image = apply(*given)
    return image + ops.upsample(before, kernel) if before is not None and apart else image


def paint(x: Tensor, painting: ops.Painting) -> Tensor:
    """`to_rgb` of feature maps with all of a `Painting`."""
    weight, styles, bias, clamp, before, kernel = painting
    return to_rgb(x, weight, styles, bias, clamp=clamp, before=before, kernel=kernel)


def paint_at_once(draw: Callable[[Tensor], Tensor], painting: ops.Painting) -> Tensor:
    """The same of feature maps that need not be made: `draw` takes filters (N, 3, I) and gives what they make."""
    image = draw(_filters(painting.weight, painting.styles))
    count, _, height, width = image.shape
    before = None if painting.before is None else painting.before.contiguous()
    small = 0 if before is None else before.data_ptr()
    clamp, taps = _UNBOUNDED if painting.clamp is None else painting.clamp, _taps(painting.kernel)

    def task(number: int, first: int, last: int) -> None:
        index, start = divmod(first, height)
        rgb.finish_rows(
            address(image, index), painting.bias.data_ptr(), small and small + 3 * index * height * width,
            taps.data_ptr(), height, width, clamp, start, start + last - first,
        )  # fmt: skip

    in_parallel(task, pieces_of(count * height, math.gcd(height, 64)), useful_threads(MOVED * image.numel()))
    return image


def _filters(weight: Tensor, styles: Tensor) -> Tensor:
    """Filters (3, I, 1, 1) of every image, (N, 3, I), I rounded up, with zeros."""
    mixed = weight.reshape(1, 3, -1) * styles[:, None]
    more = padded(mixed.shape[2], LANES) - mixed.shape[2]
    return (functional.pad(mixed, (0, more)) if more else mixed).contiguous()


def _taps(kernel: Tensor) -> Tensor:
    return derived(kernel, "fused taps", lambda plain: (plain.sum(0) * 2.0).contiguous())


def _draw(x: Tensor, weight: Tensor, bias: Tensor, clamp: float, before: Tensor | None, taps: Tensor) -> Tensor:
    count, channels, height, width = x.shape
    image = torch.empty((count, 3, height, width))
    small = 0 if before is None else before.data_ptr()

    def task(number: int, first: int, last: int) -> None:
        index, start = divmod(first, height)  # pieces of rows never cross an image: their size divides its height
        rgb.to_rgb(
            address(x, index), address(weight, index), bias.data_ptr(), small and small + 3 * index * height * width,
            taps.data_ptr(), address(image, index), height, width, channels, clamp, start, start + last - first,
        )  # fmt: skip

    in_parallel(task, pieces_of(count * height, math.gcd(height, 16)), useful_threads(4 * x.numel()))
    return image


class _ToRGB(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, clamp: float, before: Tensor | None, taps: Tensor
    ) -> Tensor:
        image = _draw(x, weight, bias, clamp, before, taps)
        ctx.save_for_backward(x, weight, image if clamp < _UNBOUNDED else None)
        ctx.clamp = clamp
        return image

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, image = ctx.saved_tensors
        grad = grad.contiguous()
        if image is not None:
            grad = grad * (image.abs() < ctx.clamp)
        count, channels, height, width = x.shape
        out, pixels = torch.empty_like(x), height * width
        threads = useful_threads(MOVED * pixels * channels)
        pieces = pieces_of(pixels, max(64, math.ceil(pixels / (4 * threads))))
        sums = torch.zeros((count, len(pieces), 3, channels))
        for index in range(count):

            def task(number: int, first: int, last: int, index: int = index) -> None:
                rgb.rgb_gradient(
                    address(x, index), address(weight, index), address(grad, index), address(out, index),
                    sums[index, number].data_ptr(), pixels, channels, first, last,
                )  # fmt: skip

            in_parallel(task, pieces, threads)
        return out, sums.sum(1), grad.sum((0, 2, 3)), None, None, None
