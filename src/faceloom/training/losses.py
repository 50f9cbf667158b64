"""The losses that training minimises beside the distances of `faceloom.inversion.losses`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def generator_adversarial(fake_scores: Tensor) -> Tensor:
    """Non-saturating loss of the generator (Goodfellow et al. 2014) for scores (N, 1)."""
    return functional.softplus(-fake_scores).mean()


def discriminator_adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Logistic loss of the discriminator (Goodfellow et al. 2014) for scores (N, 1) and (M, 1)."""
    return functional.softplus(fake_scores).mean() + functional.softplus(-real_scores).mean()


def r1_penalty(real_scores: Tensor, real: Tensor) -> Tensor:
    """Mean squared gradient of the scores at real images, which must ask for gradients (Mescheder et al. 2018)."""
    (gradient,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


class PathLength(nn.Module):
    """Pulls the length of a picture's change for a step in W towards its running mean.

    Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 3.2.

    Attributes:
        mean: () running mean of the lengths.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, ws: Tensor, images: Tensor) -> Tensor:
        """The penalty for images (N, 3, S, S) drawn from ws (N, L, D), by operations that differentiate twice."""
        noise = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (gradient,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        with torch.no_grad():
            self.mean.lerp_(lengths.mean(), 0.01)
        return (lengths - self.mean).square().mean()
