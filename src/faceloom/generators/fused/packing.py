"""Filters in the form that the compiled convolutions read, made once for each state of a weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional

from faceloom.generators.derived import derived
from faceloom.generators.fused.products import COLUMNS
from faceloom.generators.fused.tiles import TOOM_DOWN, TOOM_UP
from faceloom.generators.winograd import FILTERS, at_points

LANES = 8


def padded(count: int, multiple: int) -> int:
    """The next multiple."""
    return -(-count // multiple) * multiple


def forward_filters(weight: Tensor, *, up: bool) -> Tensor:
    """Filters (O, I, 3, 3) as (36, O / 16, I, 16), O and I rounded up, with zeros; `up` for the transposed ones."""
    if up:
        return derived(weight, "fused up", lambda plain: _pack(plain, TOOM_UP))
    return derived(weight, "fused same", lambda plain: _pack(plain, FILTERS))


def backward_filters(weight: Tensor, *, up: bool) -> Tensor:
    """The same for the gradient of the input: (36, I / 16, O, 16)."""
    if up:
        return derived(weight, "fused up back", lambda plain: _pack(plain.transpose(0, 1), TOOM_DOWN))
    return derived(weight, "fused same back", lambda plain: _pack(plain.transpose(0, 1).flip((2, 3)), FILTERS))


def few_filters(weight: Tensor) -> Tensor:
    """Filters (O, I, 3, 3) as (O / 16, 9, I, 16), O and I rounded up, with zeros."""
    return derived(weight, "fused few", _pack_taps)


def _pack_taps(weight: Tensor) -> Tensor:
    outputs, inputs = weight.shape[:2]
    rows, depth = padded(outputs, COLUMNS), padded(inputs, LANES)
    weight = functional.pad(weight, (0, 0, 0, 0, 0, depth - inputs, 0, rows - outputs))
    return weight.reshape(rows // COLUMNS, COLUMNS, depth, 9).permute(0, 3, 2, 1).contiguous()


def _pack(weight: Tensor, points: np.ndarray[Any, np.dtype[np.float64]]) -> Tensor:
    outputs, inputs = weight.shape[:2]
    transformed = at_points(weight, points)
    rows, depth = padded(outputs, COLUMNS), padded(inputs, LANES)
    if (rows, depth) != (outputs, inputs):
        transformed = functional.pad(transformed, (0, depth - inputs, 0, rows - outputs))
    return transformed.reshape(36, rows // COLUMNS, COLUMNS, depth).transpose(2, 3).contiguous()
