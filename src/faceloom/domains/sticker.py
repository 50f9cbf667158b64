"""Stickers: a drawn head on a transparent background, with the white rim that stickers have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.faces.warp import region_of, roi_to_crop
from faceloom.types import Crop, Mask, Photo

SIDE = 512
"""Messengers want stickers of 512 pixels."""
_RIM = 0.018  # width of the white rim, in sides of the sticker


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
