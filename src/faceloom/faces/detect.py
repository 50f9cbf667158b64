"""Find every face in a photo, with 68 landmarks each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from faceloom.errors import FaceError
from faceloom.faces.landmarks import Stance, apply, find_landmarks, stance_of, upright_view
from faceloom.faces.networks import Candidate, search_any_pose, search_frontal
from faceloom.types import Face, Photo, Pixels

_WORKING_SIDE = 1600
_FINE_SIDE = 3200
_SMALL_SIDE = 1000
_SLOW_SIDE = 640
_MOST_UPSAMPLING = 2.0
_SURE = 0.5
_MOST_DOUBTFUL = 6
_SAME_FACE = 0.5


@dataclass(frozen=True)
class _Find:
    """A possible face: where, how sure, and whether a second detector must agree."""

    stance: Stance
    score: float
    sure: bool


def detect(photo: Photo) -> tuple[Face, ...]:
    """Find all faces in a photo.

    A quick detector goes first. Only when it finds nothing do slower ones get their turn: a finer scale, more contrast,
    tilted heads, sideways pictures, and a convolutional network. What the quick one doubts, the network must confirm.

    Tiny faces are returned too, since only the caller knows what it needs; see `eye_distance` in
    `faceloom.faces.landmarks`.

    Args:
        photo: upright photo, of any size.

    Returns:
        The faces, largest first; empty if there is none.
    """
    for search in (_plain, _fine, _contrasty, _tilted, _sideways, _any_pose):
        faces = _confirm(photo.pixels, search(photo.pixels))
        if faces:
            return faces
    return ()


def choose(faces: tuple[Face, ...], index: int | None, photo: Photo) -> Face:
    """Choose one face of a photo.

    Args:
        faces: what `detect` returned for it.
        index: counts from 1, largest first; None for the largest.
        photo: for its name in messages.

    Raises:
        FaceError: there is no face, or not as many.
    """
    if not faces:
        raise FaceError(
            f"no face found in {photo.name}: use a photo where the face is at least 80 pixels wide, "
            "lit, and turned towards the camera"
        )
    number = 1 if index is None else index
    if not 1 <= number <= len(faces):
        count = "1 face was" if len(faces) == 1 else f"{len(faces)} faces were"
        allowed = "1" if len(faces) == 1 else f"a number from 1 (the largest) to {len(faces)}"
        raise FaceError(f"there is no face {number} in {photo.name}, where {count} found: choose {allowed}")
    return faces[number - 1]


def _confirm(pixels: Pixels, finds: Iterable[_Find]) -> tuple[Face, ...]:
    """Faces with landmarks from finds, without doubles and without those that the network rejects."""
    kept: list[Face] = []
    doubted = 0
    for find in sorted(finds, key=lambda found: -found.score):
        if any(_overlap(_box(find.stance), face.box) > _SAME_FACE for face in kept):
            continue
        if not find.sure:
            doubted += 1
            if doubted > _MOST_DOUBTFUL:
                break
        landmarks = find_landmarks(pixels, find.stance)
        stance = stance_of(landmarks)
        face = Face(box=_box(stance), landmarks=landmarks, score=find.score)
        if any(_overlap(face.box, other.box) > _SAME_FACE for other in kept):
            continue
        if find.sure or _network_agrees(pixels, stance):
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: -face.area))


def _network_agrees(pixels: Pixels, stance: Stance) -> bool:
    """Whether the convolutional network sees a face in the middle of an upright view."""
    size, box = 240, 110.0
    view, _ = upright_view(pixels, stance, size, box)
    expected = _box(Stance((size / 2, size / 2), box, 0.0))
    return any(
        _overlap(_box(Stance(found.centre, found.side, 0.0)), expected) > _SAME_FACE for found in search_any_pose(view)
    )


def _plain(pixels: Pixels) -> Iterator[_Find]:
    yield from _search(pixels, search_frontal, _WORKING_SIDE)


def _fine(pixels: Pixels) -> Iterator[_Find]:
    yield from _search(pixels, search_frontal, _FINE_SIDE, 2 * _MOST_UPSAMPLING, trust=False)


def _contrasty(pixels: Pixels) -> Iterator[_Find]:
    grey = ImageOps.autocontrast(Image.fromarray(pixels).convert("L"), cutoff=1)
    bright = np.asarray(ImageOps.equalize(grey))
    yield from _search(np.repeat(bright[..., None], 3, axis=2), search_frontal, _SMALL_SIDE, trust=False)


def _tilted(pixels: Pixels) -> Iterator[_Find]:
    for tilt in (-30.0, 30.0, -50.0, 50.0):
        yield from _search(pixels, search_frontal, _SMALL_SIDE, tilt=tilt, trust=False)


def _sideways(pixels: Pixels) -> Iterator[_Find]:
    for tilt in (-90.0, 90.0, 180.0):
        yield from _search(pixels, search_frontal, _SMALL_SIDE, tilt=tilt, trust=False)


def _any_pose(pixels: Pixels) -> Iterator[_Find]:
    for find in _search(pixels, search_any_pose, _SLOW_SIDE):
        yield _Find(_best_tilt(pixels, find.stance), find.score, find.sure)


def _search(
    pixels: Pixels,
    detector: Callable[[Pixels], list[Candidate]],
    long_side: int,
    most_upsampling: float = _MOST_UPSAMPLING,
    tilt: float = 0.0,
    trust: bool = True,
) -> Iterator[_Find]:
    """Search a copy of the photo whose long side is given, turned by `-tilt`, so that heads with that tilt stand."""
    scale = min(long_side / max(pixels.shape[:2]), most_upsampling)
    view, to_photo = _turned(pixels, scale, tilt)
    for candidate in detector(view):
        x, y = apply(to_photo, np.array([candidate.centre]))[0]
        sure = trust and candidate.score >= _SURE
        yield _Find(Stance((float(x), float(y)), candidate.side / scale, tilt), candidate.score, sure)


def _turned(pixels: Pixels, scale: float, tilt: float) -> tuple[Pixels, NDArray[np.float64]]:
    """A scaled and turned copy of the whole photo, and the (2, 3) matrix from its coordinates to the photo's."""
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    back = np.array([[width / size[0], 0.0, 0.0], [0.0, height / size[1], 0.0]])
    if tilt:
        cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
        wide = math.ceil(abs(cos) * size[0] + abs(sin) * size[1])
        high = math.ceil(abs(sin) * size[0] + abs(cos) * size[1])
        turn = np.array([[cos, -sin], [sin, cos]])
        offset = np.array(size) / 2 - turn @ (np.array([wide, high]) / 2)
        to_image = np.column_stack([turn, offset])
        image = image.transform(
            (wide, high), Image.Transform.AFFINE, tuple(to_image.ravel()), Image.Resampling.BILINEAR
        )
        back = np.column_stack([back[:, :2] @ turn, back[:, :2] @ offset])
    return np.asarray(image), back


def _best_tilt(pixels: Pixels, stance: Stance) -> Stance:
    """The stance with the tilt at which the frontal detector likes the face best."""

    def liking(tilt: float) -> float:
        view, _ = upright_view(pixels, stance._replace(tilt=tilt), 240, 110.0)
        return max((found.score for found in search_frontal(view, -1.0)), default=-math.inf)

    return stance._replace(tilt=max((0.0, -20.0, 20.0, -40.0, 40.0), key=liking))


def _box(stance: Stance) -> tuple[float, float, float, float]:
    (x, y), half = stance.centre, stance.side / 2
    return x - half, y - half, x + half, y + half


def _overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> float:
    """Shared area over the area of the smaller box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return max(0.0, width) * max(0.0, height) / max(min(areas), 1e-9)
