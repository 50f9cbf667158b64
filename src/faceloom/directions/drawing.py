"""Drawing codes whose style vectors were moved: the one place where W+ and S meet.

The space S (Wu et al. 2021, "StyleSpace Analysis", section 3) holds what the affine layers make of a code: a style
vector for each modulated layer. Moves in S are kept end to end in one vector of all channels.
"""

from __future__ import annotations

from typing import Protocol, TypeGuard

import torch
from torch import Tensor

from faceloom.directions.direction import Direction
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator, Noise


class StyleGenerator(Generator, Protocol):
    """A generator that shows its style vectors."""

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Ws (N, num_ws, w_dim) to one (N, channels) for each modulated layer, in order."""
        ...

    def synthesize_styles(self, styles: list[Tensor], noise: Noise = "constant") -> Tensor:
        """Style vectors to images (N, 3, resolution, resolution)."""
        ...


def has_styles(generator: Generator) -> TypeGuard[StyleGenerator]:
    """Whether the generator shows its style vectors."""
    return hasattr(generator, "styles") and hasattr(generator, "synthesize_styles")


def require_styles(generator: Generator) -> StyleGenerator:
    """The generator, if it shows its style vectors; raises DirectionError otherwise."""
    if not has_styles(generator):
        raise DirectionError(
            f"{type(generator).__name__} does not show its style vectors: directions in S need a StyleGAN2; "
            "use directions in W"
        )
    return generator


@torch.no_grad()
def style_sizes(generator: Generator) -> list[int]:
    """Channels of each modulated layer, in the order of `styles`.

    Raises:
        DirectionError: if the generator does not show them.
    """
    codes = torch.zeros(1, generator.num_ws, generator.w_dim, device=generator.w_mean.device)
    return [style.shape[1] for style in require_styles(generator).styles(codes)]


def synthesize_moved(
    generator: Generator, codes: Tensor, offset: Tensor | None = None, noise: Noise = "constant"
) -> Tensor:
    """Draw codes, their style vectors moved.

    Args:
        generator: draws; one that shows its style vectors where there is an offset.
        codes: (N, num_ws, w_dim).
        offset: (channels,), or (N, channels), what to add to the style vectors of all modulated layers, end to end;
            None for nothing.
        noise: as `Generator.synthesize`.

    Returns:
        images (N, 3, resolution, resolution).

    Raises:
        DirectionError: if the generator shows no style vectors, or has another number of channels.
    """
    if offset is None:
        return generator.synthesize(codes, noise)
    able = require_styles(generator)
    return able.synthesize_styles(moved_styles(able, codes, offset), noise)


def synthesize_along(generator: Generator, codes: Tensor, direction: Direction, amount: float) -> Tensor:
    """Draw codes (N, num_ws, w_dim) that a direction has moved, in whichever space it moves; raises DirectionError."""
    step = direction.step(amount).to(codes.device)
    return (
        synthesize_moved(generator, codes + step)
        if direction.space == "w+"
        else synthesize_moved(generator, codes, step)
    )


def moved_styles(generator: StyleGenerator, codes: Tensor, offset: Tensor | None) -> list[Tensor]:
    """The style vectors that `synthesize_moved` draws: one (N, channels) for each modulated layer.

    Raises:
        DirectionError: if the generator has another number of channels.
    """
    styles = generator.styles(codes)
    if offset is None:
        return styles
    sizes = [style.shape[1] for style in styles]
    if offset.shape[-1] != sum(sizes):
        raise DirectionError(
            f"the direction has {offset.shape[-1]} channels of S, this generator {sum(sizes)}: it was made for another "
            "generator; use one that came with this model"
        )
    parts = torch.split(offset.to(codes.device), sizes, dim=-1)
    return [style + part for style, part in zip(styles, parts, strict=True)]
