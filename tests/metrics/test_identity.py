"""The identity judge: what a distance must do on any picture, and what it says of people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloom.faces.networks import predict_landmarks, search_frontal
from faceloom.metrics.identity import SAME_PERSON, IdentityJudge, distance
from faceloom.types import Face, Pixels

JUDGE = IdentityJudge()
MIRRORED = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65),
    ]
)


def load(photos: Path, number: int) -> tuple[Pixels, Face]:
    pixels = np.asarray(Image.open(photos / f"{number:03d}.jpg").convert("RGB"))
    (best, *_) = sorted(search_frontal(pixels), key=lambda found: -found.score)
    return pixels, Face((0, 0, 1, 1), predict_landmarks(pixels, best.centre, best.side), best.score)


@pytest.fixture(scope="module")
def photos(shared_folder: Path) -> Path:
    return shared_folder / "data" / "photos"


def test_a_distance_is_a_distance() -> None:
    chips = list(np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8))
    first, second, third = JUDGE.embed_chips(chips)
    assert first.shape == (128,)
    assert distance(first, first) == 0
    assert distance(first, second) == distance(second, first) > 0
    assert distance(first, third) <= distance(first, second) + distance(second, third)
    assert np.array_equal(JUDGE.embed_chips(chips[:1])[0], first)
    assert JUDGE.embed_chips([]).shape == (0, 128)


def test_one_person_in_two_versions_and_two_people(photos: Path) -> None:
    (pixels, face), (again, same_face), (other, other_face) = (load(photos, number) for number in (49, 107, 15))
    person = JUDGE.embed(pixels, face)
    assert np.array_equal(JUDGE.embed(pixels, face), person)
    assert distance(person, JUDGE.embed(again, same_face)) < SAME_PERSON / 2
    assert distance(person, JUDGE.embed(other, other_face)) > SAME_PERSON


def test_mirror_image_is_the_same_person(photos: Path) -> None:
    pixels, face = load(photos, 15)
    landmarks = face.landmarks[MIRRORED] * (-1, 1) + (pixels.shape[1], 0)
    mirrored = JUDGE.embed(pixels[:, ::-1], Face((0, 0, 1, 1), landmarks, 1.0))
    assert 0 < distance(JUDGE.embed(pixels, face), mirrored) < SAME_PERSON / 2


def test_aligned_crop_needs_no_face(photos: Path) -> None:
    pixels, face = load(photos, 15)
    left_eye, right_eye = face.landmarks[36:42].mean(axis=0), face.landmarks[42:48].mean(axis=0)
    # Roughly FFHQ's alignment: the eyes at 0.48 of the height, 0.26 of the width apart.
    side = (right_eye - left_eye)[0] / 0.26
    corner = (left_eye + right_eye) / 2 - (side * 0.5, side * 0.48)
    window = (*corner, *(corner + side))
    crop = np.asarray(Image.fromarray(pixels).crop(tuple(round(v) for v in window)).resize((256, 256)))
    assert distance(JUDGE.embed(crop), JUDGE.embed(pixels, face)) < SAME_PERSON / 2
