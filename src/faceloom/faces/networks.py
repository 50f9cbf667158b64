"""The three dlib networks behind face detection, loaded once, on first use.

Everything here speaks the coordinates of `faceloom.types` (the centre of the first pixel is (0.5, 0.5)); dlib's own
count pixels, so that rectangles include their last pixel and points name whole pixels.

dlib's objects keep scratch space inside and are not safe to share between threads: one lock guards them all.

The 68-point predictor was trained on 300-W (Sagonas et al., 2013), whose annotations are for non-commercial use.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any, NamedTuple

import dlib
import face_recognition_models
import numpy as np

from faceloom.types import Pixels, Points

_DLIB: Any = dlib  # compiled, and without types
_LOCK = threading.Lock()
_LEAST_SIDE = 40  # a smaller picture holds no face of 80 pixels, and the network's windows need not fit into it


class Candidate(NamedTuple):
    """A square that may hold a face, in the pixels of the picture that was searched."""

    centre: tuple[float, float]
    side: float
    score: float


def search_frontal(pixels: Pixels, threshold: float = 0.0) -> list[Candidate]:
    """Find faces that look roughly at the camera, heads upright: HOG features and a linear SVM (dlib).

    Quick (0.1 s for a megapixel); faces under 80 pixels are missed.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        threshold: least score to report; 0 is dlib's own, smaller finds more faces and more things that are none.

    Returns:
        Candidates in no order; scores above 1 are sure, below 0.5 doubtful.
    """
    with _LOCK:
        boxes, scores, _ = _frontal_detector().run(np.ascontiguousarray(pixels), 0, threshold)
        return [_candidate(box, score) for box, score in zip(boxes, scores, strict=True)]


def search_any_pose(pixels: Pixels) -> list[Candidate]:
    """Find faces in any pose and light: a max-margin convolutional network (King 2015, arXiv:1502.00046).

    Slow (9 s for a megapixel on one core) and hard to fool; faces under about 80 pixels are missed.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        Candidates in no order; scores lie around 1.
    """
    if min(pixels.shape[:2]) < _LEAST_SIDE:
        return []
    with _LOCK:
        found = _any_pose_detector()(np.ascontiguousarray(pixels), 0)
        return [_candidate(detection.rect, detection.confidence) for detection in found]


def predict_landmarks(pixels: Pixels, centre: tuple[float, float], side: float) -> Points:
    """Predict 68 landmarks of the upright face in a square: an ensemble of regression trees (Kazemi, Sullivan 2014).

    Args:
        pixels: (H, W, 3) uint8 RGB.
        centre: of the square.
        side: of the square, in pixels.

    Returns:
        (68, 2) points in iBUG 300-W order.
    """
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    box = _DLIB.rectangle(left, top, left + round(side) - 1, top + round(side) - 1)
    with _LOCK:
        parts = _landmark_predictor()(np.ascontiguousarray(pixels), box).parts()
        return np.array([(point.x + 0.5, point.y + 0.5) for point in parts], dtype=np.float64)


def _candidate(box: Any, score: float) -> Candidate:
    centre = ((box.left() + box.right() + 1) / 2, (box.top() + box.bottom() + 1) / 2)
    return Candidate(centre, (box.width() + box.height()) / 2, float(score))


@cache
def _frontal_detector() -> Any:
    return _DLIB.get_frontal_face_detector()


@cache
def _any_pose_detector() -> Any:
    return _DLIB.cnn_face_detection_model_v1(face_recognition_models.cnn_face_detector_model_location())


@cache
def _landmark_predictor() -> Any:
    return _DLIB.shape_predictor(face_recognition_models.pose_predictor_model_location())
