"""Pivotal tuning whose result is small: a low-rank change of each filter.

Sources: Roich et al. 2021, "Pivotal Tuning for Latent-based Editing of Real Images" (the method); Hu et al. 2021,
"LoRA: Low-Rank Adaptation of Large Language Models", section 4.1 (a change that is a product, one factor 0 at first).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from faceloom.errors import UsageError
from faceloom.generators.protocol import Generator
from faceloom.inversion.descent import Schedule
from faceloom.inversion.losses import Loss
from faceloom.inversion.pivotal import PivotalTuner
from faceloom.inversion.protocol import Inverter
from faceloom.inversion.tuning import LEFT, RIGHT

RANK = 16
_BETAS = 0.8, 0.95
"""Of Adam: a short descent gains from a short memory."""


class LowRankTuner(PivotalTuner):
    """A code by another method, then a low-rank change of the generator's filters, for each face.

    Fewer numbers than in `PivotalTuner` want and bear a higher rate, so that it takes fewer steps.

    Args:
        generator, pivot, steps, locality, reach, interval, moves, loss, seed: see `PivotalTuner`.
        rank: of the change of each filter (O, I, K, K), as a matrix (O, I * K * K).
        rate: Adam's step, in units of the filters' own size.
    """

    def __init__(
        self,
        generator: Generator,
        pivot: Inverter,
        *,
        steps: int = 120,
        rank: int = RANK,
        rate: float = 0.03,
        locality: float = 0.1,
        reach: float = 1.0,
        interval: int = 4,
        moves: Tensor | None = None,
        loss: Loss | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            generator,
            pivot,
            steps=steps,
            rate=rate,
            locality=locality,
            reach=reach,
            interval=interval,
            moves=moves,
            loss=loss,
            seed=seed,
        )
        if rank < 1:
            raise UsageError(f"the rank of a change is 1 or more, not {rank}")
        self.rank = rank
        self.schedule = Schedule(steps, rate, warm=5 / max(steps, 5), cool=1.0, betas=_BETAS)

    def _variables(self, originals: dict[str, Tensor]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for number, (name, tensor) in enumerate(originals.items()):
            if tensor.ndim != 4:
                continue
            outputs, inputs = tensor.shape[0], tensor[0].numel()
            rank = min(self.rank, outputs, inputs)
            random = torch.Generator("cpu").manual_seed(self.seed + number)
            rows = torch.randn(rank, inputs, generator=random).to(tensor.device)
            found[name + LEFT] = tensor.new_zeros(outputs, rank)
            found[name + RIGHT] = rows * (float(tensor.square().mean().sqrt()) / math.sqrt(rank))
        return found
