"""What every inversion method offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Where an inversion is.

    Attributes:
        number: steps done, from 1.
        total: steps in all, at most.
        loss: the mean loss over the batch; falls.
    """

    number: int
    total: int
    loss: float


ProgressReport = Callable[[Step], None]


class Inverter(Protocol):
    """A method that finds the codes with which its generator draws given faces."""

    def invert(self, images: Tensor, progress: ProgressReport | None = None) -> Tensor:
        """Aligned faces, images (N, 3, H, W) in [-1, 1], to ws (N, num_ws, w_dim)."""
        ...
