"""Precision and recall of generated pictures: are they real-looking, and do they cover what is real?

Source: Kynkäänniemi et al. 2019, "Improved Precision and Recall Metric for Assessing Generative Models", section 2.
Computed on any features; values compare only where features and counts are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from faceloom.errors import UsageError


class Coverage(NamedTuple):
    """Shares from 0 to 1.

    Attributes:
        precision: of the generated vectors, how many lie within the manifold of the real ones.
        recall: of the real vectors, how many lie within the manifold of the generated ones.
    """

    precision: float
    recall: float


def precision_recall(generated: Tensor, real: Tensor, neighbours: int = 3) -> Coverage:
    """Precision and recall, where a manifold is the union of balls that reach each vector's k-th neighbour.

    Args:
        generated: (N, D).
        real: (M, D); take as many as generated ones.
        neighbours: k, 3 in the paper.

    Raises:
        UsageError: the shapes do not match, or a set has no more than k vectors.
    """
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise UsageError(f"the sets must be (N, D) and (M, D), not {tuple(generated.shape)} and {tuple(real.shape)}")
    if min(len(generated), len(real)) <= neighbours:
        raise UsageError(f"precision and recall need more than {neighbours} pictures in each set; add some")
    generated, real = generated.double(), real.double()
    across = torch.cdist(generated, real)
    inside_real = (across <= _radii(real, neighbours)).any(dim=1)
    inside_generated = (_radii(generated, neighbours) >= across.T).any(dim=1)
    return Coverage(float(inside_real.double().mean()), float(inside_generated.double().mean()))


def _radii(vectors: Tensor, neighbours: int) -> Tensor:
    """(N,) the distance of each vector to its k-th nearest other one."""
    # The nearest of all is the vector itself.
    return torch.cdist(vectors, vectors).kthvalue(neighbours + 1, dim=1).values
