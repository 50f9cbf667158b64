"""Where a person ends and what is behind begins, to the hair.

A small network sees the person; a guided filter (He, Sun and Tang 2010, "Guided Image Filtering") fits what it saw to
the edges of the picture. The filter's coefficients are found on a small copy and used at the picture's own resolution
(He and Sun 2015, "Fast Guided Filter"), so that a large photo costs little more than a small one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.faces.segmenter import SIDE, person_network
from faceloom.faces.warp import to_side
from faceloom.types import Crop, Mask, Pixels

Float = NDArray[np.float32]
_Place = tuple[float, float, float]
"""Centre (x, y) and size of a face, in sides of the crop."""

_STRIDE = 16
_LEAST = 64  # px: below that the network sees nothing
_REACH = 6  # of the filter, in pixels of the small copy
_CALM = 1e-4  # variance of colours in [0, 1] below which there is no edge
_CLEAR = 1.6  # how much contrast the mask gains: the filter leaves a veil on both sides
_MIDDLE = slice(0.35, 0.75), slice(0.3, 0.7)  # of an aligned crop's rows and columns: the face is there
_SOFT = 0.008  # standard deviation of the edge of a pasted person, in sides of the crop
_APART = 0.01  # reach of the soft edge between people, in sides of the crop
_OPENING = 2  # px: hairs thinner than that do not connect


@dataclass(frozen=True, eq=False)
class Silhouette:
    """A soft mask of a person that follows the edges of the picture at any resolution.

    Attributes:
        coefficients: (S, S, 4) float32, to be carried to the pixels of a photo, where `matte` makes a mask of them.
        mask: (S, S) float32 in [0, 1], the mask at this size.
        colours: (S, S, 3) float32, what the crop looks like at this size, in levels of 0 to 255.
    """

    coefficients: Float
    mask: Mask
    colours: Float

    def at(self, side: int) -> Silhouette:
        """The same, `side` pixels wide; the last few are remembered where they are smaller."""
        if side == len(self.mask):
            return self
        return _smaller(self, side) if side < len(self.mask) else _resized_silhouette(self, side)


def person_in(crop: Crop) -> Silhouette | None:
    """The person whose face an aligned crop shows, without scraps; where people touch, what is nearer to their face.

    The last few crops are remembered.

    Returns:
        The silhouette, at most 256 pixels wide; None where no person can be seen around the face, as in some drawings.
    """
    return _remembered(_Same(crop.pixels), crop.place_of(crop.face), crop.others)


def others_in(crop: Crop) -> Mask | None:
    """Where the others are whose faces are near in the photo of an aligned crop, a little grown and soft.

    The last few crops are remembered.

    Returns:
        (S, S) float32 in [0, 1], at most 256 pixels wide; None where there are none.
    """
    return _others(_Same(crop.pixels), crop.place_of(crop.face), crop.others) if crop.others else None


def matte(coefficients: Float, colours: Float) -> Mask:
    """The mask that a silhouette's coefficients (H, W, 4) give colours (H, W, 3) of 0 to 255: (H, W) in [0, 1]."""
    value = np.einsum("hwc,hwc->hw", coefficients[..., :3], colours) / 255.0 + coefficients[..., 3]
    mask: Mask = np.clip((value - 0.5) * _CLEAR + 0.5, 0.0, 1.0)
    return mask


def see_people(pictures: NDArray[np.uint8], *, most: int = SIDE, both_ways: bool = False) -> NDArray[np.float32]:
    """What the network sees in pictures, as it sees it.

    Args:
        pictures: (N, H, W, 3) uint8 RGB, of any size.
        most: pixels on the longer side to look at.
        both_ways: look at the mirrored pictures, too: calmer, and twice the time.

    Returns:
        (N, H, W) float32 in [0, 1].
    """
    height, width = pictures.shape[1:3]
    share = min(1.0, most / max(height, width))
    size = _whole_strides(width * share), _whole_strides(height * share)
    small = np.stack([_resized(one, size) for one in pictures])
    images = torch.from_numpy(small.astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    with torch.inference_mode():
        seen = person_network()(images)[:, 0]
        if both_ways:
            seen = (seen + person_network()(images.flip(3))[:, 0].flip(2)) / 2
    planes = [Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR) for one in seen.numpy()]
    return np.stack([np.asarray(plane) for plane in planes])


def person_before(picture: Pixels, most: int) -> Mask:
    """`see_people` for one picture (H, W, 3) that is looked at again and again; the last few are remembered."""
    return _seen_before(_Same(picture), most)


def around_people(mask: Mask, crop: Crop, edited: Pixels) -> Mask:
    """A mask without the background: where the person of a crop is, or the one in an edited picture of it.

    Args:
        mask: (M, M) float32 in [0, 1] over the crop.
        crop: the crop before the edit.
        edited: (N, N, 3) uint8 RGB, after it.

    Returns:
        (K, K) float32 in [0, 1]; `mask` itself where no person can be seen in the crop.
    """
    person = person_in(crop)
    if person is None:
        return mask
    side = len(person.mask)
    after, soft = (
        np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BILINEAR))
        for one in (np.clip(3.0 * see_people(edited[None])[0] - 1.0, 0.0, 1.0), mask)
    )
    people = ndimage.gaussian_filter(np.maximum(person.mask, after), _SOFT * side)
    kept: Mask = (soft * people).astype(np.float32)
    return kept


