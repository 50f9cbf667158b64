"""Inversion in W+ that stays where the mapping network puts its codes.

Sources: Zhu et al. 2020, "Improved StyleGAN Embedding: Where are the Good Latents?" (the spaces P_N and P_N+, and the
regularisation by their norm); for plain W, the same with the mean and the covariance of W itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from faceloom.generators.protocol import Generator
from faceloom.inversion.descent import Schedule, descend
from faceloom.inversion.losses import Loss, default_loss
from faceloom.inversion.protocol import Inversion, ProgressReport, fitted
from faceloom.inversion.wspace import measure_w

Coordinates = Literal["w", "pn"]


class RegularizedInverter:
    """Optimisation in W+, in coordinates in which W is a standard normal, held near the middle.

    The loss is that of the pictures plus `weight` times the mean square of the coordinates: the squared distance of
    Mahalanobis over the dimension, which is 1 on average for codes of the mapping network.

    Args:
        generator: draws the codes.
        coordinates: "w" whitens W; "pn" undoes the mapping network's last leaky ReLU first (P_N+).
        weight: how strongly codes are held.
        steps: at most.
        rate: Adam's step, in standard deviations.
        loss: of the pictures.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        coordinates: Coordinates = "pn",
        weight: float = 0.005,
        steps: int = 300,
        rate: float = 0.1,
        loss: Loss | None = None,
    ) -> None:
        self.generator, self.coordinates, self.weight = generator, coordinates, weight
        self.schedule = Schedule(steps, rate)
        self.loss = default_loss() if loss is None else loss

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`."""
        images = fitted(images, self.generator)
        compare, (there, back) = self.loss.against(images), self._maps()
        shape = (len(images), self.generator.num_ws, self.generator.w_dim)
        first = self.generator.w_mean.expand(shape) if start is None else start.codes
        places = there(first.detach()).clone()

        def losses(number: int) -> tuple[Tensor, Tensor]:
            distance = compare(self.generator.synthesize(back(places)))
            total = distance + self.weight * places.square().mean(dim=(1, 2))
            return total, total

        def picture() -> Tensor:
            with torch.no_grad():
                return self.generator.synthesize(back(places))

        found, done = descend([places], losses, len(places), self.schedule, progress=progress, picture=picture)
        return Inversion(back(found[0]), steps=done)

    def _maps(self) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        space = measure_w(self.generator)
        return (space.to_pn, space.from_pn) if self.coordinates == "pn" else (space.w.whiten, space.w.color)
