"""Proportions of a drawn face: large eyes, small nose, slim jaw, as displacements around landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceloom.faces.landmarks import eye_distance, eyes_and_mouth
from faceloom.types import Points

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Proportions:
    """How a style changes a face; 1 leaves a part as it is.

    Attributes:
        eyes, nose, mouth: factors of their size.
        jaw: factor of the width of the jaw and chin.
    """

    eyes: float = 1.0
    nose: float = 1.0
    mouth: float = 1.0
    jaw: float = 1.0

    def scaled(self, degree: float) -> Proportions:
        """As much of the change as `degree` in [0, 1] says."""
        parts = (self.eyes, self.nose, self.mouth, self.jaw)
        return Proportions(*(1.0 + degree * (part - 1.0) for part in parts))

    @property
    def natural(self) -> bool:
        """Whether nothing changes."""
        return self == Proportions()


NATURAL = Proportions()
"""Nothing changes."""


def reshape(landmarks: Points, size: tuple[int, int], proportions: Proportions) -> Float:
    """The displacement that gives a face other proportions.

    Args:
        landmarks: (68, 2) in pixels of the picture.
        size: (width, height) of the picture.
        proportions: what to change.

    Returns:
        (height, width, 2) float32: the pixel at p comes from p + flow(p).
    """
    flow = np.zeros((size[1], size[0], 2), np.float32)
    span = eye_distance(landmarks)
    left, right, mouth = eyes_and_mouth(landmarks)
    for eye in (left, right):
        _scale(flow, eye, 0.52 * span, proportions.eyes)
    _scale(flow, landmarks[31:36].mean(axis=0) - 0.1 * (mouth - (left + right) / 2), 0.6 * span, proportions.nose)
    _scale(flow, mouth, 0.75 * span, proportions.mouth)
    middle = landmarks[[27, 33, 8]].mean(axis=0)
    for first, last in ((3, 8), (8, 13)):
        for index in range(first, last + 1):
            towards = (1.0 - 1.0 / proportions.jaw) * (landmarks[index] - middle)
            _push(flow, landmarks[index], 0.75 * span, towards / 3.0)
    return flow


def moved(landmarks: Points, flow: Float) -> Points:
    """Where points (K, 2) end up when a picture is displaced by `flow` (to first order, then refined)."""
    height, width = flow.shape[:2]
    target = landmarks.copy()
    for _ in range(3):
        column = np.clip(target[:, 0], 0, width - 1).astype(int)
        row = np.clip(target[:, 1], 0, height - 1).astype(int)
        target = landmarks - flow[row, column]
    return target


def _scale(flow: Float, centre: NDArray[np.float64], radius: float, factor: float) -> None:
    window, offset, weight = _around(flow, centre, radius)
    if weight.size:
        flow[window] += (weight * (1.0 / factor - 1.0))[..., None] * offset


def _push(flow: Float, centre: NDArray[np.float64], radius: float, vector: NDArray[np.float64]) -> None:
    window, _, weight = _around(flow, centre, radius)
    if weight.size:
        # What shows here comes from further out: the outline moves inwards.
        flow[window] -= weight[..., None] * vector.astype(np.float32)


def _around(flow: Float, centre: NDArray[np.float64], radius: float) -> tuple[tuple[slice, slice], Float, Float]:
    """The window of a disc, offsets from its centre, and a smooth weight that is 0 at its rim."""
    height, width = flow.shape[:2]
    low = np.clip(np.floor(centre - radius), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(centre + radius) + 1, 0, (width, height)).astype(int)
    window = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
    y, x = np.mgrid[window].astype(np.float32) + 0.5
    offset = np.stack([x - np.float32(centre[0]), y - np.float32(centre[1])], axis=-1)
    near = np.clip(1.0 - (offset**2).sum(axis=-1) / np.float32(radius**2), 0.0, 1.0)
    return window, offset, (near * near).astype(np.float32)
