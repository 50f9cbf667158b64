"""Cut a face out of a photo the way the faces of FFHQ were cut (Karras et al. 2019, arXiv:1812.04948, appendix A).

A generator trained on aligned faces knows only those: eyes and mouth must sit where they sat in training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.errors import FaceError
from faceloom.faces.landmarks import eyes_and_mouth, face_axis
from faceloom.types import Crop, Face, Photo, Pixels, Points

_EYE_SPANS = 2.0  # half the side over the distance between the eyes ...
_MOUTH_SPANS = 1.8  # ... or over the distance from eyes to mouth, whichever is larger
_MOUTH_SHIFT = 0.1  # how far the centre lies below the eyes, on the way to the mouth
_SUPERSAMPLE = 4
_BORDER = 0.1
_PADDING = 0.3
_BLUR = 0.02
_NEAR = 1.5  # sides from the middle of the crop, beyond which other faces do not matter
_MOST_SPANS = 16  # of the photo by the crop; no face that shows is larger


def ffhq_quad(landmarks: Points) -> Points:
    """Corners of the square around a face, as the FFHQ data set defines it.

    Args:
        landmarks: (68, 2) points in iBUG 300-W order, in photo pixels.

    Returns:
        (4, 2) corners in photo pixels: upper left, lower left, lower right, upper right. May reach outside the photo.

    Raises:
        FaceError: the landmarks fall on one point.
    """
    left_eye, right_eye, mouth = eyes_and_mouth(landmarks)
    eyes = (left_eye + right_eye) / 2
    axis = face_axis(landmarks)
    length = float(np.hypot(*axis))
    if not np.isfinite(length) or length < 1e-6:
        raise FaceError("the landmarks of this face fall on one point: use a photo where the face is larger")
    half_side = max(
        float(np.hypot(*(right_eye - left_eye))) * _EYE_SPANS, float(np.hypot(*(mouth - eyes))) * _MOUTH_SPANS
    )
    right = axis / length * half_side
    down = np.array([-right[1], right[0]])
    centre = eyes + (mouth - eyes) * _MOUTH_SHIFT
    upper, lower = centre - down, centre + down
    quad: Points = np.stack([upper - right, lower - right, lower + right, upper + right])
    return quad


def align(photo: Photo, face: Face, size: int, others: Sequence[Face] = ()) -> Crop:
    """Cut a face out, turned upright and scaled to the square that generators of FFHQ faces expect.

    Where the square reaches outside the photo it is filled by reflection, blurred and faded to the median colour.

    Args:
        photo: the photo.
        face: one of its faces.
        size: side of the crop in pixels.
        others: faces of the same photo, of which the crop remembers those that are near.

    Returns:
        The crop; its quad is in the pixels of the whole photo.

    Raises:
        FaceError: the landmarks fall on one point, or were not found in this photo.
    """
    quad = ffhq_quad(face.landmarks)
    reach = quad.max(axis=0) < 0, quad.min(axis=0) > photo.size
    if np.any(reach) or _side(quad) > _MOST_SPANS * max(photo.size):
        raise FaceError(f"this face lies outside {photo.name}: choose a face that was found in this photo")
    image, local = _shrink(photo.pixels, quad, size)
    image, local = _pad(image, local)
    wide = size * _SUPERSAMPLE
    square = Image.fromarray(image).transform(
        (wide, wide), Image.Transform.QUAD, tuple(local.ravel()), Image.Resampling.BILINEAR
    )
    crop = square.resize((size, size), Image.Resampling.LANCZOS)
    alone = Crop(pixels=np.asarray(crop), quad=quad, face=face)
    places = (alone.place_of(other) for other in others if other is not face)
    return replace(alone, others=tuple(one for one in places if max(abs(one[0] - 0.5), abs(one[1] - 0.5)) < _NEAR))


def _shrink(pixels: Pixels, quad: Points, size: int) -> tuple[Pixels, Points]:
    """The photo around a quad, a whole number of times smaller where the quad is far larger than the crop."""
    side = _side(quad)
    shrink = min(max(1, int(side / size / 2)), *pixels.shape[:2])
    border = max(round(side * _BORDER), 3 * shrink)
    height, width = pixels.shape[:2]
    low = np.clip(np.floor(quad.min(axis=0)).astype(int) - border, 0, None)
    high = np.clip(np.ceil(quad.max(axis=0)).astype(int) + border, None, (width, height))
    # Whole blocks, so that the smaller picture is exactly `shrink` times smaller.
    high = np.minimum(low + (high - low + shrink - 1) // shrink * shrink, (width, height))
    high -= (high - low) % shrink
    region = pixels[low[1] : high[1], low[0] : high[0]]
    if shrink > 1:
        smaller = (region.shape[1] // shrink, region.shape[0] // shrink)
        region = np.asarray(Image.fromarray(region).resize(smaller, Image.Resampling.LANCZOS))
    return region, (quad - low) / shrink


def _pad(pixels: Pixels, quad: Points) -> tuple[Pixels, Points]:
    """Reflect, blur and fade to the median colour beyond the photo's edges, if the quad comes near them."""
    side = _side(quad)
    border = max(round(side * _BORDER), 3)
    low = np.floor(quad.min(axis=0)).astype(int)
    high = np.ceil(quad.max(axis=0)).astype(int)
    width, height = pixels.shape[1], pixels.shape[0]
    missing = np.array([-low[0], -low[1], high[0] - width, high[1] - height]) + border
    if missing.max() <= border - 4:
        return pixels, quad
    left, top, right, bottom = np.maximum(missing, max(1, round(side * _PADDING))).tolist()
    padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="reflect")
    # How far outside the photo: 1 at the rim of the padded picture, 0 where the photo begins, below 0 inside it.
    across = _ramp(padded.shape[1], left, right)[None, :]
    along = _ramp(padded.shape[0], top, bottom)[:, None]
    softness = Image.fromarray(np.maximum(_opacity(across * 3 + 1), _opacity(along * 3 + 1)))
    fading = Image.fromarray(np.maximum(_opacity(across), _opacity(along)))
    image = Image.fromarray(padded)
    image.paste(_blurred(image, side * _BLUR), mask=softness)
    step = max(1, round(side / 500))  # a median needs no more than a sample
    median = np.rint(np.median(np.asarray(image)[::step, ::step], axis=(0, 1))).astype(int).tolist()
    image.paste(tuple(median), (0, 0, *image.size), mask=fading)
    return np.asarray(image), quad + np.array([left, top])


def _ramp(length: int, before: int, after: int) -> NDArray[np.float64]:
    """Along one axis of a padded picture: 1 at its ends, 0 where the padding ends, below 0 between."""
    steps = np.arange(length)
    ramp: NDArray[np.float64] = 1 - np.minimum(steps / before, steps[::-1] / after)
    return ramp


def _opacity(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _blurred(image: Image.Image, sigma: float) -> Image.Image:
    """An RGB picture through a Gaussian; a wide one on a smaller copy, which looks the same and takes no minutes."""
    step = max(1, int(sigma / 4))
    # Scaling down by a box blurs too, by a variance of (step² - 1) / 12; scaling up by a cubic hardly does.
    rest = math.sqrt(sigma**2 - (step**2 - 1) / 12) / step
    small = np.asarray(image.reduce(step), dtype=np.float32)
    soft = ndimage.gaussian_filter(small, (rest, rest, 0))
    box = (0.0, 0.0, image.width / step, image.height / step)
    smaller = Image.fromarray(np.rint(soft).astype(np.uint8))
    return smaller if step == 1 else smaller.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _side(quad: Points) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))
