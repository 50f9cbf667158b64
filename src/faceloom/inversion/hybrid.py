"""Inversion by an encoder, then a short optimisation in W+ that stays near its code.

Sources: Zhu et al. 2020, "In-Domain GAN Inversion", section 3.2 (encoder, then regularised optimisation); Abdal et al.
2019, "Image2StyleGAN" (optimisation in W+).
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.generators.protocol import Generator
from faceloom.inversion.descent import Schedule, descend
from faceloom.inversion.losses import Loss, default_loss
from faceloom.inversion.protocol import Inversion, ProgressReport, fitted


class HybridInverter:
    """Encoder, then optimisation in W+ held near the encoder's code.

    The loss is that of the pictures, plus `closeness` times the mean squared step away from the encoder's code, in
    units of the spread of W.

    Args:
        generator: draws the codes; its weights are left alone.
        encoder: gives the starting codes.
        spread: (w_dim,) standard deviation of W.
        steps: steps of Adam, at most; 0 is the encoder alone.
        closeness: how strongly the code is held; 0 lets go.
        perceptual: weight of the perceptual distance in the default loss.
        rate: Adam's step, in units of the spread.
        loss: of the pictures; pixel and perceptual distance where None.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder,
        spread: Tensor,
        *,
        steps: int = 60,
        closeness: float = 0.02,
        perceptual: float = 0.25,
        rate: float = 0.06,
        loss: Loss | None = None,
    ) -> None:
        # Five steps up to speed whatever their number, then down along a cosine all the way.
        self.schedule = Schedule(steps, rate, warm=5 / max(steps, 5), cool=1.0)
        self.generator, self.encoder, self.spread, self.closeness = generator, encoder, spread, closeness
        self.loss = default_loss(perceptual) if loss is None else loss

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`; the best code of each face that was met on the way. `start` is held near the same code."""
        with torch.no_grad():
            anchor = self.encoder(images)
        if not self.schedule.steps:
            return Inversion(anchor if start is None else start.codes, steps=1)
        images = fitted(images, self.generator)
        compare, spread = self.loss.against(images), self.spread.to(anchor.device)
        move = torch.zeros_like(anchor) if start is None else (start.codes - anchor) / spread

        def losses(number: int) -> tuple[Tensor, Tensor]:
            distance = compare(self.generator.synthesize(anchor + move * spread))
            total = distance + self.closeness * move.square().mean(dim=(1, 2))
            return total, total

        def picture() -> Tensor:
            with torch.no_grad():
                return self.generator.synthesize(anchor + move * spread)

        found, done = descend([move], losses, len(move), self.schedule, progress=progress, picture=picture)
        return Inversion(anchor + found[0] * spread, steps=done)
