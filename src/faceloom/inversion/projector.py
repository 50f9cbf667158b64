"""Inversion by optimising one code in W, and the noise maps.

Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 5 and appendix D. All its
numbers are theirs but the distance: frozen features of another network than VGG16, to which a pixel distance is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.generators.protocol import Generator
from faceloom.inversion.descent import Schedule, descend
from faceloom.inversion.losses import Loss, default_loss
from faceloom.inversion.protocol import Inversion, ProgressReport, fitted
from faceloom.inversion.tuning import Tuning, noise_maps, put, sharing_copy
from faceloom.inversion.wspace import measure_w

_WARM, _COOL, _NOISE_SHARE, _NOISE_SCALE = 0.05, 0.25, 0.75, 0.05
_LEAST_SIDE = 8


class Projector:
    """One code in W, found from W's mean under falling noise: the most editable code, and the least alike.

    Args:
        generator: draws the codes.
        steps: the paper takes 1000.
        rate: Adam's step.
        noise: whether to fit the generator's noise maps, too; they come back as a tuning. Where False, or where the
            generator has none, the code has to do alone.
        noise_weight: of the regularisation that keeps the maps free of the picture.
        loss: of the pictures.
        seed: of the noise that is added to the code.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        steps: int = 1000,
        rate: float = 0.1,
        noise: bool = True,
        noise_weight: float = 1e5,
        loss: Loss | None = None,
        seed: int = 0,
    ) -> None:
        self.generator, self.noise, self.noise_weight, self.seed = generator, noise, noise_weight, seed
        self.schedule = Schedule(steps, rate, _WARM, _COOL, (0.9, 0.999), patience=0)
        self.loss = default_loss() if loss is None else loss

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        """See `Inverter`. Every row of a code is the same; of `start`, the mean of the rows is taken."""
        space, count, steps = measure_w(self.generator), len(images), self.schedule.steps
        images = fitted(images, self.generator)
        compare = self.loss.against(images)
        module = sharing_copy(self.generator)
        maps = noise_maps(module) if self.noise else {}
        random = torch.Generator("cpu").manual_seed(self.seed)
        first = space.w.mean.expand(count, -1) if start is None else start.codes.mean(dim=1)
        codes = first.detach().clone()
        # One map of each size for each face, all from the same seed so that a batch does not matter.
        noises = [
            torch.randn(1, 1, *one.shape, generator=random).repeat(count, 1, 1, 1).to(images.device)
            for one in maps.values()
        ]

        def draw(ws: Tensor) -> Tensor:
            for name, noise in zip(maps, noises, strict=True):
                put(module, name, noise)
            picture: Tensor = module.synthesize(ws.unsqueeze(1).expand(-1, self.generator.num_ws, -1))  # type: ignore[operator]
            return picture

        def losses(number: int) -> tuple[Tensor, Tensor]:
            strength = _NOISE_SCALE * space.deviation * max(0.0, 1.0 - (number - 1) / steps / _NOISE_SHARE) ** 2
            shake = torch.randn(1, codes.shape[1], generator=random).to(codes.device) * strength
            for noise in noises:
                noise.data.copy_(_normalised(noise.data))
            distance = compare(draw(codes + shake))
            return distance + self.noise_weight * regularity(noises, count).to(distance.device), distance

        def picture() -> Tensor:
            with torch.no_grad():
                return draw(codes)

        found, done = descend(
            [codes, *noises], losses, count, self.schedule, keep="last", progress=progress, picture=picture
        )
        kept = [_normalised(noise) for noise in found[1:]]
        ws = found[0].unsqueeze(1).expand(-1, self.generator.num_ws, -1).contiguous()
        return Inversion(ws, self._tunings(maps, kept, count), done)

    def _tunings(self, maps: dict[str, Tensor], noises: Sequence[Tensor], count: int) -> tuple[Tuning, ...]:
        if not maps:
            return ()
        stored = noise_maps(sharing_copy(self.generator))
        changes = [
            {name: (noise[index, 0] - stored[name]).to("cpu") for name, noise in zip(maps, noises, strict=True)}
            for index in range(count)
        ]
        return tuple(Tuning(one, self.generator.fingerprint) for one in changes)


def regularity(noises: Sequence[Tensor], count: int) -> Tensor:
    """How much noise maps resemble themselves a pixel away, at every scale down to 8 pixels; 0 for white noise.

    Source: Karras et al. 2020, appendix D.

    Args:
        noises: maps (N, 1, S, S), S a power of two.
        count: N.

    Returns:
        (N,), not negative.
    """
    total = torch.zeros(count)
    for noise in noises:
        level, total = noise, total.to(noise.device)
        while True:
            for axis in (2, 3):
                total = total + (level * level.roll(1, dims=axis)).mean(dim=(1, 2, 3)).square()
            if level.shape[-1] <= _LEAST_SIDE:
                break
            level = functional.avg_pool2d(level, 2) * 2.0  # keeps the variance of white noise
    return total


def _normalised(noise: Tensor) -> Tensor:
    """Each map (N, 1, S, S) at mean 0 and variance 1."""
    centred = noise - noise.mean(dim=(2, 3), keepdim=True)
    return centred * (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-8).rsqrt()
