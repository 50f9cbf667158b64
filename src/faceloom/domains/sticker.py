"""Stickers: a drawn head on a transparent background, with the white rim that stickers have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.faces.person import person_in
from faceloom.faces.warp import region_of, roi_to_crop
from faceloom.types import Crop, Mask, Photo

SIDE = 512
"""Messengers want stickers of 512 pixels."""
_ROOM = 1.35  # how much larger a crop is made, at most, whose upper border cuts hair off
_MOST_OTHERS = 0.04
_MARGIN = 0.03  # above hair, in sides of the larger crop
_RIM = 0.018  # width of the white rim, in sides of the sticker


def with_room(photo: Photo, crop: Crop) -> Crop:
    """A crop with room for all of the hair: larger to the sides and upwards, where hair reaches its upper border.

    Args:
        photo: the photo that the crop was cut from, not drawn.
        crop: an aligned face.

    Returns:
        A crop of the same face, of as many pixels; `crop` itself where it has room, where no person can be seen, or
        where somebody else would come into the picture.
    """
    person = person_in(crop)
    if person is None or float(person.mask[0].max()) < 0.5:
        return crop
    wide = _part(photo, crop, (0.5 - 0.5 * _ROOM, 0.5 + 0.5 * _ROOM))
    found = person_in(wide)
    if found is None or _others(found.mask, person.mask) > _MOST_OTHERS:
        return crop
    rows, columns = (np.flatnonzero((found.mask > 0.5).any(axis=axis)) / len(found.mask) for axis in (1, 0))
    left, right = float(columns[0]), float(columns[-1])
    side = min(1.0, max(1.0 - float(rows[0]), right - left) + _MARGIN)
    start = min(max(0.0, (left + right - side) / 2.0), 1.0 - side)
    return _part(photo, wide, (start, start + side))


def _others(wide: Mask, narrow: Mask) -> float:
    """How much of a crop the same crop, cut larger, takes for the person, and the crop itself does not: 0 to 1."""
    side = round(len(wide) / _ROOM)
    start = (len(wide) - side) // 2
    part = Image.fromarray(wide[len(wide) - side :, start : start + side])
    same = np.asarray(part.resize((len(narrow), len(narrow)), Image.Resampling.BILINEAR))
    return float(np.clip(same - narrow, 0.0, 1.0).mean())


def _part(photo: Photo, crop: Crop, columns: tuple[float, float]) -> Crop:
    """A square on the lower border of a crop, from one share of its width to another, as a crop of as many pixels."""
    upper_left, lower_left, lower_right, _ = crop.quad
    low, far = (lower_left + share * (lower_right - lower_left) for share in columns)
    up = (columns[1] - columns[0]) * (upper_left - lower_left)
    part = crop.recut(crop.pixels, np.array([low + up, low, far, far + up]))
    roi = region_of(part, photo.size)
    pixels = roi_to_crop(photo.pixels[roi].astype(np.float32), part, roi, crop.size)
    return replace(part, pixels=np.rint(pixels).clip(0, 255).astype(np.uint8))


def cut_sticker(photo: Photo, crop: Crop, cutout: Mask, side: int = SIDE) -> NDArray[np.uint8]:
    """Cut one head out of a drawn photo.

    Args:
        photo: the photo as it was drawn.
        crop: where the head is.
        cutout: (S, S) float32 in [0, 1], what to keep, as `head_cutout` gives it.
        side: of the result in pixels.

    Returns:
        (side, side, 4) uint8 RGBA, colours not multiplied by opacity.
    """
    roi = region_of(crop, photo.size)
    colours = roi_to_crop(photo.pixels[roi].astype(np.float32), crop, roi, side)
    ones = np.ones((*photo.pixels[roi].shape[:2], 1), np.float32)
    covered = roi_to_crop(ones, crop, roi, side, "bilinear")[..., 0]
    inner = round(side * (1.0 - 4.0 * _RIM))
    head = np.asarray(Image.fromarray(cutout).resize((inner, inner), Image.Resampling.BICUBIC)) * _resized(
        covered, inner
    )
    border = (side - inner) // 2
    alpha = np.zeros((side, side), np.float32)
    alpha[border : border + inner, border : border + inner] = np.clip(head, 0.0, 1.0)
    picture = np.full((side, side, 3), 255.0, np.float32)
    small = Image.fromarray(np.rint(colours).clip(0, 255).astype(np.uint8)).resize(
        (inner, inner), Image.Resampling.LANCZOS
    )
    picture[border : border + inner, border : border + inner] = np.asarray(small)
    away = ndimage.distance_transform_edt(alpha < 0.5)
    rim = np.clip(_RIM * side - away + 0.5, 0.0, 1.0)
    rim = np.clip(ndimage.gaussian_filter(rim, 0.004 * side) * 2.0 - 0.5, 0.0, 1.0)
    opacity = np.maximum(rim, alpha)
    colour = picture * alpha[..., None] + 255.0 * (1.0 - alpha[..., None])
    pixels: NDArray[np.uint8] = np.rint(np.dstack([colour, 255.0 * opacity])).clip(0, 255).astype(np.uint8)
    return pixels


def _resized(values: Mask, side: int) -> Mask:
    return np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR))
