"""What of an edit belongs to the person, what covers the background, and what uncovers it.

The generator's picture of a head is never quite as large as the head in the photo, and its backgrounds are none at all.
Its change of colours, laid over the photo as it is, therefore leaves a rim of unchanged hair inside the head's outline
and a halo outside. Knowing where the person is, in the photo and in the generator's pictures before and after, the
change is sorted: on the person it spreads to the photo's own outline; where the edited person is larger, they cover
what is behind; where they are smaller, what is behind is continued; anywhere else the background stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from faceloom.faces.warp import to_side
from faceloom.types import Mask

Float = NDArray[np.float32]

# Lengths in sides of the crop.
_NEAR, _FAR = 0.02, 0.12  # standard deviations of the two reaches from which what is unknown is filled
_FILLED_SIZE, _SOFTENED_SIZE = 48, 64  # px: what is that smooth needs no more
_AROUND = 0.04  # within which one silhouette's growth counts for the rim beside it
_REACH = 0.05  # from the background within which it is continued
_REACHED = 0.1, 0.4  # share of background within that: none is continued; all is
_DRIFT = 30.0  # levels: more is something else than the colour of hair
_SHOWS = 25.0, 60.0  # mean change of colours in levels: no growth shows; it does
_SURE = 0.35, 0.75  # what the network sees in a generator's soft picture: nobody below, somebody above
_MEANT = 2.0, 3.5  # change behind over change of the person: an edit is not meant for the background; it is


@dataclass(frozen=True, eq=False)
class Seen:
    """Where the person is in the generator's pictures before and after an edit.

    Attributes:
        picture: (S, S, 3) float32, the picture after, its tints calmed, in levels of 0 to 255.
        before, after: (S, S) float32 in [0, 1].
    """

    picture: Float
    before: Mask
    after: Mask


@dataclass(frozen=True, eq=False)
class Layers:
    """An edit, sorted. All float32 over the crop, (S, S) or (S, S, 3), colours in levels of 0 to 255.

    Attributes:
        person: what to add to the person's colours; and
        drawn: what they were in the generator's picture before, spread alike.
        behind: what to add to the background's colours; and
        drawn_behind: what they were before, spread alike; None for nothing, as nearly always.
        cover: what the larger person covers the background with; and
        covered: where, in [0, 1]; None for nowhere.
        ground: how the background goes on where the person was; and
        bared: where, in [0, 1]; None for nowhere.
    """

    person: Float
    drawn: Float
    behind: Float | None = None
    drawn_behind: Float | None = None
    cover: Float | None = None
    covered: Mask | None = None
    ground: Float | None = None
    bared: Mask | None = None


def sort_change(photo: Float, inside: Mask, seen: Seen, residual: Float, mask: Mask) -> Layers:
    """Sort a change of colours.

    Args:
        photo: (S, S, 3) the crop's own colours, 0 to 255.
        inside: (S, S) in [0, 1]: where the person is in the photo.
        seen: where they are in the generator's pictures.
        residual: (S, S, 3) the change of colours between the generator's pictures.
        mask: (S, S) in [0, 1]: where the edit may show.
    """
    first, last = _sure(seen.before), _sure(seen.after)
    known = first * last
    before = seen.picture - residual
    person, drawn = (_spread(one, known) for one in (residual, before))
    # Both want a change of colours, too: the network takes many a dark background for hair.
    shows = _ramp_all(_softened(np.abs(residual).mean(axis=2), _NEAR), *_SHOWS)
    grown, gone = last * (1.0 - first) * shows, first * (1.0 - last) * shows
    cover = covered = ground = bared = behind = drawn_behind = None
    if (grown * (1.0 - inside) * mask).max(initial=0.0) > 0.25:
        covered = last * _beside(grown) * (first + (1.0 - first) * shows)
        # The photo's hair is not quite as dark, or as warm, as the generator's.
        drift = np.clip(photo - before, -_DRIFT, _DRIFT)
        cover = seen.picture + _filled(drift, first * inside)
    if (gone * inside * mask).max(initial=0.0) > 0.25:
        # Far from any background nobody knows what is there: that hair stays.
        bared = (1.0 - last) * _beside(gone) * _ramp_all(_softened(1.0 - inside, _REACH), *_REACHED)
        ground = _filled(photo, (1.0 - inside) * (1.0 - first))
    outside = (1.0 - np.maximum(first, last)) * (1.0 - inside)
    share = _ramp(_mean(residual, outside * mask) / (_mean(residual, known * mask) + 1e-3), *_MEANT)
    if share > 0.0:
        behind, drawn_behind = np.float32(share) * _filled(residual, outside), _filled(before, outside)
    return Layers(person, drawn, behind, drawn_behind, cover, covered, ground, bared)


def _spread(values: Float, known: Mask) -> Float:
    """Values (S, S, 3) as they are where they are known, and spread to where they are not."""
    filled = _filled(values, known)
    return filled + known[..., None] * (values - filled)


def _filled(values: Float, weight: Mask) -> Float:
    """Values (S, S, 3) known where the weight is, spread to where they are not (Knutsson and Westin 1993).

    What is spread is smooth, so it is done on a small copy.
    """
    side = len(values)
    planes = np.concatenate([values * weight[..., None], weight[..., None]], axis=2)
    small = to_side(planes, min(side, _FILLED_SIZE), "bilinear")
    result, faith = np.zeros_like(small[..., :3]), np.zeros(small.shape[:2], np.float32)
    for reach in (_NEAR, _FAR):
        sigma = reach * len(small)
        spread = ndimage.gaussian_filter(small, (sigma, sigma, 0), mode="nearest")
        share = spread[..., 3]
        rest = (1.0 - faith) * share / (share + 0.02)
        result += (rest / (share + 1e-6))[..., None] * spread[..., :3]
        faith += rest
    mean = small[..., :3].sum(axis=(0, 1)) / (small[..., 3].sum() + 1e-3)
    return to_side(result + (1.0 - faith)[..., None] * mean, side, "bilinear")


def _beside(grown: Mask) -> Mask:
    """Where growth is near, 0 to 1."""
    return _ramp_all(_softened(grown, _AROUND), 0.08, 0.35)


def _softened(values: Float, reach: float) -> Float:
    small = to_side(values[..., None], min(len(values), _SOFTENED_SIZE), "bilinear")
    soft = ndimage.gaussian_filter(small, (reach * len(small),) * 2 + (0,), mode="nearest")
    return to_side(soft, len(values), "bilinear")[..., 0]


def _sure(seen: Mask) -> Mask:
    return _ramp_all(seen, *_SURE)


def _mean(values: Float, weight: Mask) -> float:
    if weight.sum() < 1e-3 * weight.size:
        return 0.0
    return float((np.abs(values).mean(axis=2) * weight).sum() / weight.sum())


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def _ramp_all(values: Float, low: float, high: float) -> Float:
    ramp: Float = np.clip((values - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return ramp
