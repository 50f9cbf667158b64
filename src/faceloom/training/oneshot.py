"""A twin from one picture.

The reference is inverted, and codes that keep its coarse rows and take the fine ones of other people should all look
like it: the paired set of JoJoGAN (Chong and Forsyth 2021, "JoJoGAN: One Shot Face Stylization", sections 3.1 to 3.3).
With a generator as small as ours that alone copies the person, too. So other people join: their features in the deep
layers of a frozen network stay what they were, the statistics of those in the shallow layers become the reference's
(Huang and Belongie 2017, "Arbitrary Style Transfer in Real-time", equation 13), and they take on its palette.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from faceloom.domains.palette import Palette
from faceloom.domains.twin import Twin, check_name, twin_of
from faceloom.encoders.features import EfficientNetFeatures, squared_distances, unit_features
from faceloom.errors import PhotoError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import resized, to_images, to_pixels
from faceloom.imaging.photos import open_photo
from faceloom.inversion.losses import face_weight, pixel_distance
from faceloom.model import Model
from faceloom.training.twins import Report, falling, require_stylegan2, step_with, trainable
from faceloom.types import Photo

_LEAST_CONTRAST = 3.0  # standard deviation of lightness in levels, under which a picture shows nothing
_FEATURE_SIDE = 128
_LUMA = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)


@dataclass(frozen=True)
class OneShot:
    """How to learn from one picture.

    Attributes:
        steps: of training.
        batch: codes a step; half of them are mixed from the reference, half are other people.
        learning_rate: Adam's; it falls to nothing along a cosine.
        first: the coarsest resolution in pixels whose layers are trained.
        paired, style, content, palette: weights of the losses.
        keep_colour: learn the strokes, and leave people the colours that they have.
        seed: of the codes.
    """

    steps: int = 100
    batch: int = 6
    learning_rate: float = 5e-3
    first: int = 16
    paired: float = 1.0
    style: float = 0.5
    content: float = 0.3
    palette: float = 2.0
    keep_colour: bool = False
    seed: int = 0


def learn_style(
    model: Model,
    reference: Photo | Path,
    name: str,
    settings: OneShot | None = None,
    *,
    title: str = "",
    report: Report | None = None,
) -> Twin:
    """A twin that draws as one picture is drawn.

    Args:
        model: whose generator gets a twin; it needs an encoder.
        reference: a picture with a face, or its path.
        name: of the twin.
        settings: how to learn.
        title: for people; the picture's name where left out.
        report: told of the progress.

    Raises:
        PhotoError: if the picture cannot be read, or shows one colour only.
        FaceError: if it has no face that can be found.
        UsageError: if the name is no name, or the generator no StyleGAN2.
    """
    settings = settings or OneShot()
    check_name(name)
    base = require_stylegan2(model)
    photo = reference if isinstance(reference, Photo) else open_photo(reference)
    target = _aligned(photo, base.resolution)
    with torch.no_grad():
        own = model.require_encoder()(target)
    tuned = _train(base, own, target, settings, report)
    info = {"from": photo.name, "steps": settings.steps, "keep_colour": settings.keep_colour}
    return twin_of(base, tuned, name, title or Path(photo.name).stem, info=info)


def _aligned(photo: Photo, resolution: int) -> Tensor:
    if float(photo.pixels[::2, ::2].mean(axis=2).std()) < _LEAST_CONTRAST:
        raise PhotoError(f"{photo.name} shows one colour and nothing else; choose a picture with a face")
    crop = align(photo, choose(detect(photo), None, photo), resolution)
    return to_images(crop.pixels)


def _train(base: StyleGAN2, own: Tensor, target: Tensor, settings: OneShot, report: Report | None) -> StyleGAN2:
    tuned, parameters = trainable(base, settings.first)
    optimizer = torch.optim.Adam(parameters, settings.learning_rate, betas=(0.9, 0.99))
    features = _Looks()
    random = torch.Generator().manual_seed(settings.seed)
    seen = _without_colour(target) if settings.keep_colour else target
    wanted = features.all(seen)
    palette = Palette(to_pixels(target)[0])
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * falling(step, settings.steps)
        half = max(1, settings.batch // 2)
        with torch.no_grad():
            others = base.map(torch.randn(2 * half, base.z_dim, generator=random), truncation=0.8)
            before = base.synthesize(others[half:])
        codes = torch.cat([_mixed(own, others[:half], random), others[half:]])
        drawn = tuned.synthesize(codes)
        shown = _without_colour(drawn) if settings.keep_colour else drawn
        maps = features.all(shown)
        loss = settings.paired * (
            (shown[:half] - seen).abs() * face_weight(shown.shape[-1])
        ).mean() + settings.paired * features.apart([one[:half] for one in maps], wanted)
        people = [one[half:] for one in maps]
        loss = loss + settings.style * features.style(people, wanted)
        loss = loss + settings.content * features.content(people, features.all(before))
        painted = np.stack([palette.apply(one, keep_colour=settings.keep_colour) for one in to_pixels(before)])
        loss = loss + settings.palette * pixel_distance(drawn[half:], to_images(painted)).mean()
        step_with(optimizer, loss)
        if report is not None:
            report("Learning the style", step + 1, settings.steps)
    return tuned.requires_grad_(False).eval()


def _mixed(own: Tensor, others: Tensor, random: torch.Generator) -> Tensor:
    """Codes (N, num_ws, w_dim): the reference's coarse rows, and fine ones between its own and other people's."""
    rows = own.shape[1]
    share = torch.rand(len(others), 1, 1, generator=random)
    fine = (torch.arange(rows) >= rows // 2).float().reshape(1, -1, 1)
    return own + fine * share * (others - own)


def _without_colour(images: Tensor) -> Tensor:
    return (images * _LUMA).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)


class _Looks:
    """What a picture looks like, in the stages of a frozen network."""

    def __init__(self) -> None:
        self.network = EfficientNetFeatures((1, 2, 3, 4))

    def all(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network(resized(images, _FEATURE_SIDE))
        return maps

    def apart(self, maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
        """Mean distance of feature maps to those of one picture, place by place."""
        return torch.stack([one.mean() for one in squared_distances(unit_features(maps), unit_features(wanted))]).mean()

    def style(self, maps: list[Tensor], wanted: list[Tensor]) -> Tensor:
        """How far mean and deviation of each feature of the shallow stages are from those of one picture."""
        terms = []
        for one, other in zip(maps[:3], wanted[:3], strict=True):
            scale = other.std() + 1e-6
            for first, last in zip(_moments(one), _moments(other), strict=True):
                terms.append(((first - last) / scale).square().mean())
        return torch.stack(terms).mean()

    def content(self, maps: list[Tensor], before: list[Tensor]) -> Tensor:
        """How far the deep stages are from what they were, place by place."""
        deep = squared_distances(unit_features(maps[2:]), unit_features(before[2:]))
        return torch.stack([one.mean() for one in deep]).mean()


def _moments(one: Tensor) -> tuple[Tensor, Tensor]:
    return one.mean(dim=(2, 3)), (one.var(dim=(2, 3), unbiased=False) + 1e-6).sqrt()
