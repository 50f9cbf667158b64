"""Twins from illustrators: the generator learns to draw what an illustrator makes of its own pictures.

The illustrator redraws the generator's picture of a code, and the late layers of a copy learn to draw that from the
same code. Nothing is adversarial and every pair is exact, so it takes minutes on a CPU, and the code keeps meaning the
same person by construction. Mapping and early layers are frozen (Lee, Hwang and Kim 2020, "Freeze the Discriminator",
and FreezeG after it).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from faceloom.domains.illustrators import Colour, Illustrator, draw_faces
from faceloom.domains.twin import Twin, resolution_of, twin_of
from faceloom.errors import TrainingError, UsageError
from faceloom.faces.landmarks import stance_of
from faceloom.faces.networks import predict_landmarks
from faceloom.generators.protocol import forget_fingerprint
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import image_batches, to_images, to_pixels
from faceloom.inversion.losses import PerceptualDistance, pixel_distance
from faceloom.model import Model
from faceloom.training.images import FaceSet
from faceloom.types import Pixels, Points

Report = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""

_LANDMARK_SIDE = 256
_BATCH = 32


@dataclass(frozen=True)
class TwinTraining:
    """How to train a twin from an illustrator. The defaults are the embedded twins'.

    Attributes:
        faces: how many faces are drawn.
        steps: of training.
        batch: images a step.
        learning_rate: Adam's; it falls to nothing along a cosine.
        first: the coarsest resolution in pixels whose layers are trained.
        perceptual: weight of the perceptual loss; the pixel loss has weight 1.
        seed: of the choice of faces and batches.
    """

    faces: int = 256
    steps: int = 160
    batch: int = 12
    learning_rate: float = 4e-3
    first: int = 16
    perceptual: float = 0.3
    seed: int = 0


def train_illustrated(
    model: Model,
    style: Illustrator,
    name: str,
    faces: FaceSet | None = None,
    settings: TwinTraining | None = None,
    *,
    report: Report | None = None,
) -> Twin:
    """Train a twin that draws as an illustrator does.

    Args:
        model: whose generator gets a twin; a StyleGAN2.
        style: the illustrator.
        name: of the twin.
        faces: whose codes to draw, found by the model's encoder; codes of random people where None.
        settings: how to train.
        report: told of the progress.

    Raises:
        UsageError: if the generator is no StyleGAN2, or the name no name.
        TrainingError: if the loss is no longer a number.
    """
    settings = settings or TwinTraining()
    base = require_stylegan2(model)
    codes = codes_of_faces(model, faces, settings) if faces is not None else random_codes(base, settings)
    pictures = np.concatenate([to_pixels(draw_batch(base, part)) for part in torch.split(codes, _BATCH)])
    landmarks = np.stack([drawn_landmarks(picture) for picture in pictures])
    told = None if report is None else lambda done, every: report(f"Drawing faces ({style.name})", done, every)
    drawings = draw_faces(style, pictures, landmarks, base.resolution, told)
    tuned = fit(base, codes, drawings, settings, report=report)
    if style.ends is not None:
        confine(tuned, *style.ends)
    info = {"faces": len(codes), "steps": settings.steps, "from": "illustrator"}
    return twin_of(base, tuned, name, style.title, style.name, info)


def require_stylegan2(model: Model) -> StyleGAN2:
    """The model's generator; raises UsageError where it is no StyleGAN2."""
    if not isinstance(model.generator, StyleGAN2):
        raise UsageError(f"only a StyleGAN2 can have twins, and {model.id!r} is a {type(model.generator).__name__}")
    return model.generator


def trainable(base: StyleGAN2, first: int) -> tuple[StyleGAN2, list[Tensor]]:
    """A copy of a generator, and the parameters that are trained, which alone want gradients.

    They are the layers from `first` pixels on, and what turns the features of the coarser ones into colours.
    """
    tuned = copy.deepcopy(base)
    forget_fingerprint(tuned)
    chosen = [
        parameter for name, parameter in tuned.named_parameters() if resolution_of(name) >= first or ".to_rgb." in name
    ]
    tuned.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    if first > base.resolution:
        raise UsageError(f"a generator of {base.resolution} px has no layers from {first} px on")
    return tuned, cast(list[Tensor], chosen)


