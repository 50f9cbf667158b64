"""Fitting a mapping network to codes that an encoder gave.

Where training was by reconstruction, nothing taught the mapping which w are faces. It is set afterwards, in closed
form: to the linear map that takes normal z to the normal distribution with the codes' mean and covariance. (Codes of an
encoder that started from whitened principal components are nearly normal.) A network of leaky ReLUs can be exactly
linear, for the activation undoes itself: with a(x) = gain · lrelu(x), x = a(-a(-x) / (gain² · slope)).

Descending on the sliced Wasserstein distance from a random start, which came before, gave several times as many broken
faces: a few principal directions hold most of the variance of W, and in the many others, which random projections
hardly see, the mapping stayed wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from faceloom.errors import TrainingError
from faceloom.generators import ops
from faceloom.generators.mapping import Linear, Mapping

_UNDO = -1.0 / (ops.ACTIVATION_GAIN**2 * ops.LEAKY_SLOPE)


@torch.no_grad()
def fit_mapping(mapping: Mapping, codes: Tensor) -> None:
    """Set `mapping` so that normal z give w with the mean and the covariance of `codes`.

    Args:
        mapping: without labels, of at least two layers, no narrower than w.
        codes: (N, w_dim); N several times w_dim, or samples vary in fewer ways than faces do.

    Raises:
        TrainingError: if the mapping has another shape.
    """
    config, width = mapping.config, codes.shape[1]
    if config.c_dim or config.layers < 2 or min(config.z_dim, config.dim) < width or config.w_dim != width:
        raise TrainingError(
            f"a mapping can be set to the statistics of codes of {width} dimensions if it has no labels, two layers or "
            f"more, and that width everywhere, not z {config.z_dim}, hidden {config.dim}, w {config.w_dim}"
        )
    mean, covariance = codes.double().mean(dim=0), torch.cov(codes.double().t(), correction=0)
    variances, axes = torch.linalg.eigh(covariance)
    spread = axes * variances.clamp(min=0.0).sqrt()
    *passing, first, last = (layer for layer in mapping.layers if isinstance(layer, Linear))
    # Normalised z never leaves ±√z_dim, so that with this much added the activation only multiplies by its gain.
    shift = math.sqrt(config.z_dim)
    scale, offset = 1.0, 0.0
    identity = torch.eye(width, dtype=torch.float64)
    for layer in passing:
        _set(layer, scale * identity, torch.full((width,), shift - scale * offset, dtype=torch.float64))
        scale, offset = 1.0 / ops.ACTIVATION_GAIN, ops.ACTIVATION_GAIN * shift
    _set(first, -scale * spread, spread.sum(dim=1) * (scale * offset) - mean)
    _set(last, _UNDO * identity, torch.zeros(width, dtype=torch.float64))


def _set(layer: Linear, weight: Tensor, bias: Tensor) -> None:
    """Make `layer` multiply by `weight` and add `bias`; inputs and outputs beyond their sizes count for nothing."""
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[: weight.shape[0], : weight.shape[1]].copy_(weight / layer.weight_gain)
    layer.bias[: len(bias)].copy_(bias / layer.bias_gain)
