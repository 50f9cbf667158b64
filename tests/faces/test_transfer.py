from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from faceloom.errors import UsageError
from faceloom.faces.transfer import MAX_FLOW, apply_change, calm_tints, measure_change, warp
from faceloom.types import Crop, Face, Mask, Photo, Pixels


def texture(height: int, width: int, seed: int = 0, blur: float = 3.0) -> Pixels:
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = ndimage.gaussian_filter(noise, (blur, blur, 0), mode="wrap")
    scaled = 128 + 45 * smooth / smooth.std()
    pixels: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return pixels


def crop_at(photo: Photo, corner: tuple[float, float], side: float, angle: float, size: int = 64) -> Crop:
    x = side * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    y = np.array([-x[1], x[0]])
    start = np.array(corner, dtype=np.float64)
    face = Face((0.0, 0.0, 1.0, 1.0), np.zeros((68, 2)), 1.0)
    return Crop(np.zeros((size, size, 3), np.uint8), np.stack([start, start + y, start + x + y, start + x]), face)


def soft_disc(size: int) -> Mask:
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size - 0.5
    disc: Mask = np.clip((0.4 - np.hypot(x, y)) * 10, 0, 1).astype(np.float32)
    return disc


places = st.tuples(st.floats(-60, 200), st.floats(-60, 150))


@given(places, st.floats(40, 300), st.floats(-180, 180))
def test_no_change_leaves_every_pixel(corner: tuple[float, float], side: float, angle: float) -> None:
    photo = Photo(texture(160, 220))
    picture = texture(64, 64, 1)
    change = measure_change(picture, picture)
    edited, mask = apply_change(photo, crop_at(photo, corner, side, angle), change, soft_disc(64))
    assert np.array_equal(edited.pixels, photo.pixels)
    assert mask.shape == photo.pixels.shape[:2]


@given(places, st.floats(40, 300), st.floats(-180, 180))
def test_pixels_outside_the_mask_are_untouched(corner: tuple[float, float], side: float, angle: float) -> None:
    photo = Photo(texture(160, 220))
    change = measure_change(texture(64, 64, 1), texture(64, 64, 2))
    edited, mask = apply_change(photo, crop_at(photo, corner, side, angle), change, soft_disc(64))
    assert np.array_equal(edited.pixels[mask == 0], photo.pixels[mask == 0])


def test_the_residual_is_exact() -> None:
    before, after = texture(64, 64, 1), texture(64, 64, 2)
    change = measure_change(before, after)
    moved = warp(before.astype(np.float32), change.flow)
    assert np.allclose(moved + change.residual, calm_tints(moved, after.astype(np.float32)), atol=1e-3)


def test_new_colours_of_darks_are_not_believed() -> None:
    luma = np.array([0.299, 0.587, 0.114], np.float32)

    def chroma(colour: NDArray[np.float32]) -> float:
        return float(np.linalg.norm(colour - colour @ luma))

    def calmed(before: tuple[int, ...], after: tuple[int, ...]) -> NDArray[np.float32]:
        pictures = [np.full((8, 8, 3), one, np.float32) for one in (before, after)]
        found = calm_tints(*pictures)[0, 0]
        assert found @ luma == pytest.approx(np.array(after) @ luma, abs=1e-3)  # as dark as it was meant to be
        assert chroma(found) <= chroma(np.array(after, np.float32)) + 1e-3
        return np.asarray(found)

    brown, violet, teal, red = (48, 36, 30), (26, 4, 34), (2, 30, 28), (200, 90, 60)
    for tint in (violet, teal):
        assert chroma(calmed(brown, tint)) < 0.6 * chroma(np.array(tint, np.float32))
    np.testing.assert_allclose(calmed(brown, red), red, atol=1e-3)  # hair that is dyed
    np.testing.assert_allclose(calmed((200, 150, 120), (100, 75, 60)), (100, 75, 60), atol=2)  # in the shade
    np.testing.assert_allclose(calmed((70, 50, 40), (35, 25, 20)), (35, 25, 20), atol=3)
    assert np.argmax(calmed(brown, violet)) == 0  # brown still
    for wall in ((40, 120, 255), (200, 150, 60), (90, 255, 90)):  # hair in front of what was something else
        np.testing.assert_allclose(calmed(wall, (20, 15, 12)), (20, 15, 12), atol=4)
    calmed((30, 20, 18), (50, 30, 28))  # dark skin in more light
    same = texture(32, 32, 5).astype(np.float32)
    np.testing.assert_allclose(calm_tints(same, same), same, atol=1e-3)


def test_greys_keep_their_colour_unless_they_get_a_strong_one() -> None:
    def calmed(before: tuple[int, ...], after: tuple[int, ...]) -> NDArray[np.float32]:
        return np.asarray(calm_tints(*(np.full((1, 1, 3), one, np.float32) for one in (before, after)))[0, 0])

    teeth = calmed((248, 238, 244), (215, 221, 229))
    np.testing.assert_allclose(teeth - teeth.mean(), np.array([248, 238, 244]) - 730 / 3, atol=1.0)
    dyed, grown_grey, paler = (
        ((205, 203, 200), (215, 170, 80)),
        ((60, 45, 35), (150, 148, 147)),
        ((225, 180, 160), (190, 175, 160)),
    )
    black = calmed((255, 250, 228), (60, 60, 60))  # hair before a cream wall
    assert np.ptp(black) < 8.0
    for before, after in (dyed, grown_grey, paler):
        np.testing.assert_allclose(calmed(before, after), after, atol=1e-3)


