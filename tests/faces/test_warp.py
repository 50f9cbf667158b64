from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from faceloom.faces.align import ffhq_quad
from faceloom.faces.landmarks import apply
from faceloom.faces.warp import Kernel, crop_to_roi, region_around, region_of, roi_to_crop
from faceloom.types import Crop, Face, Photo, Points

PHOTO = (300, 240)
KERNELS: tuple[Kernel, ...] = ("bilinear", "bicubic")

places = st.fixed_dictionaries(
    {
        "centre": st.tuples(st.floats(-40, 340), st.floats(-40, 280)),
        "scale": st.floats(15, 150),
        "tilt": st.floats(-180, 180),
    }
)


def make_crop(face: Face, size: int = 64) -> Crop:
    return Crop(np.zeros((size, size, 3), dtype=np.uint8), ffhq_quad(face.landmarks), face)


def pixel_centres(width: int, height: int) -> Points:
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=2).reshape(-1, 2).astype(float)


def slopes(points: Points) -> NDArray[np.float32]:
    """Values that any interpolation carries exactly."""
    return np.asarray(points @ np.array([[0.3, -0.2, 1.1], [0.7, 0.4, -0.5]]) + 3, dtype=np.float32)


@given(place=places, size=st.sampled_from([16, 64, 200]), kernel=st.sampled_from(KERNELS))
def test_slopes_arrive_in_the_photo(
    place_face: Callable[..., Face], place: dict[str, float], size: int, kernel: Kernel
) -> None:
    crop = make_crop(place_face(**place))
    values = slopes(apply(crop.to_photo(size), pixel_centres(size, size))).reshape(size, size, 3)
    roi, warped = crop_to_roi(values, crop, PHOTO, kernel)
    height, width = warped.shape[:2]
    centres = pixel_centres(width, height) + np.array([roi[1].start, roi[0].start])
    # Away from the square's edge, where there is nothing to interpolate with.
    inner = apply(crop.from_photo(1), centres)
    side = float(np.hypot(*(crop.quad[3] - crop.quad[0])))
    margin = 3.5 / min(size, side)
    inside = ((inner > margin) & (inner < 1 - margin)).all(axis=1)
    np.testing.assert_allclose(
        warped.reshape(-1, 3)[inside], slopes(centres)[inside], atol=0.15 * max(1.0, side / size)
    )
    outside = ((inner < -0.01) | (inner > 1.01)).any(axis=1)
    assert not warped.reshape(-1, 3)[outside].any()


@given(place=places, size=st.sampled_from([16, 64, 200]), kernel=st.sampled_from(KERNELS))
def test_slopes_arrive_in_the_crop(
    place_face: Callable[..., Face], place: dict[str, float], size: int, kernel: Kernel
) -> None:
    crop = make_crop(place_face(**place))
    roi = region_of(crop, PHOTO)
    height, width = (part.stop - part.start for part in roi)
    corner = np.array([roi[1].start, roi[0].start])
    values = slopes(pixel_centres(width, height) + corner).reshape(height, width, 3)
    square = roi_to_crop(values, crop, roi, size, kernel).reshape(-1, 3)
    there = apply(crop.to_photo(size), pixel_centres(size, size))
    side = float(np.hypot(*(crop.quad[3] - crop.quad[0])))
    margin = 4 * max(1.0, side / size)
    far = np.array([roi[1].stop, roi[0].stop])
    inside = ((there > corner + margin) & (there < far - margin)).all(axis=1)
    np.testing.assert_allclose(square[inside], slopes(there)[inside], atol=0.12 * max(1.0, side / size))


@given(place=places)
def test_there_and_back(
    make_photo: Callable[..., Photo], place_face: Callable[..., Face], place: dict[str, float]
) -> None:
    crop = make_crop(place_face(**place))
    size = 2 * max(8, round(float(np.hypot(*(crop.quad[3] - crop.quad[0])))))
    coarse = Image.fromarray(make_photo(12, 12, 3).pixels)
    values = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    assert values.std() > 30
    roi, warped = crop_to_roi(values, crop, PHOTO)
    back = roi_to_crop(warped, crop, roi, size)
    there = apply(crop.to_photo(size), pixel_centres(size, size))
    known = ((there > 4) & (there < np.array(PHOTO) - 4)).all(axis=1).reshape(size, size)
    known[:8], known[-8:], known[:, :8], known[:, -8:] = False, False, False, False
    if known.sum() > 100:
        assert np.abs(back - values)[known].mean() < 4


@given(place=places, kernel=st.sampled_from(KERNELS))
def test_a_part_is_a_part_of_the_whole(
    place_face: Callable[..., Face], place: dict[str, float], kernel: Kernel
) -> None:
    crop = make_crop(place_face(**place))
    values = np.random.default_rng(0).random((64, 64, 2), dtype=np.float32)
    whole = (slice(0, PHOTO[1]), slice(0, PHOTO[0]))
    part = (slice(50, 90), slice(110, 200))
    _, everything = crop_to_roi(values, crop, PHOTO, kernel, whole)
    region, some = crop_to_roi(values, crop, PHOTO, kernel, part)
    assert region == part
    np.testing.assert_allclose(some, everything[part], atol=1e-4)
    roi, covered = crop_to_roi(values, crop, PHOTO, kernel)
    np.testing.assert_allclose(covered, everything[roi], atol=1e-4)
    everything[roi] = 0
    assert not everything.any()


@given(place=places)
def test_bilinear_stays_in_range(place_face: Callable[..., Face], place: dict[str, float]) -> None:
    values = (np.random.default_rng(1).random((90, 90, 1)) > 0.5).astype(np.float32)
    _, warped = crop_to_roi(values, make_crop(place_face(**place)), PHOTO, "bilinear")
    assert warped.size == 0 or (warped.min() >= -1e-6 and warped.max() <= 1 + 1e-6)


def test_a_crop_outside_the_photo(place_face: Callable[..., Face]) -> None:
    crop = make_crop(place_face((5000.0, -900.0), 50.0))
    roi, warped = crop_to_roi(np.ones((8, 8, 3), dtype=np.float32), crop, PHOTO)
    assert warped.size == 0
    assert np.zeros((PHOTO[1], PHOTO[0]))[roi].size == 0
    square = roi_to_crop(np.zeros((0, 0, 3), dtype=np.float32), crop, roi, 8)
    assert square.shape == (8, 8, 3)
    assert not square.any()


def test_region_around() -> None:
    points = np.array([(-3.0, 10.2), (20.9, 30.0)])
    assert region_around(points, (100, 100)) == (slice(10, 30), slice(0, 21))
    assert region_around(points, (15, 25)) == (slice(10, 25), slice(0, 15))


@pytest.mark.parametrize("kernel", KERNELS)
def test_fine_detail_is_averaged_not_skipped(place_face: Callable[..., Face], kernel: Kernel) -> None:
    """A fine checkerboard becomes grey where the photo is coarser."""
    board = (np.indices((256, 256)).sum(axis=0) % 2).astype(np.float32)[..., None]
    crop = make_crop(place_face((150.0, 120.0), 20.0))
    _, warped = crop_to_roi(board, crop, PHOTO, kernel)
    middle = warped[warped.shape[0] // 4 : -warped.shape[0] // 4, warped.shape[1] // 4 : -warped.shape[1] // 4]
    np.testing.assert_allclose(middle, 0.5, atol=0.1)
