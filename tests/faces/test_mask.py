from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceloom.faces.align import align
from faceloom.faces.landmarks import apply
from faceloom.faces.mask import Region, face_mask, mask_to_photo
from faceloom.types import Crop, Face, Photo, Points

REGIONS: tuple[Region, ...] = ("face", "outline", "head")


@pytest.fixture(scope="session")
def crop(make_photo: Callable[..., Photo], place_face: Callable[..., Face]) -> Crop:
    return align(make_photo(400, 300), place_face((200.0, 150.0), 160.0, 12.0), 128)


@pytest.mark.parametrize("size", [None, 64, 300, 512])
@pytest.mark.parametrize("region", REGIONS)
def test_a_mask_fades_to_nothing_before_the_border(crop: Crop, region: Region, size: int | None) -> None:
    mask = face_mask(crop, region, size)
    side = crop.size if size is None else size
    assert mask.shape == (side, side)
    assert mask.dtype == np.float32
    assert mask.min() == 0.0
    assert mask.max() == pytest.approx(1.0, abs=1e-4)
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert not edge.any()
    steps = max(float(np.abs(np.diff(mask, axis=axis)).max()) for axis in (0, 1))
    assert steps < 30 / side


def test_a_face_mask_covers_the_face_and_not_the_corners(crop: Crop) -> None:
    mask = face_mask(crop)
    inside = np.rint(apply(crop.from_photo(), crop.face.landmarks) - 0.5).astype(int)
    assert mask[inside[:, 1], inside[:, 0]].min() > 0.6
    assert mask[inside[27:, 1], inside[27:, 0]].min() > 0.99
    assert not mask[:10, :10].any()
    assert 0.15 < mask.mean() < 0.4


def test_a_face_mask_reaches_the_forehead(crop: Crop) -> None:
    brows = apply(crop.from_photo(), crop.face.landmarks)[17:27]
    x, y = brows.mean(axis=0)
    assert face_mask(crop)[round(y - 0.1 * crop.size), round(x)] > 0.9


def test_a_head_holds_the_face(crop: Crop) -> None:
    face, outline, head = (face_mask(crop, region) for region in REGIONS)
    assert (outline >= face).all()
    assert (head >= face).all()
    assert head.mean() > outline.mean() > face.mean() + 0.05
    x, y = np.rint(apply(crop.from_photo(), crop.face.landmarks) - 0.5).astype(int)[:17].T
    assert outline[y, x].min() > 0.95  # the jaw itself may move as far as it wants


def test_a_mask_in_the_photo_is_zero_outside_the_crop(crop: Crop) -> None:
    whole = mask_to_photo(face_mask(crop), crop, (400, 300))
    assert whole.shape == (300, 400)
    assert whole.dtype == np.float32
    rows, columns = np.nonzero(whole)
    back = apply(crop.from_photo(1), np.column_stack([columns + 0.5, rows + 0.5]).astype(np.float64))
    assert len(back) > 1000
    assert back.min() > 0
    assert back.max() < 1
    # As much of the photo as the crop's side there says.
    share = float(np.hypot(*(crop.quad[3] - crop.quad[0]))) / crop.size
    assert whole.sum() == pytest.approx(face_mask(crop).sum() * share**2, rel=0.01)


@given(
    data=st.lists(st.tuples(st.floats(-300, 300), st.floats(-300, 300)), min_size=68, max_size=68),
    region=st.sampled_from(REGIONS),
)
def test_odd_landmarks_still_give_a_mask(crop: Crop, data: list[tuple[float, float]], region: Region) -> None:
    landmarks: Points = np.array(data) + np.arange(136.0).reshape(68, 2) % 7  # never all on one line
    mask = face_mask(Crop(crop.pixels, crop.quad, Face((0, 0, 1, 1), landmarks, 1.0)), region)
    assert np.isfinite(mask).all()
    assert 0 <= mask.min() <= mask.max() <= 1
    assert not mask[0].any()
