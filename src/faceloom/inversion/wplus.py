"""Inversion by optimising one code for each style layer, in W+, held by nothing.

Source: Abdal et al. 2019, "Image2StyleGAN: How to Embed Images Into the StyleGAN Latent Space?", section 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.generators.protocol import Generator
from faceloom.inversion.descent import Schedule, descend
from faceloom.inversion.losses import Loss, default_loss
from faceloom.inversion.protocol import Inversion, ProgressReport, fitted


class WPlusInverter:
    """Optimisation in W+ from W's mean: alike, and far from where edits work.

    Args:
        generator: draws the codes.
        steps: at most; the paper takes 5000.
        rate: Adam's step; the paper's.
        loss: of the pictures.
    """

    def __init__(
        self, generator: Generator, *, steps: int = 1000, rate: float = 0.01, loss: Loss | None = None
    ) -> None:
        self.generator = generator
        self.schedule = Schedule(steps, rate, warm=0.0, cool=0.0, betas=(0.9, 0.999))
        self.loss = default_loss() if loss is None else loss

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`."""
        images = fitted(images, self.generator)
        compare = self.loss.against(images)
        shape = (len(images), self.generator.num_ws, self.generator.w_dim)
        ws = (self.generator.w_mean.expand(shape) if start is None else start.codes).detach().clone()

        def losses(number: int) -> tuple[Tensor, Tensor]:
            distance = compare(self.generator.synthesize(ws))
            return distance, distance

        def picture() -> Tensor:
            with torch.no_grad():
                return self.generator.synthesize(ws)

        found, done = descend([ws], losses, len(ws), self.schedule, progress=progress, picture=picture)
        return Inversion(found[0], steps=done)
