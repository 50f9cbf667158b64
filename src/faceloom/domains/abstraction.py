"""Leaving out: smoothing that stops at edges, and lightness in steps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def smooth(picture: Float, reach: float, contrast: float, *, guide: Float | None = None, rounds: int = 3) -> Float:
    """Smooth a picture without crossing edges, in linear time.

    Source: Gastal and Oliveira 2011, "Domain Transform for Edge-Aware Image and Video Processing", section 4.2
    (recursive filter).

    Args:
        picture: (H, W, C).
        reach: standard deviation in pixels where there is no edge.
        contrast: how large a step, summed over the channels of the guide, counts as an edge.
        guide: (H, W, K), whose edges are kept; the picture itself by default.
        rounds: iterations; each one blurs along rows, then along columns.
    """
    guide = picture if guide is None else guide
    across = 1.0 + (reach / contrast) * np.abs(np.diff(guide, axis=1)).sum(axis=2)
    along = 1.0 + (reach / contrast) * np.abs(np.diff(guide, axis=0)).sum(axis=2)
    result = picture.astype(np.float32)
    for index in range(rounds):
        sigma = reach * math.sqrt(3.0) * 2.0 ** (rounds - 1 - index) / math.sqrt(4.0**rounds - 1.0)
        decay = math.exp(-math.sqrt(2.0) / max(sigma, 1e-3))
        rows = np.ascontiguousarray(result.transpose(1, 0, 2))
        _both_ways(rows, np.ascontiguousarray((decay**across).T[..., None], np.float32))
        result = np.ascontiguousarray(rows.transpose(1, 0, 2))
        _both_ways(result, np.ascontiguousarray((decay**along)[..., None], np.float32))
    return result


def _both_ways(lines: Float, pull: Float) -> None:
    """Pull each line (first axis) towards the one before it, and then each towards the one after it, in place."""
    for index in range(1, len(lines)):
        lines[index] += pull[index - 1] * (lines[index - 1] - lines[index])
    for index in range(len(lines) - 2, -1, -1):
        lines[index] += pull[index] * (lines[index + 1] - lines[index])


def in_steps(lightness: Float, steps: int, sharpness: float) -> Float:
    """Lightness (H, W) in [0, 1] brought near to a few levels, with soft borders between them.

    Source: Winnemöller, Olsen and Gooch 2006, "Real-Time Video Abstraction", section 3.3.
    """
    width = 1.0 / steps
    nearest = (np.floor(lightness / width) + 0.5) * width
    stepped: Float = nearest + 0.5 * width * np.tanh(sharpness * (lightness - nearest) / width)
    # tanh misses ±1 at the borders of a step; rescaled, neighbouring steps meet there.
    result: Float = (nearest + (stepped - nearest) / math.tanh(0.5 * sharpness)).astype(np.float32)
    return result
