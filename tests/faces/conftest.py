"""Faces to look for: a drawn one, known to the pixel, and photos with the spectrum of natural ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from faceloom.faces.detect import detect
from faceloom.types import Face, Photo, Pixels, Points

DrawFace = Callable[[int], Pixels]
MakePhoto = Callable[..., Photo]
PlaceFace = Callable[..., Face]


def _draw(side: int) -> Pixels:
    """A front view on a square: eyes at (0.39, 0.46) and (0.61, 0.46), mouth at (0.50, 0.73)."""
    unit = 4.0
    image = Image.new("RGB", (800, 800), (120, 150, 170))
    pen = ImageDraw.Draw(image)

    def oval(x: float, y: float, half_width: float, half_height: float, colour: tuple[int, int, int]) -> None:
        box = [x - half_width, y - half_height, x + half_width, y + half_height]
        pen.ellipse([value * unit for value in box], fill=colour)

    def line(points: list[float], colour: tuple[int, int, int], width: int) -> None:
        pen.line([value * unit for value in points], fill=colour, width=round(width * unit))

    oval(100, 88, 66, 80, (60, 40, 30))
    oval(100, 108, 54, 70, (225, 180, 150))
    for x in (78, 122):
        oval(x, 92, 15, 10, (185, 135, 110))
        oval(x, 92, 12, 6, (245, 240, 235))
        oval(x, 92, 6, 6, (50, 35, 30))
        line([x - 15, 79, x, 74, x + 15, 79], (70, 45, 35), 6)
    oval(100, 122, 10, 6, (190, 140, 115))
    for x in (95, 105):
        oval(x, 124, 3, 2, (110, 70, 60))
    line([92, 95, 91, 118], (200, 155, 128), 3)
    oval(100, 146, 20, 7, (170, 70, 70))
    line([80, 146, 120, 146], (90, 30, 30), 3)
    soft = image.filter(ImageFilter.GaussianBlur(1.5 * unit))
    return np.asarray(soft.resize((side, side), Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def draw_face() -> DrawFace:
    """Draws a face on a square of a given side."""
    return _draw


@pytest.fixture(scope="session")
def template() -> Points:
    """(68, 2) landmarks of the drawn face, the square's side being 1."""
    faces = detect(Photo(_draw(400)))
    assert len(faces) == 1
    return faces[0].landmarks / 400


@pytest.fixture(scope="session")
def place_face(template: Points) -> PlaceFace:
    """Makes a `Face` from the template: scaled, turned clockwise by degrees, and moved; nothing is drawn."""

    def place(centre: tuple[float, float], scale: float, tilt: float = 0.0) -> Face:
        angle = np.deg2rad(tilt)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        landmarks = (template - 0.5) @ turn.T * scale + np.array(centre)
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        return Face(box=(low[0], low[1], high[0], high[1]), landmarks=landmarks, score=1.0)

    return place


@pytest.fixture(scope="session")
def make_photo() -> MakePhoto:
    """Makes noise whose amplitude falls with frequency as it does in photographs, with a little sensor noise."""

    def make(width: int, height: int, seed: int = 0) -> Photo:
        rng = np.random.default_rng(seed)
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
        frequency[0, 0] = np.inf
        channels = []
        for _ in range(3):
            spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency**1.5
            plane = np.fft.irfft2(spectrum, s=(height, width))
            channels.append(128 + plane / plane.std() * 40 + rng.normal(size=(height, width)))
        return Photo(np.rint(np.stack(channels, axis=2)).clip(0, 255).astype(np.uint8))

    return make
