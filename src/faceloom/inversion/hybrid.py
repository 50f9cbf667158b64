"""Inversion by an encoder, then a short optimisation in W+ that stays near its code.

Sources: Zhu et al. 2020, "In-Domain GAN Inversion", section 3.2 (encoder, then regularised optimisation); Abdal et al.
2019, "Image2StyleGAN" (optimisation in W+).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.encoders.protocol import Encoder
from faceloom.errors import UsageError
from faceloom.generators.protocol import Generator
from faceloom.inversion.losses import PerceptualDistance, pixel_distance
from faceloom.inversion.protocol import ProgressReport, Step


class HybridInverter:
    """Encoder, then optimisation in W+ held near the encoder's code.

    The loss is the face-weighted pixel distance, plus `perceptual` times the distance of frozen features, plus
    `closeness` times the mean squared step away from the encoder's code, in units of the spread of W.

    Args:
        generator: draws the codes; its weights are left alone.
        encoder: gives the starting codes.
        spread: (w_dim,) standard deviation of W.
        steps: steps of Adam; 0 is the encoder alone.
        closeness: how strongly the code is held; 0 lets go.
        perceptual: weight of the perceptual distance.
        rate: Adam's step, in units of the spread.
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
    ) -> None:
        if steps < 0:
            raise UsageError(f"the number of steps cannot be negative, as {steps}")
        self.generator, self.encoder, self.spread = generator, encoder, spread
        self.steps, self.closeness, self.weight, self.rate = steps, closeness, perceptual, rate
        self.perceptual = PerceptualDistance() if perceptual else None

    def invert(self, images: Tensor, progress: ProgressReport | None = None) -> Tensor:
        """Images (N, 3, H, W) to ws (N, num_ws, w_dim); the best code of each face that was met on the way."""
        size = (self.generator.resolution, self.generator.resolution)
        if tuple(images.shape[2:]) != size:
            images = functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        with torch.no_grad():
            start = self.encoder(images)
        targets = self.perceptual.targets(images) if self.perceptual else []
        move = torch.zeros_like(start, requires_grad=True)
        optimizer = torch.optim.Adam([move], lr=self.rate, betas=(0.9, 0.99))
        best, lowest = start.clone(), torch.full((len(start),), math.inf)
        for number in range(1, self.steps + 1):
            # Ramp up, then down along a cosine (Karras et al. 2020, appendix D).
            optimizer.param_groups[0]["lr"] = self.rate * min(1.0, number / 5) * _cosine(number / self.steps)
            ws = start + move * self.spread
            fake = self.generator.synthesize(ws)
            loss = pixel_distance(fake, images) + self.closeness * move.square().mean(dim=(1, 2))
            if self.perceptual is not None:
                loss = loss + self.weight * self.perceptual.distance_to(targets, fake)
            values = loss.detach()
            better = values < lowest
            best[better], lowest[better] = ws.detach()[better], values[better]
            optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if progress is not None:
                progress(Step(number, self.steps, float(values.mean())))
        return best


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * share))
