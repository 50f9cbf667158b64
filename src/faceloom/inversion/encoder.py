"""Inversion by one pass through an encoder.

Sources: Richardson et al. 2021, "Encoding in Style" (pSp); Tov et al. 2021, "Designing an Encoder for StyleGAN Image
Manipulation" (e4e).
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.inversion.protocol import Inversion, ProgressReport, Step


class EncoderInverter:
    """The encoder's code as it is: fast, editable, only roughly alike."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    @torch.no_grad()
    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`; there is nothing to go on with, so that `start` changes nothing."""
        ws = self.encoder(images)
        if progress is not None:
            progress(Step(1, 1, float("nan")))
        return Inversion(ws.detach(), steps=1)
