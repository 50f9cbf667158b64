"""Calibration: how far a direction really moves the attributes in the picture.

A step in the code that a probe reads as one standard deviation need not show as one: generator and encoder both shrink
what is rare. So pictures are drawn half a step to either side, and read by the attribute's judges, or where there is
none by encoding them again and asking the probe.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from faceloom.directions.composing import Effects, balanced
from faceloom.directions.direction import Direction, Probe
from faceloom.encoders.protocol import Encoder
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator
from faceloom.metrics.judges import Judge
from faceloom.recipe import Edit

LARGEST_FACTOR = 2.0
LEAST_SIDE_EFFECT = 0.0
"""On sheets, beard and moustache were cleaner with all corrections than with those above 15 % only."""
_BATCH = 64

Pair = tuple[Tensor, Tensor]
"""Images (N, 3, S, S) half a step down, and half a step up."""


@torch.no_grad()
def draw_pair(generator: Generator, codes: Tensor, step: Tensor, bend: Tensor | None = None) -> Pair:
    """Draw faces half a step to either side, which cancels what an attribute already is.

    Args:
        generator: draws (num_ws, w_dim) codes.
        codes: (N, w_dim) codes in W of typical faces.
        step: (num_ws, w_dim), or (w_dim,) for all layers: one unit.
        bend: of the same shape, what each unit adds to either side; what that changes on both alike does not show.
    """
    aside = torch.zeros_like(step) if bend is None else 0.5 * bend
    return _draw(generator, codes, aside - 0.5 * step), _draw(generator, codes, aside + 0.5 * step)


@torch.no_grad()
def probed_effects(encoder: Encoder, pair: Pair, probes: Iterable[Probe]) -> dict[str, float]:
    """Mean change of each attribute between the pictures, as its probe reads it, in standard deviations."""
    low, high = (torch.cat([encoder(part) for part in torch.split(images, _BATCH)]) for images in pair)
    return {probe.name: float((probe.read(high) - probe.read(low)).mean()) for probe in probes}


def judged_effect(
    judges: Sequence[Judge], score: str, pair: Pair, deviations: Mapping[tuple[str, str], float]
) -> float | None:
    """Mean change of a score between the pictures, in standard deviations, averaged over the judges that have it.

    Args:
        judges: any.
        score: such as "age".
        pair: from `draw_pair`.
        deviations: from `judged_deviations`.

    Returns:
        The change, or None where no judge has the score.
    """
    changes = []
    for judge in judges:
        if (judge.name, score) in deviations:
            low, high = (judge.score_aligned(images)[score] for images in pair)
            changes.append(float((high - low).mean()) / deviations[judge.name, score])
    return sum(changes) / len(changes) if changes else None


def judged_deviations(judges: Sequence[Judge], generator: Generator, codes: Tensor) -> dict[tuple[str, str], float]:
    """Standard deviation of every score, by judge and score, over the drawn faces of codes (N, w_dim)."""
    images = _draw(generator, codes, torch.zeros(generator.w_dim))
    return {
        (judge.name, score): max(1e-6, float(values.std()))
        for judge in judges
        for score, values in judge.score_aligned(images).items()
    }


def factor_of(effect: float) -> float:
    """What scales a step to an effect of one standard deviation; at most 2.

    What hardly shows never will, and what is far from the codes of faces shows as anything but the attribute. A step
    that shows as the opposite is left as it is.
    """
    return min(LARGEST_FACTOR, 1.0 / max(effect, 1e-3)) if effect > 0.0 else 1.0


def conditioned(
    directions: Sequence[Direction],
    effects: Effects,
    free: Mapping[str, Collection[str]] | None = None,
    *,
    least: float = LEAST_SIDE_EFFECT,
) -> tuple[list[Direction], dict[str, dict[str, float]]]:
    """Directions from each of which the measured effects on the other ones' attributes were projected out.

    Each becomes itself plus multiples of the others, by `balanced`: it keeps its own effect, and those on what is held
    cancel as far as the directions can be told apart.

    Args:
        directions: straight ones in W+; those in S stay as they are.
        effects: of each direction on each attribute, in standard deviations a unit.
        free: by direction, the attributes that may change along with it.
        least: side effects below this share of a direction's own effect are left alone: each correction brings side
            effects of its own.

    Returns:
        The directions, and the effects that they should have by linear prediction.

    Raises:
        DirectionError: if a direction in W+ bends.
    """
    by_name = {one.name: one for one in directions if one.space == "w+"}
    for one in by_name.values():
        if one.bend is not None:
            raise DirectionError(f"the direction {one.name!r} bends; project first, and bend it afterwards")
    found, predicted = [], {}
    for one in directions:
        own, released = abs(effects[one.name][one.name]), (free or {}).get(one.name, ())
        held = [
            name
            for name in by_name
            if name != one.name and name not in released and abs(effects[one.name][name]) > least * own
        ]
        if one.name not in by_name or not held:
            found.append(one)
            predicted[one.name] = dict(effects[one.name])
            continue
        shares = balanced([Edit(one.name, 1.0), *(Edit(name, 0.0) for name in held)], effects)
        vector = torch.stack([share.amount * by_name[share.direction].vector for share in shares]).sum(dim=0)
        rows = vector.any(dim=1).nonzero().flatten().tolist()
        found.append(replace(one, vector=vector, layers=(rows[0], rows[-1] + 1)))
        predicted[one.name] = {
            name: sum(share.amount * effects[share.direction][name] for share in shares) for name in effects[one.name]
        }
    return found, predicted


@torch.no_grad()
def _draw(generator: Generator, codes: Tensor, step: Tensor) -> Tensor:
    parts = []
    for part in torch.split(codes, _BATCH):
        ws = part.unsqueeze(1).expand(-1, generator.num_ws, -1) + step
        parts.append(generator.synthesize(ws, "none").clamp(-1.0, 1.0))
    return torch.cat(parts)
