"""Principal components of faces: the codes of the warm start."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.inversion.losses import face_weight
from faceloom.training.images import Batches


class PrincipalCodes(nn.Module):
    """Whitened principal components of face-weighted images at 32 px."""

    mean: Tensor
    basis: Tensor

    def __init__(self, dim: int, size: int = 32) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.zeros(3 * size * size))
        self.register_buffer("basis", torch.zeros(3 * size * size, dim))

    @torch.no_grad()
    def fit(self, batches: Batches, count: int = 8192) -> None:
        """Estimate from `count` images."""
        rows = torch.cat([self._flatten(next(batches)) for _ in range(math.ceil(count / batches.batch))])
        self.mean.copy_(rows.mean(dim=0))
        _, deviations, basis = torch.pca_lowrank(rows - self.mean, self.basis.shape[1], center=False, niter=3)
        self.basis.copy_(basis / (deviations / math.sqrt(len(rows))))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, dim), each component of mean 0 and deviation 1."""
        return (self._flatten(images) - self.mean) @ self.basis

    def _flatten(self, images: Tensor) -> Tensor:
        small = functional.interpolate(images, (self.size, self.size), mode="area")
        return (small * face_weight(self.size).to(images.device).sqrt()).flatten(1)
