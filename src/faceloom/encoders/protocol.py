"""What every encoder offers, whatever its architecture."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Encoder(Protocol):
    """A network from an aligned face to the style code of one generator."""

    @property
    def resolution(self) -> int:
        """Side in pixels that images are brought to before the network sees them."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1], aligned, to ws (N, num_ws, w_dim), the mean code included."""
        ...
