"""Soft masks that say how much of an edited crop goes back into the photo."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull

from faceloom.faces.landmarks import apply
from faceloom.faces.person import others_in
from faceloom.faces.warp import crop_to_roi
from faceloom.types import Crop, Mask, Points

Region = Literal["face", "outline", "head"]
"""face: skin from jaw to hairline. outline: that, and what its outline may move into. head: hair, ears and neck too."""

# All in sides of the crop.
_GROWTH = 0.02  # beyond the outermost landmarks, so that the feather lies outside them
_MARGIN = 0.07  # the same where the outline moves: half as much would hold the jaw back
_FEATHER = 0.025  # standard deviation of the blur
_RIM = 0.06  # over which every mask has faded to 0 at the crop's border
# The forehead ends above the brows about as far as the nose does below them (the rule of thirds); less, to spare hair.
_FOREHEAD = 0.8
_WORKING_SIZE = 256


def face_mask(crop: Crop, region: Region = "face", size: int | None = None) -> Mask:
    """A soft mask over a crop.

    Args:
        crop: the crop; its face's landmarks shape the mask.
        region: "face" covers jaw to hairline; "outline" a margin besides, so that a jaw that grows is moved whole;
            "head" covers hair as well and reaches nearly to the border, for edits that change the outline.
        size: side of the mask in pixels; the crop's own by default.

    Returns:
        (size, size) float32 in [0, 1]: 1 inside, falling smoothly to exactly 0 before the crop's border.
    """
    side = _WORKING_SIZE
    mask = _face(apply(crop.from_photo(side), crop.face.landmarks), side, _MARGIN if region == "outline" else _GROWTH)
    if region == "head":
        mask = np.maximum(mask, _head(side))
    wanted = crop.size if size is None else size
    if wanted != side:
        mask = np.asarray(Image.fromarray(mask).resize((wanted, wanted), Image.Resampling.BILINEAR))
    return np.clip(mask, 0, 1) * _rim(wanted)


def edit_masks(crop: Crop) -> tuple[Mask, Mask]:
    """Where an edit of an aligned face may show, head and hair, and where it may move things, the face and its outline.

    Not on another face that is near.

    Returns:
        Two masks, (S, S) float32 in [0, 1], of the crop's own size.
    """
    head, outline = face_mask(crop, "head"), face_mask(crop, "outline")
    others = others_in(crop)
    if others is not None:
        head *= 1.0 - np.asarray(Image.fromarray(others).resize(head.shape, Image.Resampling.BILINEAR))
    return head, outline


def mask_to_photo(mask: Mask, crop: Crop, photo_size: tuple[int, int]) -> Mask:
    """Carry a crop's mask to the photo.

    Args:
        mask: (S, S) float32 in [0, 1], over the crop.
        crop: where it lies.
        photo_size: (width, height) of the photo.

    Returns:
        (height, width) float32 in [0, 1], exactly 0 outside the region that the mask covers.
    """
    whole = np.zeros((photo_size[1], photo_size[0]), dtype=np.float32)
    roi, values = crop_to_roi(mask[..., None], crop, photo_size, "bilinear")
    whole[roi] = np.clip(values[..., 0], 0, 1)
    return whole


def _face(landmarks: Points, side: int, growth: float) -> NDArray[np.float32]:
    outline = np.concatenate([landmarks, _forehead(landmarks)])
    hull = outline[ConvexHull(outline).vertices]
    drawing = Image.new("L", (side, side))
    # Pillow's polygons take pixel indices, whose centres are half a pixel further.
    ImageDraw.Draw(drawing).polygon([(x - 0.5, y - 0.5) for x, y in hull.tolist()], fill=255)
    inside = np.asarray(drawing) > 0
    if not inside.any():
        return np.zeros((side, side), dtype=np.float32)
    grown = np.asarray(ndimage.distance_transform_edt(~inside)) <= growth * side
    soft = ndimage.gaussian_filter(grown.astype(np.float32), _FEATHER * side, truncate=3.0)
    return np.asarray(soft, dtype=np.float32)


def _forehead(landmarks: Points) -> Points:
    """An arch above the brows, (10, 2), in the crop's pixels, where the face is upright."""
    brows = landmarks[17:27]
    height = _FOREHEAD * max(0.0, float(landmarks[33, 1] - brows[:, 1].mean()))
    arch = np.sqrt(np.sin(np.linspace(0.12, 0.88, 10) * np.pi))
    return np.column_stack([brows[:, 0], brows[:, 1].mean() - height * arch])


def _head(side: int) -> NDArray[np.float32]:
    """A square with round corners, soft all over its outer part."""
    offset = np.abs((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)
    radius = (offset[:, None] ** 4 + offset[None, :] ** 4) ** 0.25
    return _smooth((0.97 - radius) / 0.22)


def _rim(side: int) -> NDArray[np.float32]:
    """0 at the border of the crop, 1 further in than the rim; exactly 0 in the outermost pixels."""
    centres = np.arange(side)
    edge = _smooth((np.minimum(centres, centres[::-1]) / side - 0.01) / _RIM)
    return edge[:, None] * edge[None, :]


def _smooth(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Smoothstep: 0 below 0, 1 above 1, without corners between."""
    ramp = np.clip(values, 0, 1)
    smooth: NDArray[np.float32] = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return smooth
