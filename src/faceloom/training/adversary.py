"""What judges drawn images while it learns: a discriminator of whole images, one of patches, one of features.

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
from faceloom.training.discriminator import Discriminator, FeatureDiscriminator, PatchDiscriminator
from faceloom.training.processes import Processes

R1_INTERVAL = 16
PATH_INTERVAL = 8
WEIGH_INTERVAL = 100
JUDGES_RATE = 2.0
"""Learning rate of the discriminator of features, in the generator's."""


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
        _improve(self.discriminator, self.optimizer, total, self.processes)
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
        _improve(self.discriminator, self.optimizer, loss, self.processes)
        seen = fake.detach().requires_grad_()
        fooled = losses.generator_adversarial(self.discriminator(seen))
        (gradient,) = torch.autograd.grad(fooled, seen)

        def joined(other: Tensor) -> Tensor:
            norms = [one.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1) for one in (other, gradient)]
            total: Tensor = other + gradient * (self.pull * norms[0] / norms[1].clamp_min(1e-12))
            return total

        fake.register_hook(joined)  # type: ignore[no-untyped-call]
        return {"patches": fooled.detach(), "discriminator": loss.detach()}


class FeatureCritic:
    """A discriminator that looks through frozen features, with its optimizer.

    Its pull on a picture is kept at a share of that of the other losses, measured now and then (as Esser et al. 2021,
    equation 7, do), so that no weight has to be found.

    Args:
        pull: how hard it pulls on reconstructions, as a share of the pull of the other losses.
        discriminator: on its device.
        rate: the generator's learning rate.
        processes: that train together.
    """

    def __init__(self, pull: float, discriminator: FeatureDiscriminator, rate: float, processes: Processes) -> None:
        self.pull, self.discriminator, self.processes = pull, discriminator, processes
        parameters = list(discriminator.parameters())
        self.optimizer = adam(parameters, JUDGES_RATE * rate, (0.0, 0.99), parameters[0].device)
        self._scaled = False  # asked once, as the host waits for the answer
        self._calls = 0

    def learn(self, real: list[Tensor], drawn: list[Tensor]) -> Tensor:
        """Train it on maps of real and of drawn images; returns its loss (the hinge of Lim and Ye 2017)."""
        if not self._scaled and not bool(self.discriminator.scales.any()):
            self.discriminator.see(real)
            self.processes.average(self.discriminator.scales)
        self._scaled = True
        self.discriminator.requires_grad_(True)
        pairs = zip(self.discriminator(real), self.discriminator([one.detach() for one in drawn]), strict=True)
        parts = [(1.0 - one).relu().mean() + (1.0 + other).relu().mean() for one, other in pairs]
        loss = torch.stack(parts).mean()
        _improve(self.discriminator, self.optimizer, loss, self.processes)
        return loss.detach()

    def fooled(self, images: Tensor, maps: list[Tensor], others: Tensor) -> Tensor:
        """The generator's loss.

        Args:
            images: (N, 3, S, S), reconstructions first, then pictures of nobody.
            maps: of the images.
            others: () the other losses, which reconstructions alone have.
        """
        means = torch.stack([-one.mean(dim=(1, 2, 3)) for one in self.discriminator(maps)]).mean(dim=0)
        # A judge that has just begun to learn pulls harder every few steps.
        if self._calls % (WEIGH_INTERVAL // 10 if self._calls < WEIGH_INTERVAL else WEIGH_INTERVAL) == 0:
            self._weigh(images, means, others)
        self._calls += 1
        return means.mean() * self.discriminator.weight

    def _weigh(self, images: Tensor, means: Tensor, others: Tensor) -> None:
        norms = []
        for loss in (others, means.mean()):
            (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
            norms.append(gradient.flatten(1).norm(dim=1))
        touched = norms[0] > 0.0
        weight = self.pull * norms[0][touched].mean() / norms[1][touched].mean().clamp_min(1e-12)
        self.processes.average(weight)
        self.discriminator.weight.copy_(weight)


def _improve(discriminator: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, processes: Processes) -> None:
    """One step of a discriminator, which then asks for no gradients until its next one."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    processes.average_gradients(discriminator.parameters())
    optimizer.step()
    discriminator.requires_grad_(False)


def normal_codes(memory: Tensor, codes: Tensor, step: int) -> Tensor:
    """Codes of people who do not exist: normal, with the mean and covariance of the codes that were seen last.

    So are those that a mapping set by `faceloom.training.mapping.fit_mapping` gives in the end.

    Args:
        memory: (K, D) the codes seen last, rows of 0 where there were none yet; takes in `codes`.
        codes: (N, D), N at most K.
        step: a number that grows by one a call; says which rows of the memory are the oldest.

    Returns:
        (N, D), without gradients.
    """
    with torch.no_grad():
        rows = (step * len(codes) + torch.arange(len(codes), device=codes.device)) % len(memory)
        memory[rows] = codes
        known = memory.any(dim=1, keepdim=True)
        count = known.sum()
        mean = memory.sum(dim=0) / count
        shares = torch.randn(len(codes), len(memory), device=codes.device) / count.sqrt()
        drawn: Tensor = mean + shares @ ((memory - mean) * known)
        return drawn


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