class _Same:
    """An array, for a cache: equal to itself alone."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.pixels is self.pixels

    def __hash__(self) -> int:
        return id(self.pixels)


@functools.lru_cache(maxsize=8)
def _seen_before(same: _Same, most: int) -> Mask:
    seen: Mask = see_people(same.pixels[None], most=most)[0]
    return seen


def _resized_silhouette(silhouette: Silhouette, side: int) -> Silhouette:
    planes = np.concatenate([silhouette.coefficients, silhouette.mask[..., None], silhouette.colours], axis=2)
    planes = to_side(planes, side)
    return Silhouette(planes[..., :4], np.clip(planes[..., 4], 0.0, 1.0), planes[..., 5:])


_smaller = functools.lru_cache(maxsize=8)(_resized_silhouette)


@functools.lru_cache(maxsize=8)
def _remembered(same: _Same, own: _Place, others: tuple[_Place, ...]) -> Silhouette | None:
    pixels, seen = _seen_in(same)
    alone = _alone(seen * _nearest(len(seen), own, others))
    return None if alone is None else _silhouette(pixels, alone)


@functools.lru_cache(maxsize=8)
def _others(same: _Same, own: _Place, others: tuple[_Place, ...]) -> Mask:
    _, seen = _seen_in(same)
    grown = ndimage.maximum_filter(seen * (1.0 - _nearest(len(seen), own, others)), 2 * round(_APART * len(seen)) + 1)
    soft: Mask = np.clip(2.0 * ndimage.gaussian_filter(grown, _APART * len(seen)), 0.0, 1.0)
    return soft


@functools.lru_cache(maxsize=2)
def _seen_in(same: _Same) -> tuple[Pixels, Mask]:
    """A picture as it is looked at, (side, side, 3), and all the people in it, (side, side)."""
    side = max(_LEAST, min(SIDE, same.pixels.shape[0]))
    pixels = _resized(same.pixels, (side, side))
    return pixels, see_people(pixels[None], both_ways=True)[0]


def _nearest(side: int, own: _Place, others: tuple[_Place, ...]) -> Mask:
    """(side, side): 1 where it is nearer to the crop's face than to any other, in sizes of the faces, 0 elsewhere."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side

    def far(place: _Place) -> NDArray[np.float64]:
        distance: NDArray[np.float64] = np.hypot(x - place[0], y - place[1]) / max(place[2], 1e-3)
        return distance

    nearest: Mask = np.all([far(own) <= far(other) for other in others], axis=0).astype(np.float32)
    return np.broadcast_to(nearest, (side, side))


def _alone(seen: Mask) -> Mask | None:
    """The piece that holds the face in the middle, without holes, and its soft rim; None where there is none."""
    side = len(seen)
    rows, columns = (slice(round(one.start * side), round(one.stop * side)) for one in _MIDDLE)
    pieces, count = ndimage.label(ndimage.binary_opening(seen > 0.5, iterations=_OPENING))
    sizes = np.bincount(pieces[rows, columns].ravel(), minlength=count + 1)
    sizes[0] = 0
    if sizes.max() < 0.5 * (rows.stop - rows.start) * (columns.stop - columns.start):
        return None
    kept = ndimage.binary_fill_holes(pieces == sizes.argmax())
    near = ndimage.binary_dilation(kept, iterations=max(2, side // 40))
    alone: Mask = (np.where(kept, np.maximum(seen, 0.5), seen) * near).astype(np.float32)
    return alone


def _silhouette(pixels: Pixels, seen: Mask) -> Silhouette:
    """The coefficients of the guided filter that fits what was seen to the colours of the picture."""
    red, green, blue = guide = np.ascontiguousarray(pixels.transpose(2, 0, 1), np.float32) / 255.0
    mean, level = _blurred(guide), _blurred(seen)
    together = _blurred(guide * seen) - mean * level
    products = _blurred(np.stack([red * red, red * green, red * blue, green * green, green * blue, blue * blue]))
    products -= mean[[0, 0, 0, 1, 1, 2]] * mean[[0, 1, 2, 1, 2, 2]]
    products[[0, 3, 5]] += _CALM
    slopes = _solved(products, together)
    coefficients = _blurred(np.stack([*slopes, level - (slopes * mean).sum(axis=0)])).transpose(1, 2, 0)
    colours = pixels.astype(np.float32)
    return Silhouette(coefficients, matte(coefficients, colours), colours)


def _solved(spread: Float, together: Float) -> Float:
    """Symmetric systems by Cramer's rule: (6, h, w), the upper triangle's rows one after the other, and (3, h, w)."""
    a, b, c, d, e, f = spread
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    fourth, fifth, sixth = a * f - c * c, b * c - a * e, a * d - b * b
    x, y, z = together
    solved = np.stack(
        [first * x + second * y + third * z, second * x + fourth * y + fifth * z, third * x + fifth * y + sixth * z]
    )
    result: Float = solved / (a * first + b * second + c * third)
    return result


def _blurred(values: Float) -> Float:
    """Means over squares of planes (..., h, w)."""
    size = (0,) * (values.ndim - 2) + (2 * _REACH + 1, 2 * _REACH + 1)
    blurred: Float = ndimage.uniform_filter(values, size, mode="nearest")
    return blurred


def _whole_strides(length: float) -> int:
    return max(_LEAST, round(length / _STRIDE) * _STRIDE)


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
