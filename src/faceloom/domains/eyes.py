"""Eyes as animated films draw them: large bright irises with catch-lights, dark lashes, a crease above.

They are drawn anew, from the landmarks and from what the picture says of gaze and colour: no filter makes such eyes of
real ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceloom.domains.colour import to_lab, to_rgb
from faceloom.faces.landmarks import eye_distance
from faceloom.types import Points

Float = NDArray[np.float32]

_CLOSED = 0.13  # an eye less high than this share of its width is drawn shut
_IRIS = 0.58  # radius of an iris, in halves of the eye's width
_BROWN = 0.03, 0.05  # green–red and blue–yellow in Oklab
_LASH = np.array([0.1, 0.055, 0.05], np.float32)


def glossy(picture: Float, landmarks: Points) -> Float:
    """A picture (H, W, 3) RGB in [0, 1] with the eyes of one face drawn anew; landmarks (68, 2) in its pixels."""
    span = eye_distance(landmarks)
    if span < 6.0:  # nothing to be seen
        return picture
    result = picture.copy()
    eyes = [
        eye
        for points, outer in ((landmarks[36:42], -1.0), (landmarks[42:48], 1.0))
        if (eye := _measured(picture, points, outer, 0.4 * span)) is not None
    ]
    if eyes:
        # Both look the same way and have one colour: what is measured of one eye alone is rough.
        gaze = float(np.mean([_gaze(result[eye.window], eye) for eye in eyes]))
        colour = np.mean([_iris_colour(result[eye.window], eye) for eye in eyes], axis=0)
        for eye in eyes:
            _draw(result, eye, gaze, colour)
    return result


@dataclass(frozen=True)
class _Eye:
    """A window of the picture in coordinates of an eye: x from -1 to 1 between its corners, y downwards.

    Attributes:
        window: rows and columns of the picture.
        x, y: (H, W) of each pixel, in halves of the eye's width.
        upper, lower: (H, W) the lids' height at each x.
        top: the upper lid's height in the middle.
        high: how far the lids are apart there; 0 where the eye is shut.
        outer: -1 where the outer corner is at x = -1, else 1.
        pixel: how large a pixel is.
    """

    window: tuple[slice, slice]
    x: Float
    y: Float
    upper: Float
    lower: Float
    top: float
    high: float
    outer: float
    pixel: float

    def below(self, value: NDArray[np.floating], soft: float = 1.0) -> Float:
        """1 where a value is under 0, 0 where it is over, with an edge `soft` pixels wide."""
        edge = max(soft * self.pixel, 0.02)
        return np.asarray(np.clip(0.5 - value / (2.0 * edge), 0.0, 1.0), np.float32)

    @property
    def inside(self) -> Float:
        """(H, W) 1 between the lids."""
        inside: Float = self.below(self.upper - self.y) * self.below(self.y - self.lower)
        return inside


def _measured(picture: Float, points: Points, outer: float, least: float) -> _Eye | None:
    """The eye at landmarks (6, 2), at least `least` pixels wide; None outside of the picture."""
    height, width = picture.shape[:2]
    middle, across = (points[0] + points[3]) / 2.0, points[3] - points[0]
    length = max(float(np.hypot(*across)), 1e-6)
    half = max(length, least) / 2.0
    low = np.clip(np.floor(middle - 1.5 * half), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(middle + 1.5 * half), 0, (width, height)).astype(int)
    if (high - low).min() < 4:
        return None
    along = across / length
    down = np.array([-along[1], along[0]])
    row, column = np.mgrid[low[1] : high[1], low[0] : high[0]] + 0.5
    offset = np.stack([column - middle[0], row - middle[1]], axis=-1)
    x, y = ((offset @ axis / half).astype(np.float32) for axis in (along, down))
    lids = (points - middle) @ down / half
    top, bottom = float(-lids[1:3].mean()), float(lids[4:6].mean())
    # Landmarks are rough on eyes half shut: from shut to open it goes smoothly.
    wide = float(np.clip(((top + bottom) / 2.0 - _CLOSED) / 0.1, 0.0, 1.0))
    rise, fall = wide * (1.3 * top + 0.1), wide * (1.1 * bottom + 0.06)
    bent = 0.0 if wide else 0.14 * float(np.sign(top - bottom + 0.05))
    tilt = -0.06 * outer * x  # the outer corner is a little higher
    circle, parabola = np.sqrt(np.clip(1.0 - x**2, 0.0, 1.0)), np.clip(1.0 - x**2, 0.0, None)
    upper = (tilt - (rise + bent) * (0.45 * circle + 0.55 * parabola)).astype(np.float32)
    lower = (tilt + fall * (0.35 * circle + 0.65 * parabola)).astype(np.float32)
    window = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    return _Eye(window, x, y, upper, lower, -rise, rise + fall, outer, 1.0 / half)


def _gaze(part: Float, eye: _Eye) -> float:
    """Where between the corners the iris is: at what is dark, but drawn to the middle, where eyes mostly are."""
    seen = eye.inside * (np.abs(eye.x) < 0.75)
    if not (seen > 0.5).any():
        return 0.0
    lightness = to_lab(part)[..., 0]
    dark = seen * np.clip(float(np.quantile(lightness[seen > 0.5], 0.6)) - lightness, 0.0, 1.0) ** 2
    total = float(dark.sum()) + 1e-3 * float(seen.sum())
    return float(np.clip(1.1 * float((dark * eye.x).sum()) / total, -0.42, 0.42))


def _iris_colour(part: Float, eye: _Eye) -> NDArray[np.float64]:
    """Oklab of the iris: brown, or blue to green where the picture's is light and less red than the skin about it."""
    away = np.hypot(eye.x - _gaze(part, eye), eye.y - eye.top - 0.47 * eye.high)
    inside = eye.inside
    ring, skin = (away < 0.34) & (away > 0.14) & (inside > 0.5), inside < 0.01
    if int(ring.sum()) < 4 or not skin.any():
        return np.array([0.38, *_BROWN])
    lab = to_lab(part)
    own, around = (np.median(lab[where], axis=0).astype(np.float64) for where in (ring, skin))
    light = float(np.clip((own[0] - 0.3) / 0.06, 0.0, 1.0))
    pale = light * float(np.clip((0.65 - own[1] / max(float(around[1]), 0.01)) / 0.3, 0.0, 1.0))
    cool = np.array([-0.035, np.clip(-0.04 + 4.5 * (own[2] - 0.018), -0.055, 0.04)])
    colours: NDArray[np.float64] = (1.0 - pale) * np.array(_BROWN) + pale * cool
    return np.array([np.clip(0.22 + 0.4 * own[0], 0.3, 0.42) + 0.1 * pale, *colours])


