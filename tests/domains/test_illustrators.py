from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from faceloom.domains.abstraction import in_steps, smooth
from faceloom.domains.brush import brushed
from faceloom.domains.colour import to_lab, to_rgb
from faceloom.domains.cutout import head_cutout
from faceloom.domains.eyes import glossy
from faceloom.domains.illustrators import ILLUSTRATORS, View, draw_faces, illustrator
from faceloom.domains.lines import ink
from faceloom.domains.makeup import blush, mouths
from faceloom.domains.shape import NATURAL, Proportions, moved, reshape
from faceloom.domains.sticker import cut_sticker, with_room
from faceloom.errors import UsageError
from faceloom.faces.align import align
from faceloom.faces.detect import detect
from faceloom.faces.landmarks import apply
from faceloom.imaging.photos import open_photo
from faceloom.types import Crop, Photo

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIDE = 192


@pytest.fixture(scope="module")
def opened() -> tuple[Photo, Crop]:
    photo = open_photo(EXAMPLES / "portrait.jpg")
    return photo, align(photo, detect(photo)[0], SIDE)


@pytest.fixture(scope="module")
def view(opened: tuple[Photo, Crop]) -> View:
    crop = opened[1]
    return View(float(SIDE), (apply(crop.from_photo(), crop.face.landmarks),))


@given(arrays(np.float32, (4, 5, 3), elements=st.floats(0, 1, width=32)))
def test_colours_come_back(rgb: np.ndarray) -> None:
    np.testing.assert_allclose(to_rgb(to_lab(rgb)), rgb, atol=2e-3)


