"""Sorting an edit: what is the person's, what covers, what bares, what stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from faceloom.faces.align import align
from faceloom.faces.detect import detect
from faceloom.faces.landmarks import apply
from faceloom.faces.layers import Layers, Seen, sort_change
from faceloom.faces.mask import face_mask
from faceloom.faces.person import person_in, see_people
from faceloom.faces.transfer import apply_change, measure_change, warp
from faceloom.faces.warp import to_side
from faceloom.imaging.photos import open_photo
from faceloom.types import Crop, Mask, Photo

Float = NDArray[np.float32]
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIDE = 96


def disc(radius: float) -> Float:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    return np.asarray(np.hypot(x - SIDE / 2, y - SIDE / 2) < radius, np.float32)


def sorted_(
    photo: Float, picture: Float, residual: NDArray[np.floating], inside: Float, before: Float, after: Float
) -> Layers:
    everywhere = np.ones((SIDE, SIDE), np.float32)
    return sort_change(photo, inside, Seen(picture, before, after), residual.astype(np.float32), everywhere)


def flat(level: float) -> Float:
    return np.full((SIDE, SIDE, 3), level, np.float32)


def test_the_change_of_a_smaller_reconstruction_reaches_the_outline_of_the_photo() -> None:
    photo, before = disc(36), disc(28)
    residual = -40.0 * np.repeat(before[..., None], 3, axis=2)
    layers = sorted_(flat(120), flat(80), residual, photo, before, before)
    np.testing.assert_allclose(layers.person[photo > 0], -40.0, atol=6.0)
    assert layers.behind is None
    assert layers.covered is None
    assert layers.bared is None


def test_what_was_drawn_is_the_persons_up_to_the_outline_of_the_photo() -> None:
    """Brown hair gets fairer before a blue wall: where a smaller head was drawn, it is not robbed of the blue."""
    photo, before = disc(36), disc(28)
    hair, wall, fair = (np.array(one, np.float32) for one in ((60, 45, 35), (60, 90, 160), (140, 105, 55)))
    drawn = np.where(before[..., None] > 0, hair, wall)
    residual = (fair - hair) * before[..., None]
    layers = sorted_(np.where(photo[..., None] > 0, hair, wall), drawn + residual, residual, photo, before, before)
    np.testing.assert_allclose(layers.drawn[photo > 0], np.broadcast_to(hair, (int(photo.sum()), 3)), atol=12.0)


def test_a_larger_person_covers_the_background() -> None:
    photo, before, after = disc(24), disc(24), disc(36)
    residual = 90.0 * np.repeat((after - before)[..., None], 3, axis=2)
    layers = sorted_(flat(60), flat(80) + residual.astype(np.float32), residual, photo, before, after)
    assert layers.covered is not None
    assert layers.cover is not None
    ring = disc(33) - disc(27)
    assert layers.covered[ring > 0].mean() > 0.8
    assert layers.covered[disc(40) == 0].max() < 0.05
    # The photo's person is 20 levels darker than the generator's, and so is what grows.
    np.testing.assert_allclose(layers.cover[ring > 0], 150.0, atol=8.0)


def test_a_smaller_person_bares_the_background_near_it() -> None:
    photo, before, after = disc(32), disc(32), disc(26)
    own = flat(200) - 150.0 * photo[..., None]
    residual = 90.0 * np.repeat((before - after)[..., None], 3, axis=2)
    layers = sorted_(own, flat(100), residual, photo, before, after)
    assert layers.bared is not None
    assert layers.ground is not None
    ring = disc(32) - disc(28)
    assert layers.bared[ring > 0].mean() > 0.5
    assert layers.bared[disc(20) > 0].max() < 0.05
    np.testing.assert_allclose(layers.ground[ring > 0], 200.0, atol=8.0)


def test_hair_of_which_no_change_of_colour_tells_does_not_grow() -> None:
    layers = sorted_(flat(60), flat(60), flat(4), disc(24), disc(24), disc(36))
    assert layers.covered is None


def test_an_edit_of_the_background_is_let_through() -> None:
    person = disc(30)
    residual = np.where(person[..., None] > 0, 4.0, 60.0).astype(np.float32) * np.ones(3, np.float32)
    layers = sorted_(flat(90), flat(150), residual, person, person, person)
    assert layers.behind is not None
    np.testing.assert_allclose(layers.behind[person == 0], 60.0, atol=6.0)
    assert sorted_(flat(90), flat(94), flat(4), person, person, person).behind is None


@pytest.fixture(scope="module")
def opened() -> tuple[Photo, Crop]:
    photo = open_photo(EXAMPLES / "portrait.jpg")
    return photo, align(photo, detect(photo)[0], 256)


def test_the_background_of_a_photo_stays(opened: tuple[Photo, Crop]) -> None:
    photo, crop = opened
    person = person_in(crop)
    assert person is not None
    shade = np.where(person.mask[..., None] > 0.5, 40, 25).astype(np.int16)
    after = (crop.pixels.astype(np.int16) - shade).clip(0, 255).astype(np.uint8)
    change = measure_change(crop.pixels, after, face_mask(crop, "face"))
    edited, mask = apply_change(photo, crop, change, face_mask(crop, "head"))
    moved = np.abs(edited.pixels.astype(np.int16) - photo.pixels).mean(axis=2)
    seen = see_people(photo.pixels[None], both_ways=True)[0]
    inner = mask > 0.9
    assert moved[inner & (seen > 0.95)].mean() > 25
    assert moved[inner & (seen < 0.02)].mean() < 2.0


def test_a_person_in_a_darker_photo_changes_less(opened: tuple[Photo, Crop]) -> None:
    photo, crop = opened
    inner = face_mask(crop, "face")

    def shift(lighter: int) -> float:
        before = (crop.pixels.astype(np.int16) + lighter).clip(0, 255).astype(np.uint8)
        change = measure_change(before, before - np.uint8(12), inner)
        edited, mask = apply_change(photo, crop, change, inner)
        return float((photo.pixels.astype(np.int16) - edited.pixels)[mask > 0.99].mean())

    plain, less = shift(0), shift(60)
    assert plain > 10
    assert 0.4 * plain < less < 0.85 * plain


def test_a_jaw_that_grows_is_moved_and_not_painted(opened: tuple[Photo, Crop]) -> None:
    _, crop = opened
    side = 128
    before = to_side(crop.pixels.astype(np.float32), side)
    jaw = apply(crop.from_photo(side), crop.face.landmarks)[2:15]
    y, x = np.mgrid[:side, :side].astype(np.float32)
    near = np.exp(-(((x - jaw[:, 0].mean()) / 34) ** 2 + ((y - jaw[:, 1].mean()) / 34) ** 2))
    wider = np.stack([-(x - jaw[:, 0].mean()) * 0.16 * near, np.zeros_like(x)], axis=2).astype(np.float32)
    after = np.rint(warp(before, wider)).clip(0, 255).astype(np.uint8)
    first = np.rint(before).astype(np.uint8)
    beside = np.exp(-(((x[..., None] - jaw[:, 0]) / 3) ** 2 + ((y[..., None] - jaw[:, 1]) / 3) ** 2)).max(axis=2) > 0.3

    def painted(motion: Mask) -> float:
        return float(np.abs(measure_change(first, after, motion).residual)[beside].mean())

    unmoved = painted(np.zeros((side, side), np.float32))
    assert painted(face_mask(crop, "outline")) < 0.6 * unmoved
    assert painted(face_mask(crop, "outline")) < 0.9 * painted(face_mask(crop, "face"))


def test_a_background_beside_a_jaw_that_grows_stays(opened: tuple[Photo, Crop]) -> None:
    _, crop = opened
    side = 128
    before = to_side(crop.pixels.astype(np.float32), side)
    x = np.mgrid[:side, :side][1].astype(np.float32) - side / 2
    bump = np.exp(-((np.abs(x) - 30) ** 2) / (2 * 12.0**2))
    after = warp(before, np.stack([-2.0 * np.sign(x) * bump, np.zeros_like(x)], axis=2).astype(np.float32))
    pictures = [np.rint(one).clip(0, 255).astype(np.uint8) for one in (before, after)]
    change = measure_change(pictures[0], pictures[1], face_mask(crop, "outline"))
    assert change.seen is not None
    length = np.linalg.norm(change.flow, axis=2)
    away = ndimage.maximum_filter(np.maximum(change.seen.before, change.seen.after), 13) < 0.05
    assert away.mean() > 0.1
    assert length.max() > 1.0
    assert length[away].max() < 0.1


def test_no_change_is_no_change(opened: tuple[Photo, Crop]) -> None:
    photo, crop = opened
    change = measure_change(crop.pixels, crop.pixels, face_mask(crop, "face"))
    edited, _ = apply_change(photo, crop, change, face_mask(crop, "head"))
    np.testing.assert_array_equal(edited.pixels, photo.pixels)
