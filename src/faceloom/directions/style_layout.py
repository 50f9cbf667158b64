"""How many channels S has in which layer, and how others write them down.

Source: Wu et al. 2021, "StyleSpace Analysis", section 3: 9088 channels in a StyleGAN2 of 1024 px, 6048 of them not of
toRGB layers, which many projects leave out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from faceloom.directions.drawing import has_styles, require_styles, style_sizes
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator

StyleLayout = tuple[int, ...]
"""Channels of each modulated layer, in the order of the generator's `styles`."""


def _usual_layouts() -> tuple[StyleLayout, ...]:
    """Those of StyleGAN2 from 256 to 1024 px with the channels that NVIDIA and rosinality use.

    A layer's styles scale its input, so the first of each resolution has the channels of the resolution below.
    """
    layouts = []
    for base in (32768, 16384):
        channels = [min(512, base // side) for side in (4, 8, 16, 32, 64, 128, 256, 512, 1024)]
        for count in range(7, len(channels) + 1):
            sizes = [channels[0], channels[0]]
            for before, width in itertools.pairwise(channels[:count]):
                sizes += [before, width, width]
            layouts.append(tuple(sizes))
    return tuple(layouts)


STYLE_LAYOUTS = _usual_layouts()


def layouts_of(generator: Generator | None) -> tuple[StyleLayout, ...]:
    """That of this generator, none where it does not show its styles; the usual ones without a generator."""
    if generator is None:
        return STYLE_LAYOUTS
    return (tuple(style_sizes(generator)),) if has_styles(generator) else ()


def is_in_s(shape: tuple[int, ...], generator: Generator | None) -> bool:
    """Whether an array of this shape is one direction in S.

    Raises:
        DirectionError: if it is a table of many things for each channel, or the generator shows no styles.
    """
    if generator is not None and shape[0] in (generator.w_dim, generator.num_ws):
        return False
    layouts = layouts_of(generator) or STYLE_LAYOUTS
    if shape[0] not in {total for one in layouts for total in (sum(one), sum(without_colours(one)))}:
        return False
    if len(shape) > 1:
        raise DirectionError(
            f"an array of shape {shape} is a table over the {shape[0]} channels of StyleSpace (S), not one direction"
        )
    if generator is not None:
        require_styles(generator)
    return True


def without_colours(layout: StyleLayout) -> StyleLayout:
    """The layout without its toRGB layers, each the last of its resolution; () where it has not one in each."""
    return tuple(size for index, size in enumerate(layout) if index % 3 != 1) if len(layout) % 3 == 2 else ()


def whole_styles(vector: Tensor, layouts: Sequence[StyleLayout]) -> Tensor:
    """A move in S with all channels: zeros are put in where those of the toRGB layers were left out.

    Args:
        vector: (channels,), the layers end to end.
        layouts: what it may be laid out in; the first that fits is taken.

    Raises:
        DirectionError: if none fits.
    """
    for layout in layouts:
        if len(vector) == sum(layout):
            return vector
        bare = without_colours(layout)
        if len(vector) == sum(bare):
            parts = iter(torch.split(vector, list(bare)))
            return torch.cat([vector.new_zeros(s) if i % 3 == 1 else next(parts) for i, s in enumerate(layout)])
    raise DirectionError(f"{len(vector)} channels of S fit no generator that is known")
