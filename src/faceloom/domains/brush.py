"""A soft brush: colours drawn out along hair and outlines, wrinkles and pores painted over.

Source: Kyprianidis and Kang 2011, "Image and Video Abstraction by Coherence-Enhancing Filtering", whose two halves
these are: smoothing along the flow of edges, and sharpening across it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from faceloom.domains.lines import follow, tangents

Float = NDArray[np.float32]


def brushed(lab: Float, reach: float, *, rounds: int = 2, sharpen: float = 0.5) -> Float:
    """A picture painted with strokes that follow its edges.

    Args:
        lab: (H, W, 3) Oklab.
        reach: standard deviation along a stroke, in pixels.
        rounds: how often the picture is painted over.
        sharpen: how much of what each round softens across the strokes is given back.
    """
    planes = torch.from_numpy(np.ascontiguousarray(lab.transpose(2, 0, 1), np.float32))
    for _ in range(rounds):
        tangent = tangents(planes[0].numpy(), max(1.0, 0.5 * reach))
        planes = follow(planes, tangent, reach)
        light = planes[0].numpy()
        planes[0] += torch.from_numpy(sharpen * (light - ndimage.gaussian_filter(light, max(0.7, 0.35 * reach))))
    result: Float = np.ascontiguousarray(planes.numpy().transpose(1, 2, 0))
    result[..., 0] = np.clip(result[..., 0], 0.0, 1.0)
    return result
