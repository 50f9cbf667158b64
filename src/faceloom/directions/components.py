"""Directions without labels: where codes in W vary most (GANSpace), and where the picture reacts most (SeFa)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from faceloom.directions.density import Spread
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.drawing import require_styles
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.protocol import Generator

Float = NDArray[np.float64]
Layers = tuple[int, int]

BATCH = 1000
DEVIATION = "one standard deviation of codes along it"


class Covariance:
    """Mean and covariance of rows that come a batch at a time: principal components of any number of codes.

    It is exact, and needs the memory of one (D, D) matrix, since D is at most a few thousand in W.

    Args:
        size: D.
    """

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sum: Float = np.zeros(size)
        self._products: Float = np.zeros((size, size))
        self._origin: Float | None = None

    def add(self, rows: Tensor) -> None:
        """Take in rows (N, D)."""
        values = rows.detach().cpu().double().numpy()
        if not np.isfinite(values).all():
            raise DirectionError("some codes are not finite numbers: the generator or its file is damaged")
        if self._origin is None:
            self._origin = values.mean(axis=0)  # sums of squares far from 0 would lose digits
        values = values - self._origin
        self.count += len(values)
        self._sum += values.sum(axis=0)
        self._products += values.T @ values

    @property
    def mean(self) -> Float:
        """(D,)."""
        return np.asarray(self._sum / self.count + (0.0 if self._origin is None else self._origin))

    @property
    def matrix(self) -> Float:
        """(D, D), the covariance with N - 1."""
        mean = self._sum / self.count
        return np.asarray((self._products - self.count * np.outer(mean, mean)) / (self.count - 1))

    def components(self, count: int) -> tuple[Float, Float]:
        """The `count` first principal components (count, D), of length 1, and their standard deviations (count,)."""
        values, vectors = np.linalg.eigh(self.matrix)
        order = np.argsort(values)[::-1][:count]
        return _signed(vectors[:, order].T), np.sqrt(np.clip(values[order], 0.0, None))


@torch.no_grad()
def sample_codes(generator: Generator, count: int, seed: int = 0) -> Tensor:
    """Codes in W of `count` random faces, (count, w_dim); the same for the same seed.

    Raises:
        UsageError: if fewer than 10 are asked for, or the generator is conditional.
    """
    if count < 10:
        raise UsageError(f"{count} samples say nothing about a generator; use at least 10, better 1000 and more")
    random = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, count, BATCH):
        z = torch.randn(min(BATCH, count - start), generator.z_dim, generator=random)
        parts.append(generator.map(z.to(generator.w_mean.device))[:, 0].cpu())
    return torch.cat(parts)


def principal_directions(
    generator: Generator, *, count: int = 20, samples: int = 20_000, layers: Sequence[Layers] = (), seed: int = 0
) -> DirectionSet:
    """Principal components of W, called "pc0", "pc1" and so on; a unit is one standard deviation.

    Source: Härkönen et al. 2020, "GANSpace: Discovering Interpretable GAN Controls", sections 2.1 and 2.2.

    Args:
        generator: any.
        count: how many components.
        samples: how many random codes.
        layers: groups of layers, from (inclusive) and to (exclusive), to which each component is applied on its own;
            all layers together where empty.
        seed: of the codes.

    Raises:
        UsageError: if a number makes no sense.
    """
    if not 1 <= count <= generator.w_dim:
        raise UsageError(f"this generator has 1 to {generator.w_dim} principal components, not {count}")
    codes = sample_codes(generator, samples, seed)
    covariance = Covariance(generator.w_dim)
    for part in torch.split(codes, BATCH):
        covariance.add(part)
    vectors, deviations = covariance.components(count)
    steps = [(f"pc{number}", step) for number, step in enumerate(vectors * deviations[:, None])]
    return _applied(generator, steps, layers, codes, f"principal components of {samples} codes in W, seed {seed}")


def closed_form_directions(
    generator: Generator, *, count: int = 5, layers: Sequence[Layers] = (), samples: int = 2000, seed: int = 0
) -> DirectionSet:
    """The directions of W to which the style vectors of each group of layers react most, called "sefa0" and so on.

    They are the eigenvectors of A^T A with the largest eigenvalues, where A is what the affine layers make of a code.
    Source: Shen and Zhou 2021, "Closed-Form Factorization of Latent Semantics in GANs" (SeFa), section 3.2.

    Args:
        generator: one that shows its style vectors.
        count: how many for each group.
        layers: groups of layers, as `principal_directions`.
        samples: how many random codes tell the unit and the range; the directions need none.
        seed: of the codes.

    Raises:
        DirectionError: if the generator does not show its style vectors.
        UsageError: if a number makes no sense.
    """
    if not 1 <= count <= generator.w_dim:
        raise UsageError(f"this generator has 1 to {generator.w_dim} such directions, not {count}")
    codes = sample_codes(generator, samples, seed)
    centred = (codes - codes.mean(dim=0)).double().numpy()
    found: list[Direction] = []
    for group in layers or [(0, generator.num_ws)]:
        matrix = style_matrix(generator, group)
        values, vectors = np.linalg.eigh(matrix.T @ matrix)
        chosen = _signed(vectors[:, np.argsort(values)[::-1][:count]].T)
        deviations = (centred @ chosen.T).std(axis=0)
        steps = [(f"sefa{number}", step) for number, step in enumerate(chosen * deviations[:, None])]
        found.extend(_applied(generator, steps, [group] if layers else (), codes, ""))
    return DirectionSet(found, generator.fingerprint, {"found": "SeFa, closed form; units from random codes"})


@torch.no_grad()
def style_matrix(generator: Generator, layers: Layers) -> Float:
    """What the affine layers of rows `layers` of W+ make of one code for all of them, without bias: (channels, w_dim).

    A toRGB layer shares its row with a convolution, and is part of it.

    Raises:
        DirectionError: if the generator does not show its style vectors.
        UsageError: if there are no such layers.
    """
    able = require_styles(generator)
    check_layers(generator, layers)
    size = generator.w_dim
    codes = torch.zeros(size + 1, generator.num_ws, size, device=generator.w_mean.device)
    codes[1:, layers[0] : layers[1]] = torch.eye(size, device=codes.device)[:, None]
    responses = [(style[1:] - style[:1]).double() for style in able.styles(codes)]
    reached = [one for one in responses if bool(one.any())]
    if not reached:
        raise DirectionError(
            "no affine layer reacts to these layers of the code: the generator's weights are zero there"
        )
    return np.asarray(torch.cat(reached, dim=1).T.cpu().numpy(), np.float64)


def check_layers(generator: Generator, layers: Layers) -> None:
    """Raise UsageError if the generator has no such style layers."""
    if not 0 <= layers[0] < layers[1] <= generator.num_ws:
        raise UsageError(
            f"this generator has the layers 0 to {generator.num_ws - 1}, not {layers[0]} to {layers[1] - 1}"
        )


def _applied(
    generator: Generator, steps: Sequence[tuple[str, Float]], layers: Sequence[Layers], codes: Tensor, how: str
) -> DirectionSet:
    spread = Spread.of(codes)
    found = []
    for name, step in steps:
        move = torch.from_numpy(step).float()
        for group in layers or [(0, generator.num_ws)]:
            check_layers(generator, group)
            vector = torch.zeros(generator.num_ws, generator.w_dim)
            vector[group[0] : group[1]] = move
            limits = spread.range_of(codes, vector.mean(dim=0))
            title = f"{name}-layers-{group[0]}-{group[1] - 1}" if layers else name
            found.append(Direction(title, vector, group, limits, "less", "more", unit=DEVIATION))
    return DirectionSet(found, generator.fingerprint, {"found": how})


def _signed(vectors: Float) -> Float:
    """The sign of an eigenvector is an accident: the entry of the largest magnitude is made positive."""
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1)
    return np.asarray(vectors * np.where(largest < 0, -1.0, 1.0))
