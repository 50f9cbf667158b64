"""Single channels of S that change one place, or one attribute (Wu et al. 2021, "StyleSpace Analysis").

Also: a direction of W+ carried over to S and cut down to some channels, so that it changes one place only.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from faceloom.directions.components import sample_codes
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.drawing import require_styles, style_sizes
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.protocol import Generator

REGIONS: Mapping[str, tuple[tuple[float, float, float, float], ...]] = {
    "hair": ((0.1, 0.0, 0.9, 0.27), (0.05, 0.2, 0.2, 0.6), (0.8, 0.2, 0.95, 0.6)),
    "brows": ((0.27, 0.36, 0.73, 0.45),),
    "eyes": ((0.28, 0.44, 0.72, 0.54),),
    "nose": ((0.41, 0.5, 0.59, 0.7),),
    "mouth": ((0.34, 0.69, 0.66, 0.84),),
    "jaw": ((0.25, 0.7, 0.36, 0.95), (0.64, 0.7, 0.75, 0.95), (0.34, 0.84, 0.66, 0.97)),
    "background": ((0.0, 0.0, 0.12, 0.4), (0.88, 0.0, 1.0, 0.4)),
}
"""Boxes (left, top, right, bottom) in an FFHQ-aligned picture, in shares of its side."""
UNIT = "one standard deviation of the channel"
_RANGE = (-5.0, 5.0)
_LOCAL = 2.0


def region_mask(name: str, side: int) -> Tensor:
    """(side, side) of 0 and 1: one of `REGIONS`; raises UsageError if there is none of this name."""
    if name not in REGIONS:
        raise UsageError(f"there is no region {name!r}; choose one of {', '.join(REGIONS)}")
    mask = torch.zeros(side, side)
    for box in REGIONS[name]:
        left, top, right, bottom = (round(edge * side) for edge in box)
        mask[top:bottom, left:right] = 1.0
    return mask


def region_channels(
    generator: Generator,
    mask: Tensor,
    *,
    count: int = 20,
    people: int = 8,
    probes: int = 6,
    samples: int = 2000,
    seed: int = 0,
) -> DirectionSet:
    """The channels of S that change a region most, for how little they change the rest.

    The energy of a channel in a region is the squared length of its column of the Jacobian there, estimated for all
    channels at once by back-propagating random signs (Hutchinson 1989). A channel is local where its energy per pixel
    inside the region is twice that outside; of these, those with the largest effect for one standard deviation count.

    Args:
        generator: one that shows its style vectors.
        mask: (M, M) in [0, 1], over the aligned picture: `region_mask`, or any other.
        count: how many channels at most.
        people: how many random faces are looked at.
        probes: random signs for each of them.
        samples: how many random codes tell the channels' deviations.
        seed: of everything random.

    Raises:
        DirectionError: if the generator does not show its style vectors, or no channel is local.
    """
    codes = sample_codes(generator, samples, seed)
    deviations = style_deviations(generator, codes)
    side = generator.resolution
    inside = functional.interpolate(mask[None, None].float(), (side, side), mode="area")[0, 0]
    if not 0.0 < float(inside.mean()) < 1.0:
        raise DirectionError("the region is empty, or the whole picture; draw one that covers a part")
    random = torch.Generator().manual_seed(seed)
    chosen = codes[torch.randperm(len(codes), generator=random)[:people]]
    energies = [_energy(generator, chosen, part, probes, random) / part.sum() for part in (inside, 1.0 - inside)]
    local = energies[0] / energies[1].clamp_min(1e-12) >= _LOCAL
    effect = torch.where(local, energies[0].sqrt() * deviations, torch.zeros(()))
    order = [int(index) for index in effect.argsort(descending=True)[:count] if effect[index] > 0]
    if not order:
        raise DirectionError("no channel of S changes this region more than the rest of the picture; take a larger one")
    found = f"channels of S by region, {people} faces, {probes} random signs each, seed {seed}"
    return _channel_set(generator, order, deviations, found)


def label_channels(
    generator: Generator, codes: Tensor, labels: NDArray[np.float64], *, count: int = 20
) -> DirectionSet:
    """The channels of S that differ most between faces with and without an attribute.

    Source: Wu et al. 2021, section 5: the difference of the means, in standard deviations of all faces.

    Args:
        generator: one that shows its style vectors.
        codes: (N, w_dim) or (N, num_ws, w_dim).
        labels: (N,): 1 with, 0 without, NaN unknown; of other numbers, the upper and the lower third are compared.
        count: how many channels; positive amounts lead towards "with".

    Raises:
        DirectionError: if the generator does not show its style vectors, or a class has fewer than 5 faces.
    """
    with_it, without = split_classes(labels)
    styles = _flat_styles(generator, codes)
    deviations = styles.std(dim=0)
    gap = styles[torch.from_numpy(with_it)].mean(dim=0) - styles[torch.from_numpy(without)].mean(dim=0)
    score = gap / deviations.clamp_min(1e-9)
    order = [int(index) for index in score.abs().argsort(descending=True)[:count]]
    found = f"channels of S by label, {int(with_it.sum())} faces with and {int(without.sum())} without"
    return _channel_set(generator, order, deviations * score.sign(), found)


def split_classes(labels: NDArray[np.float64], least: int = 5) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which faces (N,) have the attribute, and which do not; raises DirectionError if either are fewer than `least`."""
    known = np.isfinite(labels)
    values = labels[known]
    if known.any() and not np.isin(values, (0.0, 1.0)).all():
        low, high = np.quantile(values, [1 / 3, 2 / 3])
        with_it, without = known & (labels >= high), known & (labels <= low) & (labels < high)
    else:
        with_it, without = labels == 1.0, labels == 0.0
    counts = int(with_it.sum()), int(without.sum())
    if min(counts) < least:
        raise DirectionError(
            f"{counts[0]} faces have the attribute and {counts[1]} do not; a direction needs {least} of each class"
        )
    return with_it, without