@torch.no_grad()
def codes_of_faces(model: Model, faces: FaceSet, settings: TwinTraining) -> Tensor:
    """Codes (N, num_ws, w_dim) of some of the faces, evenly spread over the set, every other one mirrored."""
    encoder = model.require_encoder()
    chosen = np.unique(np.linspace(0, len(faces) - 1, min(settings.faces, len(faces))).astype(int))
    pixels = faces.pixels[chosen]
    pixels[1::2] = pixels[1::2, :, ::-1]
    return torch.cat([encoder(images) for images in image_batches(pixels, _BATCH)])


@torch.no_grad()
def random_codes(base: StyleGAN2, settings: TwinTraining) -> Tensor:
    """Codes (N, num_ws, w_dim) of people who do not exist, truncated a little."""
    random = torch.Generator().manual_seed(settings.seed)
    return base.map(torch.randn(settings.faces, base.z_dim, generator=random), truncation=0.8)


@torch.no_grad()
def draw_batch(generator: StyleGAN2, codes: Tensor) -> Tensor:
    """Images of codes, without gradients."""
    return generator.synthesize(codes)


def drawn_landmarks(picture: Pixels) -> Points:
    """Landmarks (68, 2), in shares of the side, of an aligned picture that a generator drew: (S, S, 3) uint8 RGB."""
    large = Image.fromarray(picture).resize((_LANDMARK_SIDE, _LANDMARK_SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(large)
    side = float(_LANDMARK_SIDE)
    found = predict_landmarks(pixels, (0.5 * side, 0.62 * side), 0.6 * side)
    stance = stance_of(found)
    return predict_landmarks(pixels, stance.centre, stance.side) / side


def fit(
    base: StyleGAN2,
    codes: Tensor,
    drawings: NDArray[np.uint8],
    settings: TwinTraining,
    *,
    report: Report | None = None,
) -> StyleGAN2:
    """Train a copy of a generator to draw `drawings` (N, S, S, 3) from `codes` (N, num_ws, w_dim).

    Raises:
        TrainingError: if the loss is no longer a number.
    """
    tuned, parameters = trainable(base, settings.first)
    optimizer = torch.optim.Adam(parameters, settings.learning_rate, betas=(0.9, 0.99))
    perceptual = PerceptualDistance(min(128, 2 * base.resolution)) if settings.perceptual else None
    random = torch.Generator().manual_seed(settings.seed)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * falling(step, settings.steps)
        chosen = torch.randint(len(codes), (min(settings.batch, len(codes)),), generator=random)
        target = to_images(drawings[chosen.numpy()])
        fake = tuned.synthesize(codes[chosen])
        loss = pixel_distance(fake, target).mean()
        if perceptual is not None:
            loss = loss + settings.perceptual * perceptual(fake, target).mean()
        step_with(optimizer, loss)
        if report is not None:
            report("Training", step + 1, settings.steps)
    return tuned.requires_grad_(False).eval()


@torch.no_grad()
def confine(generator: StyleGAN2, first: Colour, last: Colour) -> None:
    """Let a generator, in place, draw no colours but those on the line through two, RGB in [0, 1].

    Its picture is a sum of what each resolution adds, each linear in colour, and so is the nearest colour on the line:
    no training leaves a pencil drawing as free of tints.
    """
    near, far = (torch.tensor(colour) * 2.0 - 1.0 for colour in (first, last))
    along = (far - near) / (far - near).norm()
    onto = torch.outer(along, along)
    layers = [block.to_rgb for block in generator._blocks if block.to_rgb is not None]
    for layer in layers:
        layer.weight.copy_(torch.einsum("ij,jchw->ichw", onto, layer.weight))
        layer.bias.copy_(onto @ layer.bias)
    layers[-1].bias.add_(near - onto @ near)


def falling(step: int, steps: int) -> float:
    """A factor of the learning rate: from 1 to nearly 0 along a cosine, after ten steps of warming up."""
    return 0.5 * (1.0 + math.cos(math.pi * step / max(1, steps))) * min(1.0, (step + 1) / 10.0)


def step_with(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down a loss.

    Raises:
        TrainingError: if the loss is not a number.
    """
    if not bool(torch.isfinite(loss)):
        raise TrainingError("the loss is no longer a number; nothing was saved; try a lower learning rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
