"""Cutting a head out of its background, for stickers.

No network: the head is told from what surrounds it by its colours, as GrabCut does (Rother, Kolmogorov and Blake
2004), from a first guess that the landmarks give. Where hair and background have one colour the guess decides, and
the sticker's white rim forgives what is left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from faceloom.domains.abstraction import smooth
from faceloom.domains.colour import to_lab
from faceloom.faces.landmarks import apply, eyes_and_mouth
from faceloom.types import Crop, Mask, Points

Float = NDArray[np.float32]

_SIDE = 160
_COLOURS = 6
_ROUNDS = 3
_SURE = 1.6  # log-odds from which the first guess is believed


def head_cutout(crop: Crop) -> Mask:
    """Where the head, with its hair, neck and what of the shoulders is in the crop, covers the crop.

    Args:
        crop: an aligned face.

    Returns:
        (S, S) float32 in [0, 1], S the side of the crop.
    """
    pixels = np.asarray(Image.fromarray(crop.pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    lab = to_lab(pixels.astype(np.float32) / 255.0) * np.array([1.0, 2.0, 2.0], np.float32)
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32) / _SIDE
    features = np.concatenate([lab, 0.25 * x[..., None], 0.25 * y[..., None]], axis=2).reshape(-1, 5)
    sure = _guess(apply(crop.from_photo(_SIDE), crop.face.landmarks))
    # Colours are first learned from what is surely head and surely not: the crown is neither.
    chance = np.where(sure > _SURE, 1.0, np.where(sure < -_SURE, 0.0, 0.5))
    for _ in range(_ROUNDS):
        inside, outside = (_likelihood(features, weight.ravel()) for weight in (chance, 1.0 - chance))
        odds = np.clip((inside - outside).reshape(_SIDE, _SIDE), -6.0, 6.0) + sure
        calm = smooth(odds[..., None].astype(np.float32), 0.04 * _SIDE, 0.25, guide=lab)[..., 0]
        chance = 1.0 / (1.0 + np.exp(-calm))
    kept = _whole(chance > 0.5)
    soft = ndimage.gaussian_filter(np.where(kept, np.maximum(chance, 0.5), np.minimum(chance, 0.5)), 0.7)
    sharp = np.clip((soft - 0.5) * 3.0 + 0.5, 0.0, 1.0).astype(np.float32)
    large = np.asarray(Image.fromarray(sharp).resize((crop.size, crop.size), Image.Resampling.BICUBIC))
    cutout: Mask = np.clip(large, 0.0, 1.0)
    return cutout


def _guess(landmarks: Points) -> Float:
    """Log-odds (S, S) that a pixel belongs to the head, from the landmarks alone."""
    left, right, mouth = eyes_and_mouth(landmarks)
    eyes = (left + right) / 2.0
    down = float(max(mouth[1] - eyes[1], 1.0))
    wide = float(max(landmarks[16, 0] - landmarks[0, 0], 1.0))
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32) + 0.5
    middle = float(landmarks[[0, 16], 0].mean())
    # Head and hair: an ellipse from above the crown to the chin; below it a neck that widens into shoulders.
    top, chin = float(eyes[1]) - 1.75 * down, float(landmarks[8, 1])
    head = 1.0 - np.hypot((x - middle) / (0.66 * wide), (y - (top + chin) / 2.0) / (0.56 * (chin - top)))
    below = np.clip((y - chin) / down, 0.0, None)
    body = np.where(y > chin - 0.3 * down, 1.0 - np.abs(x - middle) / (0.42 * wide * (1.0 + 1.5 * below)), -1.0)
    odds = np.clip(7.0 * np.maximum(head, 0.8 * body), -5.0, 3.0)
    # How high the hair goes, the landmarks do not say: above the crown colours decide, against what is in doubt.
    crown = np.clip((float(eyes[1]) - 1.2 * down - y) / (0.4 * down), 0.0, 1.0)
    odds = np.where(odds > 0.0, odds * (1.0 - crown), odds) - 1.5 * crown * np.clip(head + 0.5, 0.0, 1.0)
    face = Image.new("L", (_SIDE, _SIDE))
    outline = [*landmarks[:17].tolist(), *landmarks[26:16:-1].tolist()]
    ImageDraw.Draw(face).polygon([(float(px), float(py)) for px, py in outline], fill=1)
    odds = np.where(np.asarray(face) > 0, 8.0, odds)
    return np.asarray(odds, np.float32)


def _likelihood(features: Float, weight: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-likelihood (N,) of features (N, F) under a mixture of Gaussians fitted where `weight` is above a half."""
    chosen = features[weight > 0.5]
    if len(chosen) < 10 * _COLOURS:
        return np.zeros(len(features))
    centres, labels = kmeans2(chosen[::3].astype(np.float64), _COLOURS, minit="++", seed=1, iter=12)
    total = np.full(len(features), -60.0)
    for index, centre in enumerate(centres):
        members = chosen[::3][labels == index]
        if len(members) < 12:
            continue
        covariance = np.cov(members.T) + 4e-4 * np.eye(features.shape[1])
        offset = features - centre
        distance = (offset @ np.linalg.inv(covariance) * offset).sum(axis=1)
        size = np.log(len(members) / len(labels)) - 0.5 * np.linalg.slogdet(covariance)[1]
        total = np.logaddexp(total, size - 0.5 * distance)
    return total


def _whole(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece, without holes and without hairs thinner than the grid can show."""
    opened = ndimage.binary_opening(kept, iterations=2)
    pieces, count = ndimage.label(opened)
    if not count:
        return kept
    sizes = np.bincount(pieces.ravel())[1:]
    largest: NDArray[np.bool_] = ndimage.binary_fill_holes(pieces == 1 + int(sizes.argmax()))
    return largest
