"""How far a direction can be followed before codes are unlike any the generator knows.

The score is the Mahalanobis distance in W from the codes of known faces (the density of a normal distribution): the
mean row of an edited code is compared with the distances of those faces themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHRINKAGE = 0.02
QUANTILE = 0.99
FARTHEST = 3.0
"""In W of a hundred dimensions and more, a single component may leave what faces look like before codes look odd."""
STEP = 0.25


def shrunk_covariance(codes: Tensor) -> Tensor:
    """The covariance (D, D) in float64 of codes (N, D), drawn a little towards its mean variance: it has an inverse."""
    values = codes.double()
    centred = values - values.mean(dim=0)
    covariance = centred.T @ centred / max(1, len(values) - 1)
    average = covariance.diagonal().mean().clamp_min(1e-12)
    return (1.0 - SHRINKAGE) * covariance + SHRINKAGE * average * torch.eye(len(covariance), dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Spread:
    """Where the codes of known faces lie.

    Attributes:
        mean: (w_dim,).
        precision: (w_dim, w_dim), the inverse covariance, shrunk a little towards its mean variance.
        limit: the distance that 99 % of the faces stay under.
    """

    mean: Tensor
    precision: Tensor
    limit: float

    @classmethod
    def of(cls, codes: Tensor) -> Spread:
        """The spread of codes (N, w_dim)."""
        spread = cls(codes.double().mean(dim=0), torch.linalg.inv(shrunk_covariance(codes)), 0.0)
        return cls(spread.mean, spread.precision, float(spread.distance(codes).quantile(QUANTILE)))

    def distance(self, codes: Tensor) -> Tensor:
        """Mahalanobis distances (N,) of codes (N, w_dim), or of the mean rows of codes (N, num_ws, w_dim)."""
        rows = (codes if codes.ndim == 2 else codes.mean(dim=1)).double() - self.mean
        return ((rows @ self.precision) * rows).sum(dim=1).clamp_min(0.0).sqrt()

    def range_of(self, codes: Tensor, step: Tensor, farthest: float = FARTHEST) -> tuple[float, float]:
        """Amounts, in quarters, within which the median face stays inside the limit.

        Args:
            codes: (N, w_dim) faces to start from.
            step: (w_dim,) one unit, in the mean row.
            farthest: amounts that are tried at most.

        Returns:
            From and to; at least a quarter to either side.
        """
        some = codes[:: max(1, len(codes) // 1000)]
        ends = []
        for side in (-1.0, 1.0):
            amount = STEP
            while (
                amount < farthest and float(self.distance(some + side * (amount + STEP) * step).median()) <= self.limit
            ):
                amount += STEP
            ends.append(side * amount)
        return ends[0], ends[1]