@torch.no_grad()
def style_deviations(generator: Generator, codes: Tensor) -> Tensor:
    """Standard deviation of every channel of S, (channels,), over codes (N, w_dim) in W."""
    return _flat_styles(generator, codes).std(dim=0)


@torch.no_grad()
def in_style_space(generator: Generator, direction: Direction, channels: Collection[int] | None = None) -> Direction:
    """A direction of W+ carried over to S, where it does the same, and cut down to some channels.

    Args:
        generator: one that shows its style vectors.
        direction: in W+ (or in S already).
        channels: indices into all channels end to end; the others are left alone. All where None.

    Raises:
        DirectionError: if nothing of the direction is left, or the generator does not show its style vectors.
    """

    def carried(step: Tensor) -> Tensor:
        flat = step
        if direction.space == "w+":
            codes = torch.stack([torch.zeros_like(step), step])
            styles = _flat_styles(generator, codes)
            flat = styles[1] - styles[0]
        if channels is not None:
            kept = torch.zeros_like(flat)
            index = torch.tensor(sorted(channels), dtype=torch.long)
            kept[index] = flat[index]
            flat = kept
        return flat

    flat = carried(direction.vector)
    bend = None if direction.bend is None else carried(direction.bend)
    layers = _touched(generator, flat if bend is None else flat.abs() + bend.abs())
    return replace(direction, vector=flat, layers=layers, space="s", bend=bend)


def channels_of(found: DirectionSet) -> set[int]:
    """The channels that directions in S act on, for `in_style_space`."""
    moved = [end for one in found if one.space == "s" for end in (one.step(-1.0), one.step(1.0))]
    return {int(index) for end in moved for index in end.nonzero().flatten()}


def _flat_styles(generator: Generator, codes: Tensor) -> Tensor:
    able = require_styles(generator)
    parts = []
    for part in torch.split(codes, 256):
        rows = part if part.ndim == 3 else part.unsqueeze(1).expand(-1, generator.num_ws, -1)
        with torch.no_grad():
            parts.append(torch.cat(able.styles(rows), dim=1))
    return torch.cat(parts)


def _energy(generator: Generator, codes: Tensor, mask: Tensor, probes: int, random: torch.Generator) -> Tensor:
    """Mean squared change inside the mask, for a step of 1 in each channel: (channels,)."""
    able = require_styles(generator)
    total: Tensor | None = None
    for code in codes:
        styles = [style.detach() for style in able.styles(code.expand(1, generator.num_ws, -1))]
        leaves = [style.requires_grad_() for style in styles]
        image = able.synthesize_styles(leaves, "none")
        for number in range(probes):
            signs = torch.randint(0, 2, image.shape, generator=random).float() * 2 - 1
            weighted = (image * signs * mask.sqrt()).sum()
            grads = torch.autograd.grad(weighted, leaves, retain_graph=number < probes - 1)
            flat = torch.cat([grad.flatten() for grad in grads]).square()
            total = flat if total is None else total + flat
    assert total is not None
    return total / (len(codes) * probes)


def _channel_set(generator: Generator, order: list[int], steps: Tensor, found: str) -> DirectionSet:
    sizes = style_sizes(generator)
    ends = list(itertools.accumulate(sizes))
    directions = []
    for index in order:
        layer = next(number for number, end in enumerate(ends) if index < end)
        vector = torch.zeros(sum(sizes))
        vector[index] = steps[index]
        name = f"s-{layer}-{index - (ends[layer] - sizes[layer])}"
        directions.append(Direction(name, vector, (layer, layer + 1), _RANGE, "less", "more", space="s", unit=UNIT))
    return DirectionSet(directions, generator.fingerprint, {"found": found})


def _touched(generator: Generator, flat: Tensor) -> tuple[int, int]:
    parts = torch.split(flat, style_sizes(generator))
    acting = [number for number, part in enumerate(parts) if bool(part.any())]
    return (acting[0], acting[-1] + 1) if acting else (0, len(parts))