def _draw(picture: Float, eye: _Eye, gaze: float, colour: NDArray[np.float64]) -> None:
    part = picture[eye.window]
    if eye.high > 0.0:
        part = part + eye.inside[..., None] * (_ball(part, eye, gaze, colour) - part)
    for line, strength in _lids(eye):
        part = part + (strength * line)[..., None] * (_LASH - part)
    picture[eye.window] = part


def _ball(part: Float, eye: _Eye, gaze: float, colour: NDArray[np.float64]) -> Float:
    """The white, the iris, the pupil and the lights on it, (H, W, 3) RGB."""
    lab = to_lab(part)
    radius = float(np.clip(0.54 * eye.high, _IRIS, 0.68))
    x, y = eye.x - gaze, eye.y - eye.top - 0.47 * eye.high
    away = np.hypot(x, y)
    # The lid throws a shadow on the white; in the shade of a face the white is not white either.
    shade = np.clip(1.0 - (eye.y - eye.upper) / 0.45, 0.0, 1.0)
    lightness = 0.66 + 0.34 * float(np.clip(np.quantile(lab[..., 0], 0.7) / 0.75, 0.0, 1.0))
    drawn = np.zeros_like(lab)
    drawn[..., 0] = lightness * (1.0 - 0.22 * shade)
    drawn[..., 1:] = np.array([0.004, -0.004], np.float32) + 0.01 * shade[..., None]
    depth = np.clip(y / radius, -1.0, 1.0)  # light falls in from above and leaves below
    tone = colour[0] * (1.0 + 0.75 * depth) * (1.0 - 0.5 * np.clip((away / radius - 0.72) / 0.28, 0.0, 1.0))
    iris = np.stack([tone, *(one * (1.0 + 0.5 * depth) for one in colour[1:])], axis=-1).astype(np.float32)
    drawn += eye.below(away - radius, 1.5)[..., None] * (iris - drawn)
    drawn += eye.below(away - 0.46 * radius, 2.0)[..., None] * (np.array([0.12, 0.005, 0.005], np.float32) - drawn)
    rgb = to_rgb(drawn)
    for dx, dy, size, strength in ((-0.34, -0.36, 0.27, 1.0), (0.36, 0.42, 0.13, 0.75)):
        spot = eye.below(np.hypot(x - dx * radius, y - dy * radius) - size * radius, 1.5)
        rgb = rgb + (strength * spot)[..., None] * (1.0 - rgb)
    return np.asarray(rgb, np.float32)


def _lids(eye: _Eye) -> list[tuple[Float, float]]:
    """Lines (H, W) of lashes and creases, and how dark each is."""
    towards = eye.outer * eye.x  # 1 at the outer corner
    within = eye.below(np.abs(eye.x) - 1.04)
    thick = 0.055 + 0.05 * np.clip(1.0 + towards, 0.0, 2.0) / 2.0 + 0.03 * np.clip(1.0 - eye.x**2, 0.0, 1.0)
    upper = eye.below(np.abs(eye.y - eye.upper + 0.4 * thick) - thick, 1.2) * within
    # A wing that continues the lid beyond the outer corner.
    start = towards - 0.86
    wing = eye.below(np.abs(eye.y + 0.06 + 0.75 * start) - (0.07 - 0.22 * start), 1.2) * eye.below(
        np.abs(start - 0.15) - 0.16
    )
    lines = [(np.maximum(upper, 0.9 * wing), 0.94)]
    if eye.high > 0.0:
        lower = eye.below(np.abs(eye.y - eye.lower) - 0.028, 1.2) * within * np.clip(0.5 + towards, 0.15, 1.0)
        crease = eye.below(np.abs(eye.y - 1.12 * eye.upper + 0.22) - 0.022, 1.5) * eye.below(np.abs(eye.x) - 0.8, 8.0)
        lines += [(lower, 0.6), (crease, 0.4)]
    return [(np.asarray(line, np.float32), strength) for line, strength in lines]
