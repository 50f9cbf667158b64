"""Landmarks of one face, refined in a small upright picture of it.

The predictor was trained on upright faces inside detector boxes. A tilted head, or a box that is off by a step of the
detector's pyramid, costs it accuracy. So the face is cut out upright at a standard size, placed by the landmarks found
so far, and the final landmarks are the median over several boxes, in the picture and in its mirror image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.faces.networks import predict_landmarks
from faceloom.types import Pixels, Points

# Side of a detector's box over the landmarks' root mean square distance from their mean, and how far the box's centre
# lies above that mean, in the same unit: medians over 594 boxes, on photos and on aligned faces.
_BOX_SPREADS = 2.70
_BOX_LIFT = 0.067
_STANDARD_BOX = 200
_VIEW = 400
_JITTER = ((0.0, 0.0, 1.0), (-0.05, -0.03, 0.94), (0.05, -0.03, 1.06), (-0.03, 0.05, 1.06), (0.03, 0.05, 0.94))
_MIRRORED = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # lips, outside
        *(64, 63, 62, 61, 60, 67, 66, 65),  # lips, inside
    ]
)


class Stance(NamedTuple):
    """Where a face is and how the head is tilted.

    Attributes:
        centre: of the face's box, in photo pixels.
        side: of the box, in photo pixels.
        tilt: in degrees; positive where the face's own "right" points down in the picture (clockwise).
    """

    centre: tuple[float, float]
    side: float
    tilt: float


def stance_of(landmarks: Points) -> Stance:
    """Where a detector would put its box, had the head been upright."""
    axis = face_axis(landmarks)
    right = axis / np.hypot(*axis)
    up = np.array([right[1], -right[0]])
    middle = landmarks.mean(axis=0)
    spread = float(np.sqrt(((landmarks - middle) ** 2).sum(axis=1).mean()))
    centre = middle + up * (spread * _BOX_LIFT)
    tilt = math.degrees(math.atan2(right[1], right[0]))
    return Stance((float(centre[0]), float(centre[1])), spread * _BOX_SPREADS, tilt)


def face_axis(landmarks: Points) -> NDArray[np.float64]:
    """A vector along the face's own horizontal, from the eyes and the mouth together, in photo pixels.

    The first two steps of the alignment of FFHQ (Karras et al. 2019, arXiv:1812.04948, appendix A).

    Args:
        landmarks: (68, 2).

    Returns:
        (2,), pointing from the picture's left to its right for an upright face, about twice as long as the distance
        between the eyes.
    """
    left_eye, right_eye, mouth = eyes_and_mouth(landmarks)
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = mouth - (left_eye + right_eye) / 2
    axis: NDArray[np.float64] = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    return axis


def eyes_and_mouth(landmarks: Points) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Middle of the eye on the picture's left, of the eye on its right, and of the corners of the mouth."""
    return landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0), (landmarks[48] + landmarks[54]) / 2


def eye_distance(landmarks: Points) -> float:
    """Distance between the middles of the eyes, in the landmarks' pixels. Under 16, there is hardly a face to edit."""
    left_eye, right_eye, _ = eyes_and_mouth(landmarks)
    return float(np.hypot(*(right_eye - left_eye)))


def find_landmarks(pixels: Pixels, stance: Stance) -> Points:
    """Find the landmarks of the face in a stance.

    Args:
        pixels: (H, W, 3) uint8 RGB, the whole photo.
        stance: a first guess; 15 degrees of tilt and a quarter of the side in position are forgiven.

    Returns:
        (68, 2) points in iBUG 300-W order, in the pixels of the photo.
    """
    for _ in range(2):
        view, to_photo = upright_view(pixels, stance)
        found = stance_of(apply(to_photo, predict_landmarks(view, (_VIEW / 2, _VIEW / 2), _STANDARD_BOX)))
        # Half way only: following the landmarks all the way lets a half-seen face drift off.
        (x, y), (new_x, new_y) = stance.centre, found.centre
        stance = Stance(((x + new_x) / 2, (y + new_y) / 2), (stance.side + found.side) / 2, found.tilt)
    view, to_photo = upright_view(pixels, stance)
    mirror = view[:, ::-1]
    guesses = []
    for right, down, zoom in _JITTER:
        middle = (_VIEW / 2 + right * _STANDARD_BOX, _VIEW / 2 + down * _STANDARD_BOX)
        guesses.append(predict_landmarks(view, middle, _STANDARD_BOX * zoom))
        mirrored = predict_landmarks(mirror, middle, _STANDARD_BOX * zoom)[_MIRRORED]
        guesses.append(np.column_stack([_VIEW - mirrored[:, 0], mirrored[:, 1]]))
    return apply(to_photo, np.median(guesses, axis=0))


def upright_view(
    pixels: Pixels, stance: Stance, size: int = _VIEW, box: float = _STANDARD_BOX
) -> tuple[Pixels, NDArray[np.float64]]:
    """Cut out a face upright, its box in the middle; black where the photo ends.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        stance: where the face is.
        size: side of the cut-out in pixels.
        box: side of the face's box in the cut-out, in pixels.

    Returns:
        (size, size, 3) uint8 RGB, and the (2, 3) matrix from its coordinates to the photo's.
    """
    step = stance.side / box
    right = np.array([math.cos(math.radians(stance.tilt)), math.sin(math.radians(stance.tilt))]) * step
    down = np.array([-right[1], right[0]])
    corner = np.array(stance.centre) - (right + down) * (size / 2)
    to_photo = np.column_stack([right, down, corner])

    corners = apply(to_photo, np.array([[0, 0], [0, size], [size, size], [size, 0]], dtype=np.float64))
    shrink = max(1, int(step))
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2 * shrink, 0, None)
    high = np.ceil(corners.max(axis=0)).astype(int) + 2 * shrink
    region = pixels[low[1] : max(high[1], 0), low[0] : max(high[0], 0)]
    if region.size == 0:
        return np.zeros((size, size, 3), dtype=np.uint8), to_photo
    reduced = Image.fromarray(region).reduce(shrink)
    to_reduced = to_photo.copy()
    to_reduced[:, 2] -= low
    to_reduced /= shrink
    view = reduced.transform((size, size), Image.Transform.AFFINE, tuple(to_reduced.ravel()), Image.Resampling.BILINEAR)
    return np.asarray(view), to_photo


def apply(matrix: NDArray[np.float64], points: Points) -> Points:
    """Points (K, 2) through an affine (2, 3) or (3, 3) matrix."""
    moved: Points = points @ matrix[:2, :2].T + matrix[:2, 2]
    return moved
