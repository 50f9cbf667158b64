"""Fitting a mapping network to codes that an encoder gave.

Where training was by reconstruction, nothing taught the mapping which w are faces. It is fitted afterwards: the sliced
Wasserstein distance (Bonneel et al. 2015) between mapped normal samples and the encoder's codes is brought down.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """Mean squared distance of the sorted projections of (N, D) and (N, D) on the rows of (K, D)."""
    return ((a @ directions.t()).sort(dim=0).values - (b @ directions.t()).sort(dim=0).values).square().mean()


def fit_mapping(mapping: nn.Module, z_dim: int, codes: Tensor, *, steps: int = 1000, seed: int = 0) -> float:
    """Train `mapping(z, None) -> w` in place until normal z give the distribution of `codes` (N, w_dim).

    Returns:
        The last distance, in units of the codes' variance.
    """
    random = torch.Generator().manual_seed(seed)
    batch = min(512, len(codes))
    scale = codes.var(dim=0).mean()
    mapping.requires_grad_(True)
    optimizer = torch.optim.Adam(mapping.parameters(), lr=1e-2, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    distance = codes.new_zeros(())
    for _ in range(steps):
        index = torch.randint(len(codes), (batch,), generator=random)
        directions = nn.functional.normalize(torch.randn(64, codes.shape[1], generator=random), dim=1)
        mapped = mapping(torch.randn(batch, z_dim, generator=random), None)
        distance = sliced_wasserstein(mapped, codes[index], directions) / scale
        optimizer.zero_grad(set_to_none=True)
        distance.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return float(distance.detach())
