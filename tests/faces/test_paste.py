from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceloom.faces.align import align, ffhq_quad
from faceloom.faces.detect import detect
from faceloom.faces.mask import Region, face_mask, mask_to_photo
from faceloom.faces.paste import paste
from faceloom.types import Crop, Face, Photo, Pixels

CAST = np.array([14.0, -9.0, 6.0])


def cast(pixels: Pixels) -> Pixels:
    return np.asarray(np.rint(pixels + CAST).clip(0, 255), dtype=np.uint8)


@given(
    centre=st.tuples(st.floats(0, 320), st.floats(0, 240)),
    scale=st.floats(40, 220),
    tilt=st.floats(-180, 180),
    region=st.sampled_from(["face", "head"]),
    match_colour=st.booleans(),
    seed=st.integers(0, 3),
)
def test_no_edit_changes_next_to_nothing(
    make_photo: Callable[..., Photo],
    place_face: Callable[..., Face],
    centre: tuple[float, float],
    scale: float,
    tilt: float,
    region: Region,
    match_colour: bool,
    seed: int,
) -> None:
    photo = make_photo(320, 240, seed)
    crop = align(photo, place_face(centre, scale, tilt), 384)
    mask = face_mask(crop, region)
    pasted, photo_mask = paste(photo, crop, crop.pixels, mask=mask, match_colour=match_colour)
    np.testing.assert_array_equal(pasted.pixels[photo_mask == 0], photo.pixels[photo_mask == 0])
    np.testing.assert_allclose(photo_mask, mask_to_photo(mask, crop, photo.size), atol=1e-5)
    # A crop is blurred on purpose near the photo's edges, so only what lies further in can come back.
    border = round(0.3 * float(np.hypot(*(crop.quad[3] - crop.quad[0]))))
    inner = np.zeros(photo_mask.shape, dtype=bool)
    inner[border : 240 - border, border : 320 - border] = True
    inner &= photo_mask > 0
    if inner.sum() > 200:
        change = np.abs(pasted.pixels.astype(float) - photo.pixels)[inner]
        assert change.mean() < 2.0


@pytest.mark.parametrize("size", [100, 512])
def test_an_edit_arrives_under_the_mask_alone(
    make_photo: Callable[..., Photo], place_face: Callable[..., Face], size: int
) -> None:
    photo = Photo(make_photo(400, 300).pixels, icc_profile=b"profile", name="me.jpg")
    original = photo.pixels.copy()
    crop = align(photo, place_face((200.0, 150.0), 150.0, -20.0), 256)
    edited = np.full((size, size, 3), (10, 250, 30), dtype=np.uint8)
    pasted, mask = paste(photo, crop, edited, mask=face_mask(crop, size=64), match_colour=False)
    assert (pasted.icc_profile, pasted.name) == (b"profile", "me.jpg")
    np.testing.assert_array_equal(photo.pixels, original)
    np.testing.assert_array_equal(pasted.pixels[mask == 0], original[mask == 0])
    assert (mask > 0.999).sum() > 1000
    assert (np.abs(pasted.pixels[mask > 0.999].astype(int) - (10, 250, 30)) <= 1).all()
    blend = original + (np.array([10, 250, 30]) - original) * mask[..., None]
    assert np.abs(pasted.pixels - blend).max() <= 1.5


