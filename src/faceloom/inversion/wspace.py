"""What W of a generator looks like: its mean, its spread, and coordinates in which it is a standard normal.

Sources: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", appendix D (mean and deviation of
10,000 samples); Zhu et al. 2020, "Improved StyleGAN Embedding: Where are the Good Latents?", section 3.2 (the spaces P
and P_N).
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from faceloom.generators.protocol import Generator

SAMPLES = 10_000
_SLOPE = 0.2
"""Of the leaky ReLU that ends a mapping network; its inverse takes W to P."""
_FLOOR = 0.1
"""Least deviation along an axis, as a share of the mean one: a flat axis must not blow up."""
_known: weakref.WeakKeyDictionary[Generator, WSpace] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A normal distribution in some coordinates.

    Attributes:
        mean: (D,).
        axes: (D, D), orthonormal, one principal axis a column.
        scales: (D,) deviation along each.
    """

    mean: Tensor
    axes: Tensor
    scales: Tensor

    @classmethod
    def fit(cls, points: Tensor) -> Gaussian:
        """From points (N, D), N at least 2."""
        mean = points.mean(dim=0)
        # On the CPU: not every device has numbers of 64 bits.
        values, axes = (part.to(mean) for part in torch.linalg.eigh(torch.cov(points.cpu().double().t())))
        scales = values.clamp_min(0.0).sqrt()
        floor = _FLOOR * scales.square().mean().sqrt() + 1e-8
        return cls(mean, axes, scales.clamp_min(float(floor)))

    def whiten(self, points: Tensor) -> Tensor:
        """Points (..., D) to coordinates (..., D) in which the distribution is standard normal."""
        return (points - self.mean) @ self.axes / self.scales

    def color(self, coordinates: Tensor) -> Tensor:
        """The inverse of `whiten`."""
        return (coordinates * self.scales) @ self.axes.t() + self.mean


@dataclass(frozen=True, eq=False)
class WSpace:
    """The codes that a mapping network gives.

    Attributes:
        w: their distribution in W.
        p: their distribution in P, before the last leaky ReLU.
        deviation: root of the mean squared distance of codes from their mean (sigma_w of appendix D).
    """

    w: Gaussian
    p: Gaussian
    deviation: float

    def to_pn(self, ws: Tensor) -> Tensor:
        """Codes (..., w_dim) to P_N."""
        return self.p.whiten(functional.leaky_relu(ws, 1.0 / _SLOPE))

    def from_pn(self, coordinates: Tensor) -> Tensor:
        """The inverse of `to_pn`; differentiable."""
        return functional.leaky_relu(self.p.color(coordinates), _SLOPE)

    def distance(self, ws: Tensor) -> Tensor:
        """How far codes (N, num_ws, w_dim) are from W, (N,).

        The root mean square of their coordinates in whitened W (Mahalanobis' distance over the root of the dimension):
        1 for what the mapping network gives, more for codes that it would not.
        """
        return self.w.whiten(ws).square().mean(dim=(1, 2)).sqrt()


@torch.no_grad()
def measure_w(generator: Generator, samples: int = SAMPLES, seed: int = 123) -> WSpace:
    """Measure W of a generator; with the usual number of samples only once for each."""
    if samples == SAMPLES and (known := _known.get(generator)) is not None:
        return known
    random = torch.Generator("cpu").manual_seed(seed)
    z = torch.randn(samples, generator.z_dim, generator=random).to(generator.w_mean.device)
    classes = int(getattr(getattr(generator, "config", None), "c_dim", 0))
    labels = None
    if classes:
        chosen = torch.randint(classes, (samples,), generator=random)
        labels = functional.one_hot(chosen, classes).to(z)
    ws = torch.cat([generator.map(*part)[:, 0] for part in _parts(z, labels)]).float()
    deviation = float((ws - ws.mean(dim=0)).square().sum(dim=1).mean().sqrt())
    space = WSpace(Gaussian.fit(ws), Gaussian.fit(functional.leaky_relu(ws, 1.0 / _SLOPE)), deviation)
    if samples == SAMPLES:
        _known[generator] = space
    return space


def _parts(z: Tensor, labels: Tensor | None, size: int = 1000) -> list[tuple[Tensor, Tensor | None]]:
    starts = range(0, len(z), size)
    return [(z[at : at + size], None if labels is None else labels[at : at + size]) for at in starts]
