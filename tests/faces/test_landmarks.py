from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceloom.faces.landmarks import Stance, apply, eye_distance, find_landmarks, stance_of, upright_view
from faceloom.types import Face, Photo, Pixels, Points


def test_a_stance_moves_with_the_face(place_face: Callable[..., Face]) -> None:
    plain = stance_of(place_face((0.0, 0.0), 100.0).landmarks)
    moved = stance_of(place_face((30.0, -20.0), 200.0, 35.0).landmarks)
    assert moved.side == pytest.approx(2 * plain.side)
    assert moved.tilt == pytest.approx(plain.tilt + 35)


@pytest.mark.parametrize(("dx", "dy", "zoom", "tilt"), [(0.12, 0, 1, 0), (0, -0.12, 1.15, 0), (0, 0, 0.87, 15)])
def test_a_rough_guess_is_enough(
    draw_face: Callable[[int], Pixels], template: Points, dx: float, dy: float, zoom: float, tilt: float
) -> None:
    right = stance_of(template * 400)
    x, y = right.centre
    guess = Stance((x + dx * right.side, y + dy * right.side), right.side * zoom, right.tilt + tilt)
    found = find_landmarks(draw_face(400), guess)
    np.testing.assert_allclose(found / 400, template, atol=0.025)


def test_a_mirror_image_has_mirrored_landmarks(draw_face: Callable[[int], Pixels], template: Points) -> None:
    drawn = draw_face(400)
    stance = stance_of(template * 400)
    mirrored = Stance((400 - stance.centre[0], stance.centre[1]), stance.side, -stance.tilt)
    plain, flipped = find_landmarks(drawn, stance), find_landmarks(drawn[:, ::-1], mirrored)
    for left, right in ((0, 16), (17, 26), (31, 35), (36, 45), (41, 46), (48, 54), (60, 64), (8, 8), (30, 30)):
        np.testing.assert_allclose(flipped[left], (400 - plain[right, 0], plain[right, 1]), atol=6)


@given(x=st.floats(-50, 650), y=st.floats(-50, 450), side=st.floats(20, 500), tilt=st.floats(-180, 180))
def test_an_upright_view_shows_what_its_matrix_says(x: float, y: float, side: float, tilt: float) -> None:
    rows, columns = np.mgrid[0:400, 0:600] + 0.5
    slopes = np.stack([columns / 3, rows / 2, np.full_like(rows, 77)], axis=2)
    view, to_photo = upright_view(np.rint(slopes).astype(np.uint8), Stance((x, y), side, tilt), 64, 32.0)
    centres = np.stack(np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5), axis=2).reshape(-1, 2).astype(np.float64)
    there = apply(to_photo, centres)
    step = side / 32 + 2
    inside = ((there > step) & (there < np.array([600, 400]) - step)).all(axis=1)
    expected = np.column_stack([there[:, 0] / 3, there[:, 1] / 2, np.full(len(there), 77)])
    assert np.abs(view.reshape(-1, 3).astype(float) - expected)[inside].max(initial=0) <= 2.5
    np.testing.assert_allclose(apply(to_photo, np.array([[32.0, 32.0]]))[0], (x, y), atol=1e-6)


def test_eye_distance(place_face: Callable[..., Face]) -> None:
    assert eye_distance(place_face((5.0, 5.0), 300.0, 77.0).landmarks) == pytest.approx(0.22 * 300, rel=0.05)


def test_a_view_outside_the_photo_is_black() -> None:
    view, _ = upright_view(np.full((10, 10, 3), 200, dtype=np.uint8), Stance((500.0, 500.0), 20.0, 10.0))
    assert not view.any()


def test_landmarks_do_not_depend_on_the_photo_around(draw_face: Callable[[int], Pixels], template: Points) -> None:
    canvas = np.full((700, 900, 3), 60, dtype=np.uint8)
    canvas[100:500, 300:700] = draw_face(400)
    shifted = find_landmarks(Photo(canvas).pixels, stance_of(template * 400 + np.array([300, 100])))
    np.testing.assert_allclose((shifted - np.array([300, 100])) / 400, template, atol=0.02)
