from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceloom.errors import FaceError
from faceloom.faces.align import align, ffhq_quad
from faceloom.faces.detect import detect
from faceloom.types import Face, Photo, Pixels, Points


def test_the_definition_worked_by_hand() -> None:
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = (100, 100), (200, 100)
    landmarks[48], landmarks[54] = (120, 200), (180, 200)
    # Eyes 100 apart, mouth 100 below: half a side is max(2.0 * 100, 1.8 * 100), the centre 10 below the eyes.
    np.testing.assert_allclose(ffhq_quad(landmarks), [(-50, -90), (-50, 310), (350, 310), (350, -90)])
    landmarks[48], landmarks[54] = (120, 300), (180, 300)
    np.testing.assert_allclose(ffhq_quad(landmarks), [(-210, -240), (-210, 480), (510, 480), (510, -240)])


@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4), scale=st.floats(0.05, 50), tilt=st.floats(-180, 180))
def test_the_quad_moves_with_the_face(template: Points, x: float, y: float, scale: float, tilt: float) -> None:
    angle = np.deg2rad(tilt)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = template * 100
    moved = ffhq_quad(landmarks @ turn.T + (x, y))
    np.testing.assert_allclose(moved, ffhq_quad(landmarks) @ turn.T + (x, y), atol=1e-6 * max(1, abs(x), abs(y)))


def test_the_quad_is_an_upright_square_in_order(template: Points) -> None:
    upper_left, lower_left, lower_right, upper_right = ffhq_quad(template)
    np.testing.assert_allclose(upper_left + lower_right, lower_left + upper_right)
    across, down = upper_right - upper_left, lower_left - upper_left
    assert across[0] > 0
    assert down[1] > 0
    np.testing.assert_allclose(np.hypot(*across), np.hypot(*down))
    np.testing.assert_allclose(across @ down, 0, atol=1e-12)


@pytest.mark.parametrize("landmarks", [np.zeros((68, 2)), np.full((68, 2), np.nan)])
def test_no_face_at_all(landmarks: Points) -> None:
    photo = Photo(np.zeros((10, 10, 3), dtype=np.uint8))
    with pytest.raises(FaceError, match="use a photo where"):
        align(photo, Face((0, 0, 1, 1), landmarks, 1.0), 32)


def test_eyes_land_where_ffhq_has_them(draw_face: Callable[[int], Pixels]) -> None:
    photo = Photo(draw_face(500))
    (face,) = detect(photo)
    crop = align(photo, face, 256)
    assert crop.pixels.shape == (256, 256, 3)
    assert crop.pixels.dtype == np.uint8
    (again,) = detect(Photo(crop.pixels))
    np.testing.assert_allclose(ffhq_quad(again.landmarks), [(0, 0), (0, 256), (256, 256), (256, 0)], atol=5)


@given(
    x=st.floats(150, 350),
    y=st.floats(150, 250),
    scale=st.floats(20, 60),
    tilt=st.floats(-180, 180),
    size=st.sampled_from([16, 48, 128]),
)
def test_inside_the_photo_a_crop_shows_what_its_quad_says(
    place_face: Callable[..., Face], x: float, y: float, scale: float, tilt: float, size: int
) -> None:
    rows, columns = np.mgrid[0:400, 0:500] + 0.5
    photo = Photo(np.rint(np.stack([columns / 2, rows / 2, (rows + columns) / 4], axis=2)).astype(np.uint8))
    crop = align(photo, place_face((x, y), scale, tilt), size)
    centres = np.stack(np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5), axis=2).reshape(-1, 2)
    matrix = crop.to_photo()
    there = centres @ matrix[:2, :2].T + matrix[:2, 2]
    expected = np.column_stack([there[:, 0] / 2, there[:, 1] / 2, there.sum(axis=1) / 4])
    assert np.abs(crop.pixels.reshape(-1, 3) - expected).max() < 1.5


@pytest.mark.parametrize("side", [30, 400, 2000])
@pytest.mark.parametrize("centre", [(0.0, 0.0), (0.5, 1.0), (1.02, 0.5)])
def test_beyond_the_edges_a_crop_is_filled_softly(
    make_photo: Callable[..., Photo], place_face: Callable[..., Face], centre: tuple[float, float], side: int
) -> None:
    photo = make_photo(300, 200)
    crop = align(photo, place_face((centre[0] * 300, centre[1] * 200), side), 64)
    assert crop.pixels.shape == (64, 64, 3)
    # Filled with the photo's colours, never with black.
    np.testing.assert_allclose(crop.pixels.mean(axis=(0, 1)), photo.pixels.mean(axis=(0, 1)), atol=60)
    assert crop.pixels.max(axis=2).min() > 5


@pytest.mark.parametrize(("centre", "scale"), [((-200.0, 50.0), 80.0), ((50.0, 1e9), 80.0), ((50.0, 50.0), 1e7)])
def test_a_face_from_another_photo(place_face: Callable[..., Face], centre: tuple[float, float], scale: float) -> None:
    photo = Photo(np.zeros((100, 100, 3), dtype=np.uint8), name="me.jpg")
    with pytest.raises(FaceError, match=r"outside me\.jpg"):
        align(photo, place_face(centre, scale), 32)


@pytest.mark.parametrize("shape", [(2, 900), (900, 1), (3, 3)])
def test_a_sliver_of_a_photo(place_face: Callable[..., Face], shape: tuple[int, int]) -> None:
    photo = Photo(np.full((*shape, 3), 90, dtype=np.uint8))
    for scale in (1.0, 40.0):
        assert (align(photo, place_face((shape[1] / 2, shape[0] / 2), scale), 8).pixels == 90).all()


def test_a_photo_of_one_pixel(place_face: Callable[..., Face]) -> None:
    photo = Photo(np.full((1, 1, 3), 200, dtype=np.uint8))
    assert (align(photo, place_face((0.5, 0.5), 2.0), 16).pixels == 200).all()


def test_aligned_faces_stay_where_they_are(shared_folder: Path) -> None:
    """Faces that FFHQ's own alignment cut are cut the same way again."""
    quads, differences = [], []
    with zipfile.ZipFile(shared_folder / "data" / "faces256.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(("rated/", "varied/", "fake/")))[::100]
        for name in names:
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))
            (face,) = detect(Photo(pixels))
            crop = align(Photo(pixels), face, 256)
            quads.append(crop.quad)
            blurred = (np.asarray(Image.fromarray(p).reduce(8), dtype=float) for p in (crop.pixels, pixels))
            differences.append(np.abs(np.subtract(*blurred))[2:-2, 2:-2].mean())
    assert len(quads) > 15
    ideal = np.array([(0, 0), (0, 256), (256, 256), (256, 0)], dtype=float)
    np.testing.assert_allclose(np.median(quads, axis=0), ideal, atol=2.5)
    assert np.quantile(np.abs(np.array(quads) - ideal).max(axis=(1, 2)), 0.9) < 6
    assert np.median(differences) < 5
