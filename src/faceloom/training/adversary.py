"""What judges drawn images while it learns: a discriminator of whole images, and one of patches.

Sources: Goodfellow et al. 2014 (the game); Karras et al. 2020 (lazy R1, style mixing, path length).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.training import losses
from faceloom.training.arithmetic import Arithmetic, adam
from faceloom.training.augmentation import ADAPT_EVERY, Augmentation
from faceloom.training.config import TrainingConfig
from faceloom.training.discriminator import Discriminator, PatchDiscriminator
from faceloom.training.processes import Processes

R1_INTERVAL = 16
PATH_INTERVAL = 8


class Adversary:
    """The discriminator with what belongs to its training.

    Args:
        config: with `adversarial` above 0.
        discriminator: for images of `config.resolution`, on its device.
        arithmetic: how it computes.
        processes: that train together.
    """

    def __init__(
        self, config: TrainingConfig, discriminator: Discriminator, arithmetic: Arithmetic, processes: Processes
    ) -> None:
        self.config, self.arithmetic, self.processes = config, arithmetic, processes
        self.discriminator = discriminator
        self.device = next(discriminator.parameters()).device
        self.augmentation = Augmentation(config.augment).to(self.device) if config.augment else None
        self.optimizer = adam(list(discriminator.parameters()), config.learning_rate, (0.0, 0.99), self.device)
        self._score = arithmetic.ready(discriminator.forward)

    def learn(self, real: Tensor, drawn: Tensor, step: int) -> Tensor:
        """Train the discriminator on real and drawn images (N, 3, S, S), (M, 3, S, S); returns its loss."""
        self.discriminator.requires_grad_(True)
        lazy = step % R1_INTERVAL == 0
        wanted = self._seen(real.detach()).detach().requires_grad_(lazy)
        real_scores = self.discriminator(wanted) if lazy else self._scores(wanted)
        loss = losses.discriminator_adversarial(real_scores, self._scores(self._seen(drawn.detach())))
        total = loss
        if lazy:
            total = loss + losses.r1_penalty(real_scores, wanted) * (self.config.r1 * 0.5 * R1_INTERVAL)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.discriminator.parameters())
        self.optimizer.step()
        self.discriminator.requires_grad_(False)
        self._strengthen(real_scores, step)
        return loss

    def fooled(self, drawn: Tensor) -> Tensor:
        """The generator's loss for drawn images (M, 3, S, S)."""
        return losses.generator_adversarial(self._scores(self._seen(drawn)))

    def _scores(self, images: Tensor) -> Tensor:
        with self.arithmetic.casting(self.device):
            scores = self._score(images)
        return scores.float()

    def _seen(self, images: Tensor) -> Tensor:
        return images if self.augmentation is None else self.augmentation(images)

    def _strengthen(self, real_scores: Tensor, step: int) -> None:
        if self.augmentation is None:
            return
        self.augmentation.observe(real_scores)
        if (step + 1) % ADAPT_EVERY == 0:
            self.processes.average(self.augmentation.sign_sum, self.augmentation.sign_count)
            self.augmentation.adapt(ADAPT_EVERY * self.config.batch)


class PatchCritic:
    """The discriminator of patches with its optimizer.

    Args:
        pull: how hard it pulls, as a share of the pull of the other losses.
        discriminator: on its device.
        rate: learning rate.
        processes: that train together.
    """

    def __init__(self, pull: float, discriminator: PatchDiscriminator, rate: float, processes: Processes) -> None:
        self.pull, self.discriminator, self.processes = pull, discriminator, processes
        parameters = list(discriminator.parameters())
        self.optimizer = adam(parameters, rate, (0.5, 0.99), parameters[0].device)

    def join(self, fake: Tensor, real: Tensor) -> dict[str, Tensor]:
        """Train the patch discriminator, and arrange that its pull joins that of the other losses on `fake`.

        Its gradient is scaled to `pull` times the norm of theirs, image by image, so that no weight has to be found
        (Esser et al. 2021, equation 7, balance the last layer in this way).
        """
        self.discriminator.requires_grad_(True)
        loss = losses.discriminator_adversarial(self.discriminator(real), self.discriminator(fake.detach()))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.processes.average_gradients(self.discriminator.parameters())
        self.optimizer.step()
        self.discriminator.requires_grad_(False)
        seen = fake.detach().requires_grad_()
        fooled = losses.generator_adversarial(self.discriminator(seen))
        (gradient,) = torch.autograd.grad(fooled, seen)

        def joined(other: Tensor) -> Tensor:
            norms = [one.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for one in (other, gradient)]
            total: Tensor = other + gradient * (self.pull * norms[0] / norms[1].clamp_min(1e-12))
            return total

        fake.register_hook(joined)  # type: ignore[no-untyped-call]
        return {"patches": fooled.detach(), "discriminator": loss.detach()}


def mixed_codes(generator: StyleGAN2, z: Tensor) -> Tensor:
    """Codes of z, half of them with the styles of another z from a random layer on (style mixing)."""
    ws = generator.map(z)
    other = ws.roll(1, dims=0)
    cut = torch.randint(1, 2 * generator.num_ws, (len(z), 1, 1), device=z.device)
    row = torch.arange(generator.num_ws, device=z.device).reshape(1, -1, 1)
    return torch.where(row < cut, ws, other)


class Averages:
    """Keeps exponential moving averages of modules' parameters and buffers in copies of them.

    Args:
        kept: the copies.
        live: the modules that are trained, of the same structure.
    """

    def __init__(self, kept: nn.Module, live: nn.Module) -> None:
        pairs: list[tuple[Tensor, Tensor]] = [*zip(kept.parameters(), live.parameters(), strict=True)]
        pairs += [*zip(kept.buffers(), live.buffers(), strict=True)]
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        self._kept = [kept for kept, _ in floating]
        self._live = [live for _, live in floating]
        self._counts = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Move the averages towards the live values; `decay` is the weight of the past."""
        torch._foreach_lerp_(self._kept, self._live, 1.0 - decay)
        for held, now in self._counts:
            held.copy_(now)
