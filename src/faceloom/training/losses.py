"""The adversarial losses. Reconstructions are judged by the distances of `faceloom.inversion.losses`."""

from __future__ import annotations

import torch
from torch import Tensor
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
