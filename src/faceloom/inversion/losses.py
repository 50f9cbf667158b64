"""What inversion compares a picture with the photo by."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn

from faceloom.encoders.features import EfficientNetFeatures, squared_distances, unit_features
from faceloom.imaging.convert import resized

Comparison = Callable[[Tensor], Tensor]
"""Images (N, 3, S, S) to their distances from the originals that it was made for, (N,); differentiable."""


class Loss(Protocol):
    """A distance of pictures that inversion can minimise.

    `PixelLoss` and `PerceptualDistance` are two, `WeightedSum` adds some up, and whoever has a network that tells
    people apart writes a third: `faceloom.metrics.likeness.IdentityLoss` is an example.
    """

    def against(self, real: Tensor) -> Comparison:
        """Prepare the originals, images (N, 3, S, S), once for many comparisons."""
        ...


PERCEPTUAL_STAGES = (1, 2, 3, 4)
"""Of EfficientNet-Lite0, that pictures are compared in."""


@cache
def face_weight(size: int, background: float = 0.3) -> Tensor:
    """(1, 1, size, size) weights of the pixels of an FFHQ-aligned face, of mean 1.

    Face and hair weigh most: without it, a small generator spends its codes on backgrounds.
    """
    axis = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = (((x - 0.5) / 0.38).square() + ((y - 0.53) / 0.5).square()).sqrt()
    weight = background + (1.0 - background) * torch.sigmoid((1.0 - radius) * 10.0)
    return (weight / weight.mean()).reshape(1, 1, size, size)


@cache
def _weight_on(size: int, device: torch.device) -> Tensor:
    """`face_weight`, kept on a device: a copy in every step would make the host wait for it."""
    return face_weight(size).to(device)


def pixel_distance(fake: Tensor, real: Tensor) -> Tensor:
    """Face-weighted mean absolute difference of images (N, 3, S, S), for each image: (N,)."""
    return ((fake - real).abs() * _weight_on(real.shape[-1], real.device)).mean(dim=(1, 2, 3))


class PixelLoss:
    """Weighted mean absolute difference, plus a share of the squared one.

    Args:
        weight: (1 or N, 1, S, S) weights of pixels, of mean 1; `face_weight` where None.
        squares: how much squared differences count beside absolute ones.
    """

    def __init__(self, weight: Tensor | None = None, squares: float = 0.0) -> None:
        self.weight, self.squares = weight, squares

    def against(self, real: Tensor) -> Comparison:
        """See `Loss`."""
        weight = (face_weight(real.shape[-1]) if self.weight is None else self.weight).to(real.device)

        def compare(fake: Tensor) -> Tensor:
            error = fake - real
            cost = error.abs() if not self.squares else error.abs() + self.squares * error.square()
            return (cost * weight).mean(dim=(1, 2, 3))

        return compare


class WeightedSum:
    """A sum of losses; terms of weight 0 cost nothing.

    Args:
        terms: weight and loss of each.
    """

    def __init__(self, *terms: tuple[float, Loss]) -> None:
        self.terms = [(weight, loss) for weight, loss in terms if weight]

    def against(self, real: Tensor) -> Comparison:
        """See `Loss`."""
        bound = [(weight, loss.against(real)) for weight, loss in self.terms]
        return lambda fake: torch.stack([weight * compare(fake) for weight, compare in bound]).sum(dim=0)


def default_loss(perceptual: float = 0.25) -> WeightedSum:
    """Face-weighted pixel distance, plus `perceptual` times the distance of frozen features."""
    return WeightedSum((1.0, PixelLoss()), (perceptual, shared_features()) if perceptual else (0.0, PixelLoss()))


class PerceptualDistance(nn.Module):
    """Distance of images in the feature maps of a frozen network, weighted towards the face, on their device.

    Each feature vector is brought to unit length; squared differences are summed over channels and averaged over places
    and stages, as in Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features", equation 1, without learned
    channel weights.

    Args:
        size: images are brought to this side first, or to twice their own where that is less.
        stages: which stages of EfficientNet-Lite0 to compare.
    """

    def __init__(self, size: int = 96, stages: Sequence[int] = PERCEPTUAL_STAGES) -> None:
        super().__init__()
        self.size = size
        self.features = EfficientNetFeatures(stages).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._copies: dict[torch.device, nn.Module] = {}

    def maps(self, images: Tensor) -> list[Tensor]:
        """The feature maps (N, C, H, W) of images (N, 3, S, S), fine to coarse; differentiable."""
        maps: list[Tensor] = self._on(images.device)(self._resize(images))
        return maps

    def targets(self, real: Tensor) -> list[Tensor]:
        """Unit features of images (N, 3, S, S), for `distance_to`."""
        with torch.no_grad():
            return unit_features(self.maps(real))

    def distance_to(self, targets: list[Tensor], fake: Tensor) -> Tensor:
        """Distance of each image to its target, (N,); differentiable with respect to `fake`."""
        return self.between(self.maps(fake), targets)

    def between(self, maps: list[Tensor], targets: list[Tensor]) -> Tensor:
        """The same for the images' `maps`."""
        distances = squared_distances(unit_features(maps), targets)
        weighted = [(one * _weight_on(one.shape[-1], one.device)).mean(dim=(1, 2, 3)) for one in distances]
        return torch.stack(weighted).mean(dim=0)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Distance of each pair of images, (N,)."""
        return self.distance_to(self.targets(real), fake)

    def against(self, real: Tensor) -> Comparison:
        """See `Loss`."""
        targets = self.targets(real)
        return lambda fake: self.distance_to(targets, fake)

    def _on(self, device: torch.device) -> nn.Module:
        """The network on this device: where it is not, a copy, kept from then on."""
        network: nn.Module = self.features
        if device != next(network.parameters()).device:
            if device not in self._copies:
                self._copies[device] = copy.deepcopy(network).to(device)
            network = self._copies[device]
        return network

    def _resize(self, images: Tensor) -> Tensor:
        return resized(images, min(self.size, 2 * images.shape[-1]))


@cache
def shared_features() -> PerceptualDistance:
    """One network for all inverters: it is frozen, and 18 MB to read."""
    return PerceptualDistance()
