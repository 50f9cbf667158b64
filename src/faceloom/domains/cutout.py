"""Cutting a head out of its background, for stickers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.faces.mask import face_mask
from faceloom.faces.person import person_in
from faceloom.types import Crop, Mask

Float = NDArray[np.float32]

_MIDDLE, _CONTRAST = 0.6, 3.0  # a veil is no hair: on a sticker every grey is seen
_OPENING = 0.012  # in sides of the crop: what hangs on by less is a scrap


def head_cutout(crop: Crop) -> Mask:
    """Where the head, with its hair, neck and what of the shoulders is in the crop, covers the crop.

    Where no person can be seen around the face, as in some drawings, it is the face alone.

    Args:
        crop: an aligned face.

    Returns:
        (S, S) float32 in [0, 1], S the side of the crop.
    """
    face = face_mask(crop, "face")
    person = person_in(crop)
    if person is None:
        return face
    size = crop.size
    mask = np.asarray(Image.fromarray(person.mask).resize((size, size), Image.Resampling.BICUBIC))
    mask = np.maximum(mask, np.clip(2.0 * face - 1.0, 0.0, 1.0))
    cutout: Mask = np.clip((mask - _MIDDLE) * _CONTRAST + 0.5, 0.0, 1.0) * _largest_piece(mask)
    return cutout


def _largest_piece(mask: Mask) -> Float:
    """1 in the largest piece and around it, 0 in scraps, also in those that a thread connects."""
    reach = max(1, round(_OPENING * len(mask)))
    # Beyond the crop's border the person goes on: they are no less there.
    padded = np.pad(mask > _MIDDLE, 2 * reach, mode="edge")
    opened = ndimage.binary_opening(padded, iterations=reach)[2 * reach : -2 * reach, 2 * reach : -2 * reach]
    pieces, count = ndimage.label(opened)
    if not count:
        return np.ones_like(mask)
    largest = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
    around: Float = ndimage.binary_dilation(largest, iterations=2 * reach).astype(np.float32)
    return around
