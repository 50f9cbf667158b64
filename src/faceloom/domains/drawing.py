"""From a twin's picture to a drawn photo.

A small generator's drawing is soft when it is enlarged. So the photo is redrawn at its own resolution. A twin that
learned from an illustrator leaves that to the illustrator, which draws the whole photo: no seam, crisp lines. A twin
that learned from drawings has none; there the twin says how shapes and the colour of each tone change, and that change
is applied to the photo, painted over with a soft brush (see `faceloom.faces.transfer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.domains.abstraction import smooth
from faceloom.domains.brush import brushed
from faceloom.domains.colour import to_lab, to_rgb
from faceloom.domains.illustrators import View, illustrator
from faceloom.faces.landmarks import apply
from faceloom.faces.transfer import Change, apply_change, measure_change
from faceloom.faces.warp import Roi, in_bands
from faceloom.types import Crop, Mask, Photo, Pixels, Points

Float = NDArray[np.float32]

WORKING_SIDE = 1280
"""Longer side in pixels at which a photo is drawn; larger ones get the drawing enlarged, and keep some own detail."""
_STROKE = 0.008  # reach of the painter's strokes, in sides of the crop
_BLOT = 0.02  # reach of the painter's brush, in sides of the crop


@dataclass(frozen=True, eq=False)
class DrawnFace:
    """A face, and what the generator and its twin make of it.

    Attributes:
        crop: where it is in the photo.
        plain: (S, S, 3) uint8 RGB, the generator's picture after the edits.
        drawn: (S, S, 3) uint8 RGB, the twin's picture after the edits, at the degree that is wanted.
        mask, motion: as of `faceloom.editor.OpenFace`.
        edit: how the edits changed the face before it is drawn; None for no edit.
    """

    crop: Crop
    plain: Pixels
    drawn: Pixels
    mask: Mask
    motion: Mask
    edit: Change | None = None

    def landmarks(self) -> Points:
        """(68, 2) in photo pixels, as the edits moved them."""
        points = self.crop.face.landmarks
        if self.edit is None:
            return points
        size = self.edit.flow.shape[0]
        inside = apply(self.crop.from_photo(size), points)
        column, row = np.clip(inside, 0, size - 1).astype(int).T
        # What shows at p came from p + flow(p): what was there is now about flow before it.
        return apply(self.crop.to_photo(size), inside - self.edit.flow[row, column])


def draw_photo(photo: Photo, faces: Sequence[DrawnFace], style: str, degree: float) -> tuple[Photo, Mask]:
    """Draw a photo.

    Args:
        photo: the photo, its faces already edited.
        faces: what to draw; at least one.
        style: name of an illustrator; "" draws as the twin's pictures say.
        degree: how far, from 0 to 1.

    Returns:
        The drawn photo, and the mask of what was drawn: all of it.
    """
    share = min(1.0, WORKING_SIDE / max(photo.size))
    side = float(np.median([face.crop.side for face in faces]))
    if style:
        landmarks = tuple(face.landmarks() * share for face in faces)
        small = _shrunk(photo.pixels, share)
        drawn = illustrator(style).draw(small, View(side * share, landmarks), degree)
        photo = Photo(_enlarged(drawn, small, photo, degree), photo.icc_profile, photo.name)
    else:
        photo = _painted(photo, faces, side, share, degree)
    return photo, np.ones(photo.pixels.shape[:2], np.float32)


def _painted(photo: Photo, faces: Sequence[DrawnFace], side: float, share: float, degree: float) -> Photo:
    small = _shrunk(photo.pixels, share)
    strokes = to_rgb(brushed(to_lab(small), _STROKE * side * share))
    calm = smooth(strokes, _BLOT * side * share, 0.25)
    coloured = _recoloured(calm, [(face.plain, face.drawn) for face in faces])
    picture = small + np.float32(degree) * (calm - small) + (coloured - calm)
    pixels = _enlarged(np.clip(picture, 0.0, 1.0), small, photo, degree)
    photo = Photo(pixels, photo.icc_profile, photo.name)
    for face in faces:
        # Its shapes alone: the colours of a small picture would lie as smudges and halos on a large one.
        flow = measure_change(face.plain, face.drawn, face.motion, people=False).flow
        change = Change(flow, np.zeros((*flow.shape[:2], 3), np.float32))
        photo, _ = apply_change(photo, face.crop, change, face.mask)
    return photo


def _recoloured(picture: Float, pairs: Sequence[tuple[Pixels, Pixels]]) -> Float:
    """A picture with the change of colours between pairs of pictures, as far as tone and colour explain it."""
    before = to_lab(np.concatenate([first.reshape(-1, 3) for first, _ in pairs]).astype(np.float32) / 255.0)
    after = to_lab(np.concatenate([last.reshape(-1, 3) for _, last in pairs]).astype(np.float32) / 255.0)
    terms = _terms(before)
    pull = 3e-4 * len(terms) * np.eye(terms.shape[1])
    change = np.linalg.solve(terms.T @ terms + pull, terms.T @ (after - before).astype(np.float64))
    lab = to_lab(picture)
    # Tones that the face has not are not extrapolated far.
    low, high = np.quantile(before[:, 0], [0.01, 0.99])
    known = lab.copy()
    known[..., 0] = np.clip(lab[..., 0], low, high)
    return to_rgb((lab + _terms(known.reshape(-1, 3)).reshape(*lab.shape[:2], -1) @ change).astype(np.float32))


def _terms(lab: Float) -> NDArray[np.float64]:
    """What the change of a colour may depend on: (N, 3) to (N, 6)."""
    light = lab[:, :1].astype(np.float64)
    return np.concatenate([np.ones_like(light), light, light**2, light**3, lab[:, 1:].astype(np.float64)], axis=1)


def _size(pixels: Pixels, share: float) -> tuple[int, int]:
    return max(1, round(pixels.shape[1] * share)), max(1, round(pixels.shape[0] * share))


def _shrunk(pixels: Pixels, share: float) -> Float:
    if share < 1.0:
        pixels = np.asarray(Image.fromarray(pixels).resize(_size(pixels, share), Image.Resampling.LANCZOS))
    return pixels.astype(np.float32) / 255.0


def _enlarged(picture: Float, small: Float, photo: Photo, degree: float) -> Pixels:
    """A drawing of a `small` copy of a photo at the photo's own size, with the rest of the photo's own detail."""
    if picture.shape == photo.pixels.shape:
        return _bytes(picture)
    pixels = _resized(picture, photo.size)
    if degree < 1.0:
        soft = _resized(small, photo.size)

        def detailed(band: Roi) -> None:
            detail = photo.pixels[band].astype(np.float32) - soft[band]
            pixels[band] = np.rint(pixels[band] + np.float32(1.0 - degree) * detail).clip(0, 255)

        in_bands(detailed, (slice(0, photo.size[1]), slice(0, photo.size[0])))
    return pixels


def _resized(picture: Float, size: tuple[int, int]) -> Pixels:
    return np.array(Image.fromarray(_bytes(picture)).resize(size, Image.Resampling.BICUBIC))


def _bytes(picture: Float) -> Pixels:
    pixels: Pixels = np.rint(picture * 255.0).clip(0, 255).astype(np.uint8)
    return pixels
