"""A matrix times one vector, which takes as long as reading the matrix from memory does.

Libraries leave half of that speed unused where the matrix was last seen a picture ago. Here rows are asked for ahead.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.generators import ops
from faceloom.generators.derived import wants_gradients
from faceloom.generators.fused.lanes import (
    compiled,
    fma,
    inlined,
    load,
    load_float,
    multiply,
    prefetch,
    spread,
    store_float,
    total,
)

_ROWS, _LANES = 4, 8
_AHEAD = 16  # rows
_LEAST = 1 << 15  # smaller ones stay in the cache


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, gain: float = 1.0, bias_gain: float = 1.0) -> Tensor:
    """As `ops.linear`, for float32 on a CPU; differentiable, as that is."""
    outputs, inputs = weight.shape
    if weight.numel() < _LEAST or not weight.is_contiguous() or not _fits(x, outputs, inputs, weight, bias):
        return ops.linear(x, weight, bias, gain=gain, bias_gain=bias_gain)
    x, bias, out = x.contiguous(), bias.contiguous(), torch.empty((1, outputs))
    multiply_vector(weight.data_ptr(), x.data_ptr(), out.data_ptr(), bias.data_ptr(), outputs, inputs, gain, bias_gain)
    return out


def demodulation(weight: Tensor, styles: Tensor, bias: Tensor, gain: float) -> tuple[Tensor, Tensor]:
    """`ops.demodulation` times `gain`, and a bias (O,) times `gain`; differentiable, as those are."""
    outputs, inputs = weight.shape[:2]
    if not _fits(styles, outputs, inputs, weight, bias):
        return ops.demodulation(weight, styles) * gain, bias * gain
    squares, found = ops.squares(weight), torch.empty((2, outputs))
    styles, bias = styles.contiguous(), bias.contiguous()
    demodulate(
        squares.data_ptr(), styles.data_ptr(), bias.data_ptr(), found.data_ptr(), outputs, inputs, gain, ops.EPSILON
    )
    return found[:1], found[1]


def _fits(x: Tensor, outputs: int, inputs: int, weight: Tensor, bias: Tensor) -> bool:
    """Whether compiled code can do it, which looks at nothing; else PyTorch does it, or says what is wrong."""
    even = outputs % _ROWS == 0 and inputs % _LANES == 0
    single = x.dtype == weight.dtype == bias.dtype == torch.float32
    alike = tuple(x.shape) == (1, inputs) and tuple(bias.shape) == (outputs,)
    return even and single and alike and not wants_gradients(x, weight, bias)


@compiled
def multiply_vector(
    weight: int, x: int, out: int, bias: int, outputs: int, inputs: int, gain: float, bias_gain: float
) -> None:
    """Write gain · weight · x + bias_gain · bias.

    Args:
        weight, x, out, bias: addresses of (outputs, inputs), (inputs,), (outputs,) and (outputs,).
        outputs, inputs: multiples of 4 and of 8.
        gain, bias_gain: factors.
    """
    for o in range(0, outputs, _ROWS):
        a, b, c, d = _four_rows(weight + 4 * o * inputs, x, inputs, False)
        for line in range(_ROWS):
            added = np.float32(bias_gain) * load_float(bias, o + line)
            store_float(out, o + line, np.float32(gain) * total(a) + added)
            a, b, c = b, c, d


@compiled
def demodulate(
    squares: int, styles: int, bias: int, out: int, outputs: int, inputs: int, gain: float, epsilon: float
) -> None:
    """Write gain / sqrt(squares · styles² + epsilon), and behind it gain · bias.

    Args:
        squares, styles, bias, out: addresses of (outputs, inputs), (inputs,), (outputs,) and (2, outputs).
        outputs, inputs: multiples of 4 and of 8.
        gain, epsilon: numbers.
    """
    for o in range(0, outputs, _ROWS):
        a, b, c, d = _four_rows(squares + 4 * o * inputs, styles, inputs, True)
        for line in range(_ROWS):
            store_float(out, o + line, np.float32(gain) / np.sqrt(total(a) + np.float32(epsilon)))
            store_float(out, outputs + o + line, np.float32(gain) * load_float(bias, o + line))
            a, b, c = b, c, d


@inlined
def _four_rows(first: int, x: int, inputs: int, squared: bool) -> Any:
    """Products of four rows with x or its squares, still apart by lanes."""
    row = 4 * inputs
    ahead = first + _AHEAD * row
    a = b = c = d = spread(np.float32(0))
    for k in range(0, inputs, _LANES):
        value = load(x, k)
        if squared:
            value = multiply(value, value)
        for line in range(_ROWS):
            prefetch(ahead + line * row + 4 * k)
        a, b = fma(value, load(first, k), a), fma(value, load(first + row, k), b)
        c, d = fma(value, load(first + 2 * row, k), c), fma(value, load(first + 3 * row, k), d)
    return a, b, c, d
