"""Colours as lightness, green–red and blue–yellow, where equal steps look equal.

Source: Ottosson 2020, "A perceptual color space for image processing" (Oklab).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_FROM_LAB, _FROM_CONES = np.linalg.inv(_TO_LAB), np.linalg.inv(_TO_CONES)


def to_lab(rgb: Float) -> Float:
    """(..., 3) sRGB in [0, 1] to Oklab: lightness in [0, 1], the other two within about ±0.4."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.0) + 0.055) / 1.055) ** 2.4)
    lab: Float = (np.cbrt(linear.astype(np.float32) @ _TO_CONES.T) @ _TO_LAB.T).astype(np.float32)
    return lab


def to_rgb(lab: Float) -> Float:
    """The inverse of `to_lab`; colours that no screen shows are clipped to [0, 1]."""
    linear = np.clip((lab @ _FROM_LAB.T.astype(np.float32)) ** 3 @ _FROM_CONES.T.astype(np.float32), 0.0, 1.0)
    rgb: Float = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055).astype(np.float32)
    return rgb
