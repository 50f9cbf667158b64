"""A twin from drawings that belong to nobody in particular: adversarial, for sets of some tens to some thousands.

The generator keeps its mapping and early layers (FreezeG), the discriminator, once it knows the photos, its layers
nearest to the picture (Mo, Cho and Shin 2020, "Freeze the Discriminator"). What it sees is augmented, the more so the
better it knows the drawings by heart (Karras et al. 2020, "Training Generative Adversarial Networks with Limited
Data", sections 3 and 3.1). And people who are alike before stay as alike afterwards (Ojha et al. 2021, "Few-shot Image
Generation via Cross-domain Correspondence", section 3.1), which is what keeps a handful of drawings from being
learned by heart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.domains.twin import Twin, check_name, twin_of
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.model import Model
from faceloom.training import losses
from faceloom.training.discriminator import Discriminator
from faceloom.training.images import Batches, FaceSet
from faceloom.training.twins import Report, require_stylegan2, step_with, trainable

LEAST_DRAWINGS = 4
_R1_INTERVAL = 8
_TARGET = 0.6  # of the share of drawings that the discriminator takes for drawings (Karras et al. 2020, r_t)


@dataclass(frozen=True)
class DrawingsTraining:
    """How to train on drawings.

    Attributes:
        steps: of the adversarial training.
        warm: steps before it, in which the discriminator alone learns what faces are.
        batch: drawings a step.
        learning_rate: Adam's, of both networks.
        first: the coarsest resolution in pixels whose layers of the generator are trained.
        frozen: how many of the discriminator's finest blocks stay as the warm-up left them.
        correspondence: weight of the cross-domain correspondence.
        r1: weight of the gradient penalty.
        adaptation: how much the strength of the augmentation moves in a step, at most.
        seed: of weights, batches and augmentation.
    """

    steps: int = 1500
    warm: int = 150
    batch: int = 8
    learning_rate: float = 1.5e-3
    first: int = 8
    frozen: int = 2
    correspondence: float = 2.0
    r1: float = 1.0
    adaptation: float = 2e-3
    seed: int = 0


def train_on_drawings(
    model: Model,
    drawings: FaceSet,
    name: str,
    settings: DrawingsTraining | None = None,
    *,
    title: str = "",
    report: Report | None = None,
) -> Twin:
    """Train a twin that draws like a set of drawings.

    Args:
        model: whose generator gets a twin.
        drawings: aligned faces of drawings, at the generator's resolution.
        name: of the twin.
        settings: how to train.
        title: for people; the name where left out.
        report: told of the progress.

    Raises:
        TrainingError: if there are too few drawings, or the loss is no longer a number.
        UsageError: if the name is no name, or the generator no StyleGAN2.
    """
    settings = settings or DrawingsTraining()
    check_name(name)
    base = require_stylegan2(model)
    if len(drawings) < LEAST_DRAWINGS:
        raise TrainingError(
            f"only {len(drawings)} drawings have a face that can be found, and training needs {LEAST_DRAWINGS}; "
            "learn from a single one with `faceloom domain learn`"
        )
    run = _Run(base, drawings, settings)
    for step in range(settings.warm):
        run.warm_up()
        _tell(report, "Preparing", step + 1, settings.warm)
    run.freeze()
    for step in range(settings.steps):
        run.step(step)
        _tell(report, "Training", step + 1, settings.steps)
    info = {"drawings": len(drawings), "steps": settings.steps, "augmentation": round(run.strength, 3)}
    return twin_of(base, run.averaged, name, title or name, info=info)


def _tell(report: Report | None, what: str, done: int, every: int) -> None:
    if report is not None:
        report(what, done, every)


class _Run:
    """Networks and state of one training."""

    def __init__(self, base: StyleGAN2, drawings: FaceSet, settings: DrawingsTraining) -> None:
        torch.manual_seed(settings.seed)
        self.base, self.settings = base, settings
        self.random = torch.Generator().manual_seed(settings.seed)
        self.batches = Batches(drawings, settings.batch, settings.seed)
        self.tuned, parameters = trainable(base, settings.first)
        self.averaged, _ = trainable(base, settings.first)
        self.averaged.requires_grad_(False)
        self.discriminator = Discriminator(base.config.channels)
        rate = settings.learning_rate
        self.optimizer = torch.optim.Adam(parameters, rate, betas=(0.0, 0.99))
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), rate, betas=(0.0, 0.99))
        self.strength = 0.0

    def warm_up(self) -> None:
        """The discriminator learns what faces are: the base's pictures against the same ones shuffled in blocks."""
        with torch.no_grad():
            faces = self.base.synthesize(self._codes())
        loss = losses.discriminator_adversarial(self.discriminator(faces), self.discriminator(_scrambled(faces)))
        step_with(self.judge_optimizer, loss)

    def freeze(self) -> None:
        """Fix the discriminator's layers nearest to the picture."""
        self.discriminator.from_rgb.requires_grad_(False)
        for block in list(self.discriminator.blocks)[: self.settings.frozen]:
            block.requires_grad_(False)
        kept = [one for one in self.discriminator.parameters() if one.requires_grad]
        self.judge_optimizer = torch.optim.Adam(kept, self.settings.learning_rate, betas=(0.0, 0.99))
        self._kept = kept

    def step(self, number: int) -> None:
        """One step of the discriminator, then one of the generator."""
        codes = self._codes()
        drawn = self.tuned.synthesize(codes)
        self._judge(drawn.detach(), number)
        for parameter in self._kept:
            parameter.requires_grad_(False)
        fooled = losses.generator_adversarial(self.discriminator(self._augmented(drawn)))
        loss = fooled + self.settings.correspondence * self._correspondence(drawn, codes)
        step_with(self.optimizer, loss)
        for parameter in self._kept:
            parameter.requires_grad_(True)
        with torch.no_grad():
            own = dict(self.tuned.named_parameters())
            for name, average in self.averaged.named_parameters():
                average.lerp_(own[name], 0.02)

    def _judge(self, drawn: Tensor, number: int) -> None:
        lazy = number % _R1_INTERVAL == 0
        real = self._augmented(next(self.batches)).requires_grad_(lazy)
        scores = self.discriminator(real)
        loss = losses.discriminator_adversarial(scores, self.discriminator(self._augmented(drawn)))
        if lazy:
            loss = loss + losses.r1_penalty(scores, real) * (self.settings.r1 * 0.5 * _R1_INTERVAL)
        step_with(self.judge_optimizer, loss)
        sure = float(scores.detach().sign().mean())
        moved = self.strength + self.settings.adaptation * (1.0 if sure > _TARGET else -1.0)
        self.strength = min(max(moved, 0.0), 0.85)

    def _correspondence(self, drawn: Tensor, codes: Tensor) -> Tensor:
        """Kullback-Leibler divergence of who is how much like whom: of the drawings from the base's pictures."""
        with torch.no_grad():
            before = _likeness(self.base.synthesize(codes)).softmax(dim=1)
        return functional.kl_div(_likeness(drawn).log_softmax(dim=1), before, reduction="batchmean")

    def _codes(self) -> Tensor:
        with torch.no_grad():
            z = torch.randn(self.settings.batch, self.base.z_dim, generator=self.random)
            return self.base.map(z)

    def _augmented(self, images: Tensor) -> Tensor:
        """Each change happens to each image with the present strength: shift, zoom and turn, light, colour, a hole."""
        count, _, side, _ = images.shape
        chance: Callable[[], Tensor] = lambda: (torch.rand(count, generator=self.random) < self.strength).float()  # noqa: E731
        normal: Callable[[], Tensor] = lambda: torch.randn(count, generator=self.random)  # noqa: E731
        angle, zoom = 0.25 * normal() * chance(), torch.exp(0.15 * normal() * chance())
        cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        shift = [0.12 * normal() * chance() for _ in range(2)]
        theta = torch.stack([torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)], 1)
        grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        shaped = (-1, 1, 1, 1)
        contrast, light = torch.exp(0.25 * normal() * chance()), 0.2 * normal() * chance()
        moved = moved * contrast.reshape(shaped) + light.reshape(shaped)
        grey = moved.mean(dim=1, keepdim=True)
        moved = grey + (moved - grey) * torch.exp(0.4 * normal() * chance()).reshape(shaped)
        middle = torch.rand(2, count, generator=self.random) * side
        place = torch.arange(side).float()
        inside = ((place[None] - middle[:, :, None]).abs() < side / 4).float()
        hole = inside[0][:, None, None, :] * inside[1][:, None, :, None] * chance().reshape(shaped)
        return moved * (1.0 - hole)


def _likeness(images: Tensor) -> Tensor:
    """(N, N - 1) cosines between each image and the others, of their lightness without its mean, times a sharpness."""
    grey = functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), 16).flatten(1)
    unit = functional.normalize(grey - grey.mean(dim=1, keepdim=True), dim=1, eps=1e-6)
    count = len(unit)
    others = ~torch.eye(count, dtype=torch.bool)
    return 4.0 * (unit @ unit.T)[others].reshape(count, count - 1)


def _scrambled(images: Tensor, blocks: int = 4) -> Tensor:
    """The same images with their rows and columns of blocks in another order."""
    side = images.shape[-1] // blocks
    order = torch.tensor([2, 0, 3, 1])
    index = (order[:, None] * side + torch.arange(side)).flatten()
    return images[:, :, index][:, :, :, index]
