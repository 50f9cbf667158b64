"""Eyes as animated films draw them: clear, with a catch-light and a dark lash line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from faceloom.domains.colour import to_lab, to_rgb
from faceloom.faces.landmarks import eye_distance
from faceloom.types import Points

Float = NDArray[np.float32]

_OPEN = 0.16  # an eye less high than this share of its width is closed, or laughs
_DRAWN = 4  # what Pillow draws is drawn so many times larger, for smooth edges


def glossy(picture: Float, landmarks: Points) -> Float:
    """A picture (H, W, 3) RGB in [0, 1] with the eyes of one face polished; landmarks (68, 2) in its pixels."""
    span = eye_distance(landmarks)
    if span < 6.0:  # nothing to be seen
        return picture
    result = picture.copy()
    for eye in (landmarks[36:42], landmarks[42:48]):
        _polish(result, eye, span)
    return result


def _polish(picture: Float, eye: Points, span: float) -> None:
    height, width = picture.shape[:2]
    low = np.clip(np.floor(eye.min(axis=0) - 0.2 * span), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(eye.max(axis=0) + 0.2 * span), 0, (width, height)).astype(int)
    if (high - low).min() < 4:
        return
    window = slice(low[1], high[1]), slice(low[0], high[0])
    here, part = eye - low, picture[window]
    size = part.shape[1], part.shape[0]
    lashes = _stroke(size, here, span)[..., None]
    if _openness(eye) > _OPEN:
        inside = ndimage.gaussian_filter(_polygon(size, here), max(0.4, 0.012 * span))
        lab = to_lab(part)
        middle = float((lab[..., 0] * inside).sum() / max(float(inside.sum()), 1e-6))
        lab[..., 0] = np.clip(lab[..., 0] + inside * (0.35 * (lab[..., 0] - middle) + 0.1), 0.0, 1.0)
        lab[..., 1:] *= 1.0 + 0.35 * inside[..., None]
        part = to_rgb(lab)
        part = part + (1.0 - part) * 0.8 * _catch_light(lab[..., 0], inside, span)[..., None]
    picture[window] = part * (1.0 - 0.75 * lashes) + np.array([0.12, 0.07, 0.06], np.float32) * 0.75 * lashes


def _openness(eye: Points) -> float:
    high = np.hypot(*(eye[1] - eye[5])) + np.hypot(*(eye[2] - eye[4]))
    return float(high / (2.0 * max(float(np.hypot(*(eye[3] - eye[0]))), 1e-6)))


def _polygon(size: tuple[int, int], points: Points) -> Float:
    sheet = Image.new("L", (size[0] * _DRAWN, size[1] * _DRAWN))
    ImageDraw.Draw(sheet).polygon([(x * _DRAWN, y * _DRAWN) for x, y in points.tolist()], fill=255)
    return np.asarray(sheet.resize(size, Image.Resampling.BOX), np.float32) / 255.0


def _stroke(size: tuple[int, int], eye: Points, span: float) -> Float:
    """The upper lid's line, thickest in its middle."""
    sheet = Image.new("L", (size[0] * _DRAWN, size[1] * _DRAWN))
    draw = ImageDraw.Draw(sheet)
    place = np.linspace(0.0, 3.0, 40)
    curve = np.stack([_spline(eye[:4, axis], place) for axis in (0, 1)], axis=1)
    for step, (x, y) in zip(place / 3.0, curve * _DRAWN, strict=True):
        radius = _DRAWN * span * (0.008 + 0.02 * np.sin(np.pi * (0.1 + 0.8 * step)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    line = np.asarray(sheet.resize(size, Image.Resampling.BOX), np.float32) / 255.0
    return np.asarray(ndimage.gaussian_filter(line, max(0.3, 0.006 * span)), np.float32)


def _spline(values: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth curve through four values at 0, 1, 2 and 3."""
    return np.asarray(np.polyval(np.polyfit(np.arange(4.0), values, 3), place))


def _catch_light(lightness: Float, inside: Float, span: float) -> Float:
    """A bright spot on the upper part of the iris, which is the dark part of the eye."""
    dark = inside * np.clip(0.6 - lightness, 0.0, 1.0) ** 2
    total = float(dark.sum())
    if total < 1e-6:
        return np.zeros_like(lightness)
    y, x = np.mgrid[0 : lightness.shape[0], 0 : lightness.shape[1]]
    middle = (dark * x).sum() / total + 0.035 * span, (dark * y).sum() / total - 0.045 * span
    radius = 0.027 * span
    spot = np.clip(1.5 - np.hypot(x - middle[0], y - middle[1]) / radius, 0.0, 1.0)
    return np.asarray(spot * np.clip(inside * 2.0, 0.0, 1.0), np.float32)
