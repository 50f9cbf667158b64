"""Inversion by one pass through an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.inversion.protocol import ProgressReport, Step


class EncoderInverter:
    """The encoder's code as it is: fast, editable, only roughly alike.

    Source: Richardson et al. 2021, "Encoding in Style" (pSp); Tov et al. 2021 (e4e).
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @torch.no_grad()
    def invert(self, images: Tensor, progress: ProgressReport | None = None) -> Tensor:
        """Images (N, 3, H, W) to ws (N, num_ws, w_dim)."""
        ws = self.encoder(images)
        if progress is not None:
            progress(Step(1, 1, float("nan")))
        return ws
