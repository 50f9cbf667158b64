"""Inversion by asking an encoder again and again.

Source: Alaluf et al. 2021, "ReStyle: A Residual-Based StyleGAN Encoder via Iterative Refinement", section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.encoders.irse import RefiningEncoder
from faceloom.encoders.protocol import Encoder
from faceloom.generators.protocol import Generator
from faceloom.inversion.losses import Loss, default_loss
from faceloom.inversion.protocol import Inversion, ProgressReport, Step, fitted


class RefinedEncoderInverter:
    """The encoder's code, corrected by what the encoder says of its own reconstruction.

    ReStyle's own encoders see the photo beside the reconstruction and name the correction. An encoder E that sees one
    picture is used so: the step is E(photo) - E(reconstruction), which is 0 once both look the same to it. Nobody
    trained it for that, so each face keeps the code that came nearest to its photo.

    Args:
        generator: draws the codes.
        encoder: of either kind.
        steps: how often to ask, the first time included; for ReStyle's encoders, how often more than they do alone.
        damping: share of each step that is taken.
        loss: says which code came nearest.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder | RefiningEncoder,
        *,
        steps: int = 5,
        damping: float = 0.7,
        loss: Loss | None = None,
    ) -> None:
        self.generator, self.encoder, self.steps, self.damping = generator, encoder, steps, damping
        self.loss = default_loss() if loss is None else loss

    @torch.no_grad()
    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`."""
        compare = self.loss.against(fitted(images, self.generator))
        seen = self.encoder(images)
        ws = seen if start is None else start.codes
        best, lowest = ws.clone(), torch.full((len(ws),), torch.inf)
        for number in range(1, self.steps + 1):
            fake = self.generator.synthesize(ws)
            losses = compare(fake).to("cpu")
            better = losses < lowest
            best[better], lowest = ws[better], torch.minimum(losses, lowest)
            if progress is not None:
                progress(Step(number, self.steps, float(lowest.mean()), lambda: self.generator.synthesize(best)))
            if number < self.steps:
                ws = ws + self.damping * self._correction(images, seen, fake)
        return Inversion(best, steps=self.steps)

    def _correction(self, images: Tensor, seen: Tensor, fake: Tensor) -> Tensor:
        if not isinstance(self.encoder, RefiningEncoder):
            return seen - self.encoder(fake.clamp(-1.0, 1.0))
        size = self.encoder.resolution
        pair = [torch.nn.functional.adaptive_avg_pool2d(one, size) for one in (images, fake)]
        return self.encoder.encoder.codes(torch.cat(pair, dim=1))