def test_a_colour_is_not_taken_from_what_has_none() -> None:
    """White, half the pink that was drawn, all of it, and all of it in the shade, where an edit takes the pink away."""
    grey, pink = np.array([180.0, 180.0, 180.0]), np.array([240.0, 150.0, 168.0])
    bars = np.repeat(np.rint([grey, (grey + pink) / 2, pink, pink * 0.3]).astype(np.uint8), 150, axis=0)[None]
    photo = Photo(np.ascontiguousarray(np.broadcast_to(bars, (600, 600, 3))))
    before, after = (np.broadcast_to(one.astype(np.uint8), (48, 48, 3)) for one in (pink, grey))
    crop = crop_at(photo, (0.0, 0.0), 600, 0.0)
    edited, _ = apply_change(photo, crop, measure_change(before, after), np.ones((48, 48), np.float32))
    for place in (75, 225, 375):
        np.testing.assert_allclose(edited.pixels[300, place], grey, atol=4)
    assert np.ptp(edited.pixels[300, 525].astype(int)) <= 6  # of 27


def test_motion_is_found_as_motion() -> None:
    before = texture(64, 64, 1, blur=4.0)
    y, x = np.mgrid[0:64, 0:64].astype(np.float32)
    bump = np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / (2 * 14.0**2))
    flow = np.stack([1.8 * bump, -1.2 * bump], axis=2).astype(np.float32)
    after = np.clip(np.rint(warp(before.astype(np.float32), flow)), 0, 255).astype(np.uint8)
    change = measure_change(before, after)
    middle = (slice(22, 42), slice(22, 42))
    assert np.abs(change.flow[middle] - flow[middle]).mean() < 0.4 * np.abs(flow[middle]).mean()
    plain = np.abs(after.astype(float) - before)[middle].mean()
    assert np.abs(change.residual[middle]).mean() < 0.5 * plain


def test_a_change_of_colour_is_not_motion() -> None:
    before = texture(64, 64, 1)
    after = np.clip(before.astype(int) + 20, 0, 255).astype(np.uint8)
    change = measure_change(before, after)
    assert np.abs(change.flow).mean() < 0.05
    assert np.median(change.residual) == pytest.approx(20, abs=1)


def test_flow_is_bounded_and_kept_within_its_mask() -> None:
    before, after = texture(64, 64, 1), texture(64, 64, 2)
    assert np.linalg.norm(measure_change(before, after).flow, axis=2).max() <= MAX_FLOW * 64 * 1.1
    change = measure_change(before, after, soft_disc(64))
    assert np.abs(change.flow[:4]).max() < 1e-3


def test_the_photo_gets_the_edit_where_the_generator_drew_the_photo() -> None:
    """With a crop that is the photo itself, and a full mask, the result is the picture after."""
    before, after = texture(64, 64, 1), texture(64, 64, 3)
    photo = Photo(before)
    crop = crop_at(photo, (0.0, 0.0), 64, 0.0)
    edited, _ = apply_change(photo, crop, measure_change(before, after), np.ones((64, 64), np.float32))
    inside = (slice(6, -6), slice(6, -6))
    assert np.abs(edited.pixels[inside].astype(int) - after[inside]).mean() < 6.0
    assert np.abs(photo.pixels[inside].astype(int) - after[inside]).mean() > 30.0


def test_detail_of_the_photo_survives() -> None:
    """A twelfth of the generator's resolution: fine texture must be the photo's, coarse colour the edit's."""
    fine = texture(600, 600, 5, blur=0.7)
    photo = Photo(fine)
    crop = crop_at(photo, (0.0, 0.0), 600, 0.0)
    before = np.full((48, 48, 3), 100, np.uint8)
    after = before + np.array([30, 0, 0], np.uint8)
    edited, mask = apply_change(photo, crop, measure_change(before, after), soft_disc(48))
    full = mask > 0.999
    shift = edited.pixels.astype(int) - fine
    unclipped = full & (fine[..., 0] < 220)
    assert np.median(shift[..., 0][unclipped]) == pytest.approx(30, abs=1)
    assert np.abs(shift[..., 1][full]).max() <= 1


def test_what_is_darker_than_the_generator_drew_it_changes_less() -> None:
    """Bars that are half as light as the picture before, and as light, and twice: brightening reaches them by share."""
    bars = np.repeat(np.array([50, 100, 200], np.uint8), 200)[None, :, None]
    photo = Photo(np.ascontiguousarray(np.broadcast_to(bars, (600, 600, 3))))
    crop = crop_at(photo, (0.0, 0.0), 600, 0.0)
    before = np.full((48, 48, 3), 100, np.uint8)
    edited, _ = apply_change(photo, crop, measure_change(before, before + np.uint8(30)), np.ones((48, 48), np.float32))
    shift = edited.pixels[300, [100, 300, 500]].astype(int) - photo.pixels[300, [100, 300, 500]]
    assert shift[:, 0].tolist() == [18, 30, 30]  # 30 * (50 + 24) / (100 + 24) = 17.9


def test_pictures_of_different_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="squares of one size"):
        measure_change(texture(64, 64), texture(32, 32))
