"""Rosy cheeks and clear mouths, which animated faces have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from faceloom.faces.landmarks import eye_distance
from faceloom.types import Points

Float = NDArray[np.float32]


def blush(lab: Float, landmarks: Points) -> None:
    """Give a face (68, 2) in a picture (H, W, 3) Oklab rosy cheeks, in place."""
    height, width = lab.shape[:2]
    span = eye_distance(landmarks)
    low = np.clip(np.floor(landmarks.min(axis=0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(landmarks.max(axis=0)), 0, (width, height)).astype(int)
    if (high - low).min() < 4:
        return
    part = lab[low[1] : high[1], low[0] : high[0]]
    y, x = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
    for cheek in (
        0.55 * landmarks[[1, 2]].mean(axis=0) + 0.45 * landmarks[31],
        0.55 * landmarks[[15, 14]].mean(axis=0) + 0.45 * landmarks[35],
    ):
        near = np.exp(-((x - cheek[0]) ** 2 + (y - cheek[1]) ** 2) / (2.0 * (0.24 * span) ** 2))
        part[..., 1:] += (near[..., None] * np.array([0.024, 0.005])).astype(np.float32)


def mouths(size: tuple[int, int], faces: Sequence[Points]) -> Float:
    """(H, W) of this size, 1 in the mouths of faces with landmarks (68, 2), falling off softly around their lips."""
    covered = np.zeros(size, np.float32)
    for landmarks in faces:
        sheet = Image.new("L", (size[1], size[0]))
        ImageDraw.Draw(sheet).polygon([(float(x), float(y)) for x, y in landmarks[48:60]], fill=255)
        mouth = ndimage.gaussian_filter(np.asarray(sheet, np.float32) / 255.0, 0.04 * eye_distance(landmarks))
        covered = np.maximum(covered, np.clip(1.6 * mouth, 0.0, 1.0))
    return covered