def test_white_is_light_and_grey_has_no_colour() -> None:
    lab = to_lab(np.array([[1, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(lab[:, 0], [1.0, 0.598, 0.0], atol=1e-2)
    np.testing.assert_allclose(lab[:, 1:], 0.0, atol=1e-3)


def test_smoothing_stops_at_edges_and_levels_noise() -> None:
    random = np.random.default_rng(0)
    picture = np.zeros((40, 60, 1), np.float32)
    picture[:, 30:] = 0.8
    noisy = picture + 0.03 * random.standard_normal(picture.shape).astype(np.float32)
    calm = smooth(noisy, 10.0, 0.2)
    assert calm[:, :29].std() < 0.35 * noisy[:, :29].std()
    assert calm[:, 31:].mean() - calm[:, :29].mean() > 0.7


@given(st.floats(0.0, 1.0))
def test_smoothing_keeps_what_is_even(level: float) -> None:
    flat = np.full((6, 7, 2), level, np.float32)
    np.testing.assert_allclose(smooth(flat, 4.0, 0.1), flat, atol=1e-5)


@settings(deadline=None)
@given(steps=st.integers(2, 9), sharpness=st.floats(1.0, 12.0))
def test_steps_rise_and_stay_near(steps: int, sharpness: float) -> None:
    ramp = np.linspace(0, 1, 500, endpoint=False, dtype=np.float32)[None]
    stepped = in_steps(ramp, steps, sharpness)
    assert float(np.diff(stepped).min()) > -1e-5
    assert float(np.abs(stepped - ramp).max()) <= 0.5 / steps + 1e-5


def test_ink_lies_on_dark_lines_only_and_as_much_on_dark_skin() -> None:
    light = np.full((64, 64), 0.8, np.float32)
    light[30:33] = 0.4
    inked = ink(light, 1.5)
    assert inked[31, 10:-10].min() > 0.9
    assert inked[:20].max() < 0.05
    np.testing.assert_allclose(ink(light * 0.5, 1.5)[31, 10:-10], inked[31, 10:-10], atol=0.1)


@pytest.mark.parametrize("style", ["toon", "comic"])
@pytest.mark.parametrize("skin", [0.35, 0.5, 0.65])
def test_black_hair_makes_no_skin_pale(view: View, style: str, skin: float) -> None:
    face = view.landmarks[0]
    (left, top), (right, bottom) = face[17:68].min(axis=0).astype(int), face[17:68].max(axis=0).astype(int)
    lab = np.zeros((SIDE, SIDE, 3), np.float32)
    lab[..., 0] = 0.12
    lab[top : bottom + 10, left:right] = skin, 0.03, 0.05
    drawn = to_lab(illustrator(style).draw(to_rgb(lab), view))
    cheek = slice(int(face[33, 1]) - 4, int(face[33, 1])), slice(int(face[36, 0]) + 2, int(face[36, 0]) + 8)
    assert skin - 0.03 < float(np.median(drawn[cheek][..., 0])) < skin + 0.15
    hair = drawn[2:12, 2:-2, 0]
    assert float(np.median(hair)) < 0.25


def test_eyes_grow_and_the_rest_stays(view: View) -> None:
    landmarks = view.landmarks[0]
    flow = reshape(landmarks, (SIDE, SIDE), Proportions(eyes=1.4))
    after = moved(landmarks, flow)

    def width(points: np.ndarray) -> float:
        return float(np.hypot(*(points[39] - points[36])))

    assert 1.15 * width(landmarks) < width(after) < 1.45 * width(landmarks)
    np.testing.assert_allclose(after[36:42].mean(axis=0), landmarks[36:42].mean(axis=0), atol=1.5)
    np.testing.assert_allclose(after[48:60], landmarks[48:60], atol=1.0)
    assert not reshape(landmarks, (SIDE, SIDE), NATURAL).any()
    assert Proportions(eyes=1.4).scaled(0.0).natural


@pytest.mark.parametrize("name", list(ILLUSTRATORS))
def test_every_illustrator_draws_and_repeats_itself(name: str, opened: tuple[Photo, Crop], view: View) -> None:
    picture = opened[1].pixels.astype(np.float32) / 255.0
    drawn = illustrator(name).draw(picture, view)
    assert drawn.shape == picture.shape
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0.0
    assert drawn.max() <= 1.0
    assert np.abs(drawn - picture).mean() > 0.02
    np.testing.assert_array_equal(drawn, illustrator(name).draw(picture, view))
    assert illustrator(name).draw(picture, view, 0.0) is picture
    half = illustrator(name).draw(picture, view, 0.3)
    assert np.abs(half - picture).mean() < np.abs(drawn - picture).mean()


def test_a_picture_without_faces_can_be_drawn() -> None:
    picture = np.random.default_rng(0).random((40, 50, 3), np.float32)
    for style in ILLUSTRATORS.values():
        assert np.isfinite(style.draw(picture, View(30.0))).all()


def eye(openness: float) -> np.ndarray:
    """Landmarks of two eyes, 60 px wide, beside one another in a picture of 300 x 150 px."""
    half = np.array([[-30, 0], [-12, -1], [12, -1], [30, 0], [12, 1], [-12, 1]], float)
    half[[1, 2, 4, 5], 1] *= 30.0 * openness
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = half + np.array([80, 75]), half + np.array([220, 75])
    return points


def eyes_picture(iris: tuple[float, float, float], shift: float = 0.0) -> np.ndarray:
    picture = np.full((150, 300, 3), (0.85, 0.65, 0.55), np.float32)
    y, x = np.mgrid[0:150, 0:300] + 0.5
    for middle in (80, 220):
        picture[np.hypot((x - middle) / 30, (y - 75) / 14) < 1] = 0.9
        picture[np.hypot(x - middle - shift, y - 75) < 13] = iris
    return picture


def test_drawn_eyes_keep_their_colour_and_gaze() -> None:
    blue, brown = (glossy(eyes_picture(iris), eye(0.45)) for iris in ((0.35, 0.45, 0.6), (0.25, 0.12, 0.08)))
    window = slice(70, 88), slice(66, 94)
    assert blue[window][..., 2].mean() > blue[window][..., 0].mean() + 0.03
    assert brown[window][..., 0].mean() > brown[window][..., 2].mean() + 0.03
    left, right = (glossy(eyes_picture((0.1, 0.1, 0.1), shift), eye(0.45)).mean(axis=2) for shift in (-9.0, 9.0))
    darker = slice(65, 85)
    assert left[darker, 60:75].mean() < right[darker, 60:75].mean() - 0.1
    assert right[darker, 85:100].mean() < left[darker, 85:100].mean() - 0.1


def test_shut_eyes_get_lashes_and_no_white() -> None:
    skin = np.full((150, 300, 3), (0.6, 0.4, 0.3), np.float32)
    shut, wide = (glossy(skin, eye(openness)) for openness in (0.05, 0.45))
    assert wide.max() > 0.9
    assert shut.max() <= skin.max() + 1e-6
    assert shut.min() < 0.2
    np.testing.assert_array_equal(shut[:, 140:160], skin[:, 140:160])


def test_eyes_outside_of_the_picture_or_too_small_are_left_alone() -> None:
    picture = eyes_picture((0.3, 0.2, 0.1))
    np.testing.assert_array_equal(glossy(picture, eye(0.4) + 1000.0), picture)
    np.testing.assert_array_equal(glossy(picture, eye(0.4) * 0.02), picture)


def test_strokes_follow_edges() -> None:
    random = np.random.default_rng(0)
    lab = np.zeros((60, 60, 3), np.float32)
    lab[:, 30:, 0] = 0.8
    noisy = lab + 0.04 * random.standard_normal(lab.shape).astype(np.float32)
    calm = brushed(noisy, 4.0)
    assert calm.shape == lab.shape
    assert calm[:, 5:25, 1].std() < 0.6 * noisy[:, 5:25, 1].std()
    assert calm[:, 33:55, 0].mean() - calm[:, 5:27, 0].mean() > 0.7


def test_cheeks_redden_and_mouths_are_found(opened: tuple[Photo, Crop], view: View) -> None:
    lab = to_lab(opened[1].pixels.astype(np.float32) / 255.0)
    rosy = lab.copy()
    blush(rosy, view.landmarks[0])
    assert float((rosy - lab)[..., 1].max()) > 0.015
    np.testing.assert_array_equal(rosy[..., 0], lab[..., 0])
    mouth = mouths((SIDE, SIDE), view.landmarks)
    column, row = view.landmarks[0][48:].mean(axis=0).astype(int)
    assert mouth[row, column] == 1.0
    assert mouth[:20].max() == 0.0
    assert not mouths((SIDE, SIDE), ()).any()


def test_drawing_aligned_faces(opened: tuple[Photo, Crop], view: View) -> None:
    pixels = np.stack([opened[1].pixels] * 2)
    landmarks = np.stack([view.landmarks[0] / SIDE] * 2)
    told: list[int] = []
    drawn = draw_faces(illustrator("sketch"), pixels, landmarks, 32, lambda done, every: told.append(done))
    assert drawn.shape == (2, 32, 32, 3)
    assert told == [1, 2]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_an_unknown_illustrator_is_refused() -> None:
    with pytest.raises(UsageError, match="choose one of toon, comic, sketch"):
        illustrator("rembrandt")


def test_a_sticker_shows_the_head_and_not_the_corners(opened: tuple[Photo, Crop], view: View) -> None:
    photo, crop = opened
    cutout = head_cutout(crop)
    assert cutout.shape == (SIDE, SIDE)
    column, row = view.landmarks[0][17:].astype(int).T
    assert cutout[row, column].min() > 0.8
    assert cutout[:12, :12].max() < 0.2
    sticker = cut_sticker(photo, crop, cutout, 128)
    assert sticker.shape == (128, 128, 4)
    assert sticker[64, 64, 3] == 255
    assert sticker[2, 2, 3] == 0
    rim = (sticker[..., 3] == 255) & (sticker[..., :3] > 250).all(axis=2)
    assert rim.sum() > 50


def test_a_sticker_has_room_for_hair(opened: tuple[Photo, Crop]) -> None:
    photo, crop = opened
    assert head_cutout(crop)[0].max() > 0.5
    wide = with_room(photo, crop)
    side, wider = (np.hypot(*(one.quad[3] - one.quad[0])) for one in (crop, wide))
    assert side < wider < 1.4 * side
    assert wide.size == crop.size
    assert head_cutout(wide)[0].max() < 0.5
    # It stands on the same line as before.
    below = wide.quad[2] - wide.quad[1]
    apart = wide.quad[1] - crop.quad[1]
    assert abs(below[0] * apart[1] - below[1] * apart[0]) < 1e-3 * wider * side


def test_a_crop_that_shows_nobody_is_not_enlarged(opened: tuple[Photo, Crop]) -> None:
    photo, crop = opened
    blank = Crop(np.full_like(crop.pixels, 90), crop.quad, crop.face)
    assert with_room(photo, blank) is blank
    cutout = head_cutout(blank)
    assert cutout.max() > 0.9
    assert cutout[0].max() == 0.0
