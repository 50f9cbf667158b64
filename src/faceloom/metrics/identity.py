"""Whether two pictures show the same person: dlib's residual network for face recognition.

Network and threshold: King, 2017, http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html: 99.38 % on
Labeled Faces in the Wild, calling faces the same person where their distance is below 0.6.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import dlib
import face_recognition_models
import numpy as np
from numpy.typing import NDArray

from faceloom.faces.networks import predict_landmarks
from faceloom.types import Face, Pixels, Points

SAME_PERSON = 0.6
"""Two faces nearer than this are the same person's, says the network's author."""

Embedding = NDArray[np.float64]
"""(128,), of a length near 1.4; only distances between embeddings have a meaning."""

# Where dlib's detector puts its box in an FFHQ-aligned crop, in sides of the crop.
_ALIGNED_BOX_CENTRE = (0.5, 0.6)
_ALIGNED_BOX_SIDE = 0.58
_LOCK = threading.Lock()  # dlib's networks keep scratch space inside


class IdentityJudge:
    """Embeds faces so that distance tells people apart. The network (22 MB) loads on the first use and is shared."""

    name = "dlib identity"

    def embed(self, pixels: Pixels, face: Face | None = None) -> Embedding:
        """Embed one face.

        dlib cuts its own chip (150 pixels, upright, 25 % padding) around the 68 landmarks. Pass the same landmarks for
        a picture before and after an edit to compare the faces alone.

        Args:
            pixels: (H, W, 3) uint8 RGB: a photo, or an FFHQ-aligned crop where `face` is None.
            face: in the photo's coordinates; only its landmarks count.

        Returns:
            (128,) float64; the same for the same input, bit for bit.
        """
        landmarks = _aligned_landmarks(pixels) if face is None else face.landmarks
        embedding: Embedding = self.embed_chips([_chip(pixels, landmarks)])[0]
        return embedding

    def embed_chips(self, chips: list[Pixels]) -> NDArray[np.float64]:
        """Embed faces already cut out as dlib does; many at once are quicker.

        Args:
            chips: N arrays (150, 150, 3) uint8 RGB.

        Returns:
            (N, 128) float64.
        """
        if not chips:
            return np.zeros((0, 128))
        with _LOCK:
            found = _network().compute_face_descriptor([np.ascontiguousarray(chip) for chip in chips])
        return np.array(found, dtype=np.float64)


def distance(first: Embedding, second: Embedding) -> float:
    """Euclidean distance of two embeddings: 0 for the same picture, below `SAME_PERSON` for the same person."""
    return float(np.linalg.norm(first - second))


def _chip(pixels: Pixels, landmarks: Points) -> Pixels:
    # dlib's points name whole pixels, so that the centre of the first one is 0.
    parts = dlib.points([dlib.point(*(int(v) for v in np.floor(point))) for point in landmarks])
    x, y = np.floor(landmarks).astype(int).T
    box = dlib.rectangle(int(x.min()), int(y.min()), int(x.max()), int(y.max()))
    chip: Pixels = dlib.get_face_chip(np.ascontiguousarray(pixels), dlib.full_object_detection(box, parts), size=150)
    return chip


def _aligned_landmarks(pixels: Pixels) -> Points:
    side = pixels.shape[0]
    centre = (_ALIGNED_BOX_CENTRE[0] * side, _ALIGNED_BOX_CENTRE[1] * side)
    return predict_landmarks(pixels, centre, _ALIGNED_BOX_SIDE * side)


@cache
def _network() -> Any:
    return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
