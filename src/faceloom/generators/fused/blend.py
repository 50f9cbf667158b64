"""A layer whose convolution is known at two styles, at any style on the line through them."""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from faceloom.generators import ops
from faceloom.generators.fused.activation import activated
from faceloom.generators.fused.lanes import compiled, fma, load, load_float, spread, store, stream
from faceloom.generators.fused.sizes import Activation, streams
from faceloom.generators.fused.threads import MOVED, even_pieces, useful_threads
from faceloom.parallel import in_parallel

_GRAIN = 4096


def blend(
    first: Tensor, step: Tensor, amount: float, factors: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None
) -> Tensor:
    """As `ops.blend`, for float32 on a CPU, in channels_last and with channels by the eight."""
    y = torch.empty_like(first, memory_format=torch.channels_last)
    pixels, outputs = first.shape[2] * first.shape[3], first.shape[1]
    bound = Activation(ops.LEAKY_SLOPE, clamp, 1.0, None).bound
    factors, bias = factors.contiguous(), bias.contiguous()
    grain = None if noise is None else noise.contiguous()
    streamed, threads = streams(y), useful_threads(MOVED * pixels * outputs)
    for image in range(len(y)):
        added = 0 if grain is None else grain[image if len(grain) > 1 else 0].data_ptr()

        def task(number: int, start: int, end: int, image: int = image, added: int = added) -> None:
            _blend(
                first[image].data_ptr(), step[image].data_ptr(), y[image].data_ptr(), amount, factors[image].data_ptr(),
                bias.data_ptr(), added, outputs, ops.LEAKY_SLOPE, bound, streamed, start, end,
            )  # fmt: skip

        in_parallel(task, even_pieces(pixels, _GRAIN, threads), threads)
    return y


@compiled
def _blend(
    first: int, step: int, out: int, amount: float, factor: int, bias: int, noise: int, outputs: int, slope: float,
    clamp: float, streams: bool, start: int, end: int,
) -> None:  # fmt: skip
    """Pixels `start` to `end` of clamp(leaky(factor · (first + amount · step) + noise + bias)).

    Args:
        first, step, out: addresses of one image each (P, outputs).
        amount: of the step.
        factor, bias: of (outputs,).
        noise: of (P,); 0 for none.
        outputs: channels, a multiple of 8.
        slope, clamp: of the leaky ReLU; the bound on the magnitude.
        streams: whether `out` goes past the caches; its address is a multiple of 32 then.
        start, end: which pixels.
    """
    zero, one, amounts = spread(np.float32(0)), spread(np.float32(1)), spread(np.float32(amount))
    slopes, high, low = spread(np.float32(slope)), spread(np.float32(clamp)), spread(np.float32(-clamp))
    for pixel in range(start, end):
        place = 4 * pixel * outputs
        grain = spread(load_float(noise, pixel)) if noise else zero
        for c in range(0, outputs, 8):
            y = fma(load(step + place, c), amounts, load(first + place, c))
            y = activated(y, load(factor, c), load(bias, c), grain, one, slopes, high, low)
            if streams:
                stream(out + place, c, y)
            else:
                store(out + place, c, y)