def test_colour_casts_are_taken_back(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> None:
    photo = make_photo(400, 300, 1)
    crop = align(photo, place_face((200.0, 150.0), 150.0), 256)
    mask = face_mask(crop)
    results = [paste(photo, crop, cast(crop.pixels), mask=mask, match_colour=match) for match in (False, True)]
    inside = results[0][1] > 0.9
    plain, matched = (
        np.abs((photo.pixels.astype(float) - result.pixels)[inside].mean(axis=0)) for result, _ in results
    )
    assert plain.max() > 10
    assert matched.max() < 1.5


def test_uneven_casts_are_followed(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> None:
    photo = make_photo(400, 300, 2)
    crop = align(photo, place_face((200.0, 150.0), 150.0), 256)
    slope = np.linspace(-20, 20, 256)[None, :, None]
    edited = np.rint(crop.pixels + slope).clip(0, 255).astype(np.uint8)
    changes = []
    for match in (False, True):
        pasted, mask = paste(photo, crop, edited, mask=face_mask(crop), match_colour=match)
        changes.append(np.abs(pasted.pixels.astype(float) - photo.pixels)[(mask > 0.05) & (mask < 0.5)].mean())
    assert changes[1] < 0.6 * changes[0]


def test_an_edit_inside_the_mask_survives_the_matching(
    make_photo: Callable[..., Photo], place_face: Callable[..., Face]
) -> None:
    photo = make_photo(400, 300, 1)
    crop = align(photo, place_face((200.0, 150.0), 150.0), 256)
    edited = crop.pixels.copy()
    edited[150:190, 108:148] = (200, 20, 20)
    pasted, _ = paste(photo, crop, edited, mask=face_mask(crop), match_colour=True)
    x, y = (crop.to_photo() @ np.array([128.0, 170.0, 1.0]))[:2].astype(int)
    assert (np.abs(pasted.pixels[y, x].astype(int) - (200, 20, 20)) < 6).all()


def test_faces_one_after_the_other(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> None:
    photo = make_photo(600, 300)
    first, second = (align(photo, place_face((x, 150.0), 120.0), 128) for x in (150.0, 450.0))
    once, mask = paste(photo, first, cast(first.pixels), mask=face_mask(first), match_colour=False)
    twice, other = paste(once, second, cast(second.pixels), mask=face_mask(second), match_colour=False)
    assert not (mask * other).any()
    np.testing.assert_array_equal(twice.pixels[other == 0], once.pixels[other == 0])
    np.testing.assert_array_equal(twice.pixels[(mask == 0) & (other == 0)], photo.pixels[(mask == 0) & (other == 0)])
    assert (twice.pixels != photo.pixels)[mask > 0.9].mean() > 0.8
    assert (twice.pixels != photo.pixels)[other > 0.9].mean() > 0.8


@pytest.mark.parametrize("centre", [(-5000.0, 100.0), (100.0, 9000.0)])
def test_a_crop_outside_the_photo_changes_nothing(
    make_photo: Callable[..., Photo], place_face: Callable[..., Face], centre: tuple[float, float]
) -> None:
    photo = make_photo(100, 80)
    face = place_face(centre, 50.0)
    crop = Crop(np.zeros((32, 32, 3), dtype=np.uint8), ffhq_quad(face.landmarks), face)
    pasted, mask = paste(photo, crop, np.zeros_like(crop.pixels), mask=face_mask(crop), match_colour=True)
    np.testing.assert_array_equal(pasted.pixels, photo.pixels)
    assert not mask.any()


def test_an_empty_mask_changes_nothing(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> None:
    photo = make_photo(100, 80)
    crop = align(photo, place_face((50.0, 40.0), 30.0), 32)
    nothing = np.zeros((32, 32), dtype=np.float32)
    pasted, mask = paste(photo, crop, np.zeros_like(crop.pixels), mask=nothing, match_colour=True)
    np.testing.assert_array_equal(pasted.pixels, photo.pixels)
    assert not mask.any()


def test_wrong_shapes_are_refused(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> None:
    photo = make_photo(100, 80)
    crop = align(photo, place_face((50.0, 40.0), 30.0), 32)
    with pytest.raises(ValueError, match="edited must be"):
        paste(photo, crop, np.zeros((32, 31, 3), dtype=np.uint8), mask=face_mask(crop), match_colour=False)
    with pytest.raises(ValueError, match="mask must be"):
        paste(photo, crop, crop.pixels, mask=face_mask(crop)[:, :9], match_colour=False)


def test_a_large_photo_costs_what_its_face_costs(place_face: Callable[..., Face]) -> None:
    photo = Photo(np.full((3000, 4000, 3), 140, dtype=np.uint8))
    crop = align(photo, place_face((2000.0, 1500.0), 500.0), 256)
    started = time.process_time()
    paste(photo, crop, cast(crop.pixels), mask=face_mask(crop), match_colour=True)
    assert time.process_time() - started < 2.0  # 0.3 s on an idle core


@pytest.mark.parametrize("name", ["004.jpg", "056.jpg", "091.jpg", "107.jpg"])
def test_real_photos_come_back(shared_folder: Path, name: str) -> None:
    with Image.open(shared_folder / "data" / "photos" / name) as image:
        photo = Photo(np.asarray(image.convert("RGB")))
    crop = align(photo, detect(photo)[0], 512)
    pasted, mask = paste(photo, crop, crop.pixels, mask=face_mask(crop), match_colour=True)
    np.testing.assert_array_equal(pasted.pixels[mask == 0], photo.pixels[mask == 0])
    assert np.abs(pasted.pixels.astype(float) - photo.pixels)[mask > 0].mean() < 2.0
