from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloom.errors import FaceError
from faceloom.faces.detect import choose, detect
from faceloom.faces.landmarks import eye_distance, eyes_and_mouth
from faceloom.types import Face, Photo, Pixels, Points

DrawFace = Callable[[int], Pixels]
NOT_A_FACE = "071.jpg"  # a puppet with a beak


def on_grey(pieces: list[tuple[Pixels, tuple[int, int]]], size: tuple[int, int]) -> Photo:
    canvas = np.full((size[1], size[0], 3), 128, dtype=np.uint8)
    for pixels, (x, y) in pieces:
        canvas[y : y + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return Photo(canvas, name="party.jpg")


def open_photo(path: Path) -> Photo:
    with Image.open(path) as image:
        return Photo(np.asarray(image.convert("RGB")), name=path.name)


def test_eyes_and_mouth_are_where_they_were_drawn(template: Points) -> None:
    left_eye, right_eye, mouth = eyes_and_mouth(template)
    np.testing.assert_allclose(left_eye, (0.39, 0.46), atol=0.02)
    np.testing.assert_allclose(right_eye, (0.61, 0.46), atol=0.02)
    np.testing.assert_allclose(mouth, (0.50, 0.73), atol=0.02)


@pytest.mark.parametrize("side", [60, 150, 1000, 3000])
def test_size_does_not_matter(draw_face: DrawFace, template: Points, side: int) -> None:
    (face,) = detect(Photo(draw_face(side)))
    np.testing.assert_allclose(face.landmarks / side, template, atol=0.02)


@pytest.mark.parametrize("tilt", [-40, 25, 60, 90, 180])
def test_tilted_heads_are_found_and_mapped_back(draw_face: DrawFace, template: Points, tilt: int) -> None:
    straight = Image.fromarray(draw_face(300))
    photo = Photo(np.asarray(straight.rotate(-tilt, Image.Resampling.BICUBIC, fillcolor=(120, 150, 170))))
    angle = np.deg2rad(tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    (face,) = detect(photo)
    np.testing.assert_allclose(face.landmarks / 300, (template - 0.5) @ turn.T + 0.5, atol=0.03)


def test_a_dark_photo(draw_face: DrawFace, template: Points) -> None:
    dark = np.rint(draw_face(300) * 0.1).astype(np.uint8)
    (face,) = detect(Photo(dark))
    np.testing.assert_allclose(face.landmarks / 300, template, atol=0.06)


def test_all_faces_largest_first(draw_face: DrawFace) -> None:
    pieces = [(draw_face(150), (20, 30)), (draw_face(300), (200, 20)), (draw_face(220), (540, 60))]
    faces = detect(on_grey(pieces, (800, 400)))
    spans = [eye_distance(face.landmarks) for face in faces]
    np.testing.assert_allclose(spans, [0.22 * 300, 0.22 * 220, 0.22 * 150], rtol=0.1)
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert faces[0].box[0] < 200 + 150 < faces[0].box[2]


def test_a_small_face_in_a_large_photo(draw_face: DrawFace) -> None:
    (face,) = detect(on_grey([(draw_face(260), (2500, 1900))], (4000, 3000)))
    left_eye, _, _ = eyes_and_mouth(face.landmarks)
    np.testing.assert_allclose(left_eye, (2500 + 0.39 * 260, 1900 + 0.46 * 260), atol=0.02 * 260)


@pytest.mark.parametrize("shape", [(1, 1), (2, 900), (90, 120)])
def test_nothing_to_find(shape: tuple[int, int]) -> None:
    assert detect(Photo(np.full((*shape, 3), 90, dtype=np.uint8))) == ()


def test_threads_agree(draw_face: DrawFace) -> None:
    photos = [on_grey([(draw_face(200), (x, x))], (300, 300)) for x in (10, 40, 70, 90)]
    alone = [detect(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detect, photos))
    for first, second in zip(alone, together, strict=True):
        assert len(first) == len(second) == 1
        np.testing.assert_array_equal(first[0].landmarks, second[0].landmarks)


def _faces(count: int) -> tuple[Face, ...]:
    return tuple(Face((0, 0, 9 - i, 9 - i), np.zeros((68, 2)), 1.0) for i in range(count))


def test_choose_counts_from_one() -> None:
    photo, faces = on_grey([], (8, 8)), _faces(3)
    assert choose(faces, None, photo) is faces[0]
    assert choose(faces, 1, photo) is faces[0]
    assert choose(faces, 3, photo) is faces[2]


@pytest.mark.parametrize("index", [0, 4, -1])
def test_choose_says_how_many_there_are(index: int) -> None:
    with pytest.raises(FaceError, match=rf"no face {index} in party\.jpg, where 3 faces were found"):
        choose(_faces(3), index, on_grey([], (8, 8)))


def test_choose_from_one_or_none() -> None:
    photo = on_grey([], (8, 8))
    with pytest.raises(FaceError, match="where 1 face was found: choose 1"):
        choose(_faces(1), 2, photo)
    with pytest.raises(FaceError, match=r"no face found in party\.jpg: use a photo where"):
        choose((), None, photo)


@pytest.mark.parametrize("name", ["005.jpg", "012.jpg", "024.jpg", "043.jpg", "056.jpg", "080.jpg", "091.jpg"])
def test_hard_real_photos(shared_folder: Path, name: str) -> None:
    """A tilt, a beard, a small face with sunglasses, a raised head, two profiles, a strong tilt."""
    (face,) = detect(open_photo(shared_folder / "data" / "photos" / name))
    assert eye_distance(face.landmarks) > 10


@pytest.mark.slow
def test_every_real_photo(shared_folder: Path) -> None:
    paths = sorted((shared_folder / "data" / "photos").glob("*.jpg"))
    counts = {path.name: len(detect(open_photo(path))) for path in paths}
    assert len(counts) == 110
    assert counts.pop(NOT_A_FACE) == 0
    assert set(counts.values()) == {1}
