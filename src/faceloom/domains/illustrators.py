"""Illustrators: programs that redraw a photo of a face in a style.

They have two jobs. They draw the training faces, from which a twin of the generator learns to draw faces of people who
do not exist, and edits of faces, in that style. And they redraw a photo at its own resolution, which no small generator
can: see `faceloom.domains.drawing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.domains.abstraction import in_steps, smooth
from faceloom.domains.brush import brushed
from faceloom.domains.colour import to_lab, to_rgb
from faceloom.domains.eyes import glossy
from faceloom.domains.lines import ink
from faceloom.domains.makeup import blush, mouths
from faceloom.domains.shape import NATURAL, Proportions, moved, reshape
from faceloom.errors import UsageError
from faceloom.faces.transfer import warp
from faceloom.types import Points

Float = NDArray[np.float32]
Colour = tuple[float, float, float]

_LIGHTER, _LIGHT = 0.07, 0.76  # how much lighter skin may get, and up to where
_LEAD, _PAPER = (0.13, 0.13, 0.15), (0.972, 0.962, 0.94)


@dataclass(frozen=True)
class View:
    """What an illustrator knows of a picture besides its pixels.

    Attributes:
        side: how many pixels the side of an aligned crop of the face has; what lines and brushes are measured by.
        landmarks: (68, 2) of each face, in pixels, as the faces are now.
        grain: whether to draw the texture of paper and pencil, which a twin cannot learn.
    """

    side: float
    landmarks: tuple[Points, ...] = ()
    grain: bool = True


@dataclass(frozen=True)
class Illustrator:
    """A style.

    Attributes:
        name: by which it is asked for.
        title: for people, a few words.
        surface: redraws pixels in place of a picture (H, W, 3) RGB in [0, 1].
        proportions: of the faces it draws.
        ends: two RGB colours in [0, 1] that all of its colours lie between, as lead and paper; None for all colours.
    """

    name: str
    title: str
    surface: Callable[[Float, View], Float]
    proportions: Proportions = NATURAL
    ends: tuple[Colour, Colour] | None = None

    def draw(self, picture: Float, view: View, degree: float = 1.0) -> Float:
        """Redraw a picture.

        Args:
            picture: (H, W, 3) float32 RGB in [0, 1].
            view: its scale and faces.
            degree: how far, from 0 (as it is) to 1.

        Returns:
            (H, W, 3) float32 RGB in [0, 1].
        """
        if degree <= 0.0:
            return picture
        faces = []
        for landmarks in view.landmarks:
            size = picture.shape[1], picture.shape[0]
            flow = reshape(landmarks, size, self.proportions.scaled(degree))
            if not self.proportions.natural:
                picture = warp(picture, flow)
            faces.append(moved(landmarks, flow))
        drawn = self.surface(picture, View(view.side, tuple(faces), view.grain))
        return np.clip(picture + np.float32(degree) * (drawn - picture), 0.0, 1.0)


def _comic(picture: Float, view: View) -> Float:
    """Flat colours in a few tones, and ink."""
    lab = to_lab(picture)
    lab[..., 0] = _exposed(lab[..., 0], 0.66, view)
    calm = smooth(lab, 0.01 * view.side, 0.05)
    flat = smooth(calm, 0.05 * view.side, 0.075)
    lines = ink(calm[..., 0], 0.0046 * view.side, least=0.01, softness=0.05, length=5.0)[..., None]
    flat[..., 0] = 0.3 * flat[..., 0] + 0.7 * in_steps(flat[..., 0], 7, 8.0)
    flat[..., 1:] *= 1.28
    drawn: Float = to_rgb(flat) * (1.0 - 0.94 * lines) + 0.94 * lines * np.array([0.09, 0.07, 0.1], np.float32)
    return drawn


def _sketch(picture: Float, view: View) -> Float:
    """Pencil on paper: soft outlines, tone by hatching."""
    light = _exposed(to_lab(picture)[..., 0], 0.66, view)
    calm = smooth(light[..., None], 0.012 * view.side, 0.05)[..., 0]
    lines = ink(calm, 0.0034 * view.side, least=0.01, softness=0.07, length=3.0)
    blurred = ndimage.gaussian_filter(calm, 0.03 * view.side)
    # "Dodging": what is darker than its surroundings stays, even shades vanish (as photographers did on paper).
    contours = 1.0 - np.clip(calm / np.maximum(blurred, 0.05), 0.0, 1.0)
    tone = np.clip((0.86 - calm) / 0.8, 0.0, 1.0)
    graphite = 1.0 - (1.0 - 0.85 * lines) * (1.0 - np.clip(1.8 * contours, 0.0, 0.85)) * (1.0 - 0.6 * tone)
    if view.grain:
        graphite = graphite * (0.8 + 0.4 * _hatching(light.shape, 0.0034 * view.side, tone))
    graphite = np.clip(graphite, 0.0, 0.93)[..., None]
    paper, lead = np.array([_PAPER, _LEAD], np.float32)
    drawn: Float = (paper * (1.0 - graphite) + lead * graphite).astype(np.float32)
    return drawn


def _toon(picture: Float, view: View) -> Float:
    """The soft, warm, glossy look of animated films."""
    lab = to_lab(picture)
    lab[..., 0] = _exposed(lab[..., 0], 0.64, view)
    fine = brushed(lab, 0.014 * view.side)
    soft = smooth(fine, 0.07 * view.side, 0.28)
    edges = ndimage.gaussian_filter(np.abs(fine - soft) @ np.array([1.0, 1.5, 1.5], np.float32), 0.012 * view.side)
    # Hair and lips keep their strands, skin does not; and a brush as broad as teeth would make one tooth of two.
    painted = soft + np.clip((edges - 0.012) / 0.04, 0.0, 0.85)[..., None] * (fine - soft)
    lab = painted + mouths(lab.shape[:2], view.landmarks)[..., None] * (smooth(lab, 0.008 * view.side, 0.1) - painted)
    glow = ndimage.gaussian_filter(lab[..., 0], 0.05 * view.side)
    lab[..., 0] = np.clip(lab[..., 0] + 0.22 * (lab[..., 0] - glow) + 0.06 * np.clip(glow - 0.35, 0.0, 1.0), 0.0, 1.0)
    lab[..., 1:] = lab[..., 1:] * np.array([1.24, 1.38], np.float32) + np.array([0.004, 0.006], np.float32)
    for landmarks in view.landmarks:
        blush(lab, landmarks)
    rgb = to_rgb(lab)
    lines = ink(fine[..., 0], 0.0042 * view.side, least=0.022, softness=0.08, length=6.0)[..., None]
    rgb = (rgb * (1.0 - 0.8 * lines * np.array([0.72, 0.86, 0.9], np.float32))).astype(np.float32)
    for landmarks in view.landmarks:
        rgb = glossy(rgb, landmarks)
    return rgb


def _exposed(lightness: Float, wanted: float, view: View) -> Float:
    """Lightness with the exposure brought near to a mean that is wanted, and never darker.

    It is measured on faces with what surrounds them, not on skin alone, so that dark skin stays dark. Black hair makes
    that dark, too, so skin says how far it may go: it gets a little lighter at most.
    """
    sample = np.concatenate([part.ravel() for part in _surroundings(lightness, view)])
    sample = sample[:: max(1, len(sample) // 16384)]
    low, high = min(float(np.percentile(sample, 1.0)), 0.06), max(float(np.percentile(sample, 99.0)), 0.85)
    opened = np.clip((lightness - low) / (high - low), 0.0, 1.0)
    mean = float(np.clip(((sample - low) / (high - low)).mean(), 0.2, 0.9))
    gamma = float(np.clip((np.log(wanted) / np.log(mean)) ** 0.7, 0.55, 1.0))
    for landmarks in view.landmarks:
        skin = float(np.clip((_skin(lightness, landmarks) - low) / (high - low), 0.2, 0.9))
        gamma = max(gamma, float(np.log(min(skin + _LIGHTER, max(skin, _LIGHT))) / np.log(skin)))
    exposed: Float = (opened**gamma).astype(np.float32)
    return exposed


def _skin(lightness: Float, landmarks: Points) -> float:
    """How light a face is between its eyes and its mouth; a middle tone where that is outside of the picture."""
    eyes, mouth = landmarks[36:48], landmarks[48:60]
    left, right = eyes[:, 0].min(), eyes[:, 0].max()
    corners = np.array([[left, eyes[:, 1].max()], [right, mouth[:, 1].min()]])
    (left, top), (right, bottom) = np.clip(corners, 0, lightness.shape[::-1]).astype(int)
    part = lightness[top:bottom, left:right]
    return float(np.median(part)) if part.size else 0.6


def _surroundings(lightness: Float, view: View) -> list[Float]:
    """The squares around the faces; all of the picture where there are none."""
    parts = []
    for landmarks in view.landmarks:
        left, top = np.clip(landmarks.mean(axis=0) - 0.45 * view.side, 0, None).astype(int)
        right, bottom = np.clip(landmarks.mean(axis=0) + 0.45 * view.side, 1, None).astype(int)
        parts.append(lightness[top:bottom, left:right])
    return [part for part in parts if part.size] or [lightness]


def _hatching(shape: tuple[int, int], pitch: float, tone: Float) -> Float:
    """Strokes (H, W) of mean about 0.5: one way in light places, crossed in dark ones. The same for every picture."""
    random = np.random.default_rng(7)
    noise = random.standard_normal(shape).astype(np.float32)
    layers = []
    for angle in (40.0, -35.0):
        turned = ndimage.rotate(noise, angle, reshape=True, order=1, mode="wrap")
        turned = ndimage.gaussian_filter(turned, (0.45 * pitch, 7.0 * pitch), mode="wrap")
        back = ndimage.rotate(turned, -angle, reshape=True, order=1, mode="wrap")
        top, left = (back.shape[0] - shape[0]) // 2, (back.shape[1] - shape[1]) // 2
        layer = back[top : top + shape[0], left : left + shape[1]]
        layers.append(1.0 / (1.0 + np.exp(-2.0 * layer / max(float(layer.std()), 1e-6))))
    strokes: Float = (layers[0] + tone * (layers[1] - 0.5)).astype(np.float32)
    return strokes


ILLUSTRATORS = {
    one.name: one
    for one in (
        Illustrator("toon", "animated film", _toon, Proportions(eyes=1.7, nose=0.82, mouth=0.97, jaw=0.88)),
        Illustrator("comic", "flat comic", _comic, Proportions(eyes=1.08, jaw=0.98)),
        Illustrator("sketch", "pencil sketch", _sketch, ends=(_LEAD, _PAPER)),
    )
}


def illustrator(name: str) -> Illustrator:
    """The illustrator of this name.

    Raises:
        UsageError: if there is none.
    """
    if name not in ILLUSTRATORS:
        raise UsageError(f"there is no illustrator {name!r}; choose one of {', '.join(ILLUSTRATORS)}")
    return ILLUSTRATORS[name]


def draw_faces(
    style: Illustrator,
    pixels: NDArray[np.uint8],
    landmarks: NDArray[np.float64],
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """Draw aligned faces.

    Args:
        style: who draws.
        pixels: (N, S, S, 3) uint8 RGB.
        landmarks: (N, 68, 2) in shares of the side.
        size: side of the drawings in pixels; they are made at twice that, where lines have room.
        progress: called with the number of faces done, and of all.

    Returns:
        (N, size, size, 3) uint8 RGB.
    """
    drawn = np.empty((len(pixels), size, size, 3), np.uint8)
    for index, (face, points) in enumerate(zip(pixels, landmarks, strict=True)):
        large = _resized(face, 2 * size)
        view = View(2.0 * size, (points * 2.0 * size,), grain=False)
        result = style.draw(large, view).reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
        drawn[index] = np.clip(np.rint(result * 255.0), 0, 255).astype(np.uint8)
        if progress is not None:
            progress(index + 1, len(pixels))
    return drawn


def _resized(pixels: NDArray[np.uint8], side: int) -> Float:
    resized = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / 255.0
