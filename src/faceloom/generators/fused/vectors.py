"""A matrix times one vector, which takes as long as reading the matrix from memory does.

Libraries leave half of that speed unused where the matrix was last seen a picture ago. Here rows are asked for ahead.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from faceloom.generators import ops
from faceloom.generators.derived import wants_gradients
from faceloom.generators.fused.lanes import (
    compiled,
    fma,
    load,
    load_float,
    prefetch,
    spread,
    store_float,
    total,
)

_ROWS, _LANES = 4, 8
_AHEAD = 16  # rows
_LEAST = 1 << 15  # smaller ones stay in the cache


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gain: float = 1.0, bias_gain: float = 1.0) -> Tensor:
    """As `ops.linear`, for float32 on a CPU; differentiable, as that is."""
    outputs, inputs = weight.shape
    uneven = outputs % _ROWS or inputs % _LANES or not weight.is_contiguous()
    if x.shape[0] != 1 or uneven or weight.numel() < _LEAST or wants_gradients(x, weight, bias):
        return ops.linear(x, weight, bias, gain=gain, bias_gain=bias_gain)
    x, out = x.contiguous(), torch.empty((1, outputs))
    added = 0 if bias is None else bias.data_ptr()
    multiply_vector(weight.data_ptr(), x.data_ptr(), out.data_ptr(), added, outputs, inputs, gain, bias_gain)
    return out


@compiled
def multiply_vector(
    weight: int, x: int, out: int, bias: int, outputs: int, inputs: int, gain: float, bias_gain: float
) -> None:
    """Write gain · weight · x + bias_gain · bias.

    Args:
        weight, x, out: addresses of (outputs, inputs), (inputs,) and (outputs,).
        bias: of (outputs,); 0 for none.
        outputs, inputs: multiples of 4 and of 8.
        gain, bias_gain: factors.
    """
    row = 4 * inputs
    for o in range(0, outputs, _ROWS):
        first = weight + o * row
        ahead = first + _AHEAD * row
        a = b = c = d = spread(np.float32(0))
        for k in range(0, inputs, _LANES):
            value = load(x, k)
            for line in range(_ROWS):
                prefetch(ahead + line * row + 4 * k)
            a, b = fma(value, load(first, k), a), fma(value, load(first + row, k), b)
            c, d = fma(value, load(first + 2 * row, k), c), fma(value, load(first + 3 * row, k), d)
        for line in range(_ROWS):
            added = load_float(bias, o + line) * np.float32(bias_gain) if bias else np.float32(0)
            store_float(out, o + line, total(a) * np.float32(gain) + added)
            a, b, c = b, c, d
