"""Whether a picture shows the same person, as a loss that gradients pass through.

The network is HSE-FaceRes (see `judges`), independent of dlib's, which judges identity in the benchmarks: what is
minimised and what is measured must not be the same.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.metrics.judges import FaceRes


class IdentityLoss:
    """One minus the likeness of two faces, for `faceloom.inversion.losses.WeightedSum`.

    Args:
        judge: the network; loaded where None.

    Raises:
        MissingExtraError: the judges' weights are not there.
    """

    def __init__(self, judge: FaceRes | None = None) -> None:
        self.judge = FaceRes() if judge is None else judge

    def against(self, real: Tensor) -> Callable[[Tensor], Tensor]:
        """Prepare the originals.

        Args:
            real: images (N, 3, S, S) of FFHQ-aligned faces.

        Returns:
            A function of images (N, 3, S, S) that gives (N,) from 0, the same person, to 2; differentiable.
        """
        with torch.no_grad():
            wanted = self.judge.describe(real)
        return lambda fake: 1.0 - functional.cosine_similarity(self.judge.describe(fake), wanted, dim=1)
