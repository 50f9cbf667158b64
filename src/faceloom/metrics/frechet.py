"""Distance between two sets of pictures, as in Heusel et al., 2017 (https://arxiv.org/abs/1706.08500, equation 6).

With EfficientNet-Lite0 in place of Inception, so that values compare only with others made here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from faceloom.encoders.features import POOLED_CHANNELS, EfficientNetFeatures
from faceloom.errors import UsageError


def pooled_features(batches: Iterable[Tensor], features: EfficientNetFeatures | None = None) -> Tensor:
    """Features of a set of pictures, for `frechet_distance`.

    Args:
        batches: images (N, 3, H, W), RGB in [-1, 1]; resize all sets alike, as the distance feels every difference.
        features: made with `pooled=True`; loaded where None.

    Returns:
        (total, 1280) on the CPU, in the order of the pictures.
    """
    network = EfficientNetFeatures((), pooled=True) if features is None else features
    with torch.no_grad():
        found = [network.pooled(batch).cpu() for batch in batches]
    return torch.cat(found) if found else torch.zeros(0, POOLED_CHANNELS)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Fréchet distance between the normal distributions fitted to two sets of vectors.

    Small sets bias it upwards: compare only values from sets of the same sizes.

    Args:
        first: (N, D), N at least 2.
        second: (M, D), M at least 2.

    Returns:
        0 for equal sets, up to rounding; never negative.

    Raises:
        UsageError: another shape, or sets too small.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise UsageError(f"The sets must be (N, D) and (M, D), not {tuple(first.shape)} and {tuple(second.shape)}.")
    if min(len(first), len(second)) < 2:
        raise UsageError("A distance between sets needs two pictures or more in each; add some.")
    first, second = first.double(), second.double()
    shift = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    root_1, root_2 = _covariance_root(first), _covariance_root(second)
    # With C = R^T R, the root of C1 C2 has the trace of the singular values of R1 R2^T: exact for singular C, too.
    overlap = torch.linalg.svdvals(root_1 @ root_2.T).sum()
    value = shift + root_1.square().sum() + root_2.square().sum() - 2 * overlap
    return max(0.0, float(value))


def _covariance_root(vectors: Tensor) -> Tensor:
    """A matrix R of at most D rows with R^T R the covariance."""
    centred = (vectors - vectors.mean(dim=0)) / math.sqrt(len(vectors) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    root: Tensor = torch.linalg.qr(centred, mode="r").R
    return root
