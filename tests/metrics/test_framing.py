"""Cutting out the square that a judge looks at."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceloom.metrics.framing import ALIGNED_CENTRE, ALIGNED_EXTENT, Framing
from faceloom.types import Face, Pixels, Points


def upright_landmarks(centre: tuple[float, float], extent: float) -> Points:
    """68 points of a symmetric face: its box is a square of side `extent` around `centre`."""
    points = np.zeros((68, 2))
    points[:17] = [(-math.cos(a), math.sin(a) * 2 - 1) for a in np.linspace(0, math.pi, 17)]
    points[17:27] = [(x, -1.0) for x in np.linspace(-0.8, 0.8, 10)]
    points[27:36] = [(0.0, y) for y in np.linspace(-0.5, 0.1, 9)]
    points[36:42], points[42:48] = (-0.45, -0.6), (0.45, -0.6)
    points[48:68] = [(x, 0.45) for x in np.linspace(-0.4, 0.4, 20)]
    points[54], points[48] = (0.4, 0.45), (-0.4, 0.45)
    placed: Points = points * (extent / 2) + np.array(centre)
    return placed


def turned(points: Points, degrees: float, around: tuple[float, float]) -> Points:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    placed: Points = (points - around) @ np.array([[cos, sin], [-sin, cos]]) + around
    return placed


def face_at(landmarks: Points) -> Face:
    return Face((0.0, 0.0, 1.0, 1.0), landmarks, 1.0)


def ramp(size: int) -> Pixels:
    """Red grows to the right and green downwards, by one for each pixel; blue is 200."""
    y, x = np.mgrid[:size, :size]
    return np.stack([x, y, np.full_like(x, 200)], axis=2).astype(np.uint8)


@given(st.floats(90, 110), st.floats(90, 110), st.floats(40, 90), st.floats(-40, 40))
def test_square_is_where_the_landmarks_say(x: float, y: float, extent: float, tilt: float) -> None:
    framing = Framing(size=20, padding=0.5)
    landmarks = turned(upright_landmarks((x, y), extent), tilt, (x, y))
    crop = framing.from_photo(ramp(200), face_at(landmarks)).numpy()
    # Half a pixel lies between a pixel's corner, which the ramp counts, and its centre.
    step = extent * 1.5 / 20
    assert crop[:2, 9:11, 9:11].mean(axis=(1, 2)) == pytest.approx([x - 0.5, y - 0.5], abs=1e-3)
    right = (crop[:2, 10, 15] - crop[:2, 10, 5]) / 10
    expected = [step * math.cos(math.radians(tilt)), step * math.sin(math.radians(tilt))]
    assert right == pytest.approx(expected, abs=1e-3)


def test_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((400, 400, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    crop = Framing(size=16, padding=0.0).from_photo(stripes, face_at(upright_landmarks((200, 200), 320)))
    assert crop.shape == (3, 16, 16)
    assert 120 < crop.min() <= crop.max() < 135


def test_black_outside_the_photo() -> None:
    white = np.full((100, 100, 3), 255, dtype=np.uint8)
    crop = Framing(size=32, padding=0.0).from_photo(white, face_at(upright_landmarks((0, 50), 60)))
    assert crop[:, :, :15].max() == 0
    assert crop[:, :, 18:].min() > 254.9


@pytest.mark.parametrize("padding", [0.2, 0.4])
def test_aligned_images_and_photos_of_them_agree(padding: float) -> None:
    framing = Framing(size=32, padding=padding)
    size = 250
    pixels = ramp(size)
    centre = (ALIGNED_CENTRE[0] * size, ALIGNED_CENTRE[1] * size)
    by_landmarks = framing.from_photo(pixels, face_at(upright_landmarks(centre, ALIGNED_EXTENT * size)))
    fixed = framing.from_aligned(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float())[0]
    assert (fixed - by_landmarks)[:, 1:28, 1:-1].abs().max() < 2
    assert fixed[2, -1].tolist() == pytest.approx([200] * 32)  # the border is repeated, not black


def test_aligned_framing_is_differentiable_and_keeps_the_range() -> None:
    images = (torch.rand(2, 3, 64, 64) * 2 - 1).requires_grad_()
    framed = Framing(size=112, padding=0.2).from_aligned(images)
    assert tuple(framed.shape) == (2, 3, 112, 112)
    assert framed.abs().max() <= 1
    (gradient,) = torch.autograd.grad(framed.sum(), images)
    assert gradient[:, :, 40, 32].min() > 0
    assert gradient[:, :, 2, 2].abs().max() == 0


def test_face_outside_the_photo_is_black() -> None:
    crop = Framing(size=8, padding=0.0).from_photo(ramp(50), face_at(upright_landmarks((-500, -500), 60)))
    assert torch.equal(crop, torch.zeros(3, 8, 8))
