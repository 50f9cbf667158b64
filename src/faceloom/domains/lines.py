"""Ink: lines where a draughtsman would draw them.

Differences of Gaussians across the edge, gathered along it, so that lines are long and clean. Sources: Kang, Lee and
Chui 2007, "Coherent Line Drawing" (flow-based difference of Gaussians); Winnemöller, Kyprianidis and Olsen 2012, "XDoG"
(soft threshold). Differences are taken relative to the lightness around them, not absolutely, so that dark skin gets
the lines that light skin gets and no more.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

Float = NDArray[np.float32]

_WIDER = 1.6  # ratio of the two Gaussians, which approximates the Laplacian best (Marr and Hildreth 1980)
_FLOOR = 0.06  # lightness that is added before ratios are taken: the darkest shadows hold only noise


def ink(lightness: Float, width: float, *, least: float = 0.015, softness: float = 0.03, length: float = 4.0) -> Float:
    """Where ink lies.

    Args:
        lightness: (H, W) in [0, 1].
        width: standard deviation across a line in pixels, about half of the line's width.
        least: relative darkness from which a line begins to show.
        softness: over how much more it becomes fully black.
        length: how far lines are gathered along themselves, in `width`s.

    Returns:
        (H, W) in [0, 1]; 1 is full ink.
    """
    tangent = tangents(lightness, 2.0 * width)
    normal = torch.stack([-tangent[1], tangent[0]])
    plane = torch.from_numpy(np.ascontiguousarray(lightness, np.float32))
    fine, coarse = _across(plane, normal, width)
    response = (fine - coarse) / (coarse + _FLOOR)
    response = follow(response[None], tangent, length * width)[0]
    inked = ((-response - least) / softness).clamp(0.0, 1.0)
    return (inked * inked * (3.0 - 2.0 * inked)).numpy()


def tangents(lightness: Float, sigma: float) -> Tensor:
    """(2, H, W) unit vectors (x, y) along the edges of (H, W): the minor axis of the structure tensor.

    Args:
        lightness: (H, W) in [0, 1].
        sigma: standard deviation in pixels that the tensor is smoothed with.
    """
    gx, gy = (ndimage.gaussian_filter(lightness, max(0.7, 0.5 * sigma), order=order) for order in ((0, 1), (1, 0)))
    xx, xy, yy = (ndimage.gaussian_filter(product, sigma) for product in (gx * gx, gx * gy, gy * gy))
    angle = 0.5 * np.arctan2(2.0 * xy, xx - yy) + math.pi / 2.0
    return torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32))


def _at(planes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Planes (C, H, W) at pixel positions (H, W), bilinear, edges repeated."""
    height, width = planes.shape[-2:]
    grid = torch.stack([(x + 0.5) * (2.0 / width) - 1.0, (y + 0.5) * (2.0 / height) - 1.0], dim=-1)
    return functional.grid_sample(planes[None], grid[None], padding_mode="border", align_corners=False)[0]


def _places(plane: Tensor) -> tuple[Tensor, Tensor]:
    height, width = plane.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    return x, y


def _across(plane: Tensor, normal: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """A narrow and a wide Gaussian of a plane (H, W), each in the direction of the normal only."""
    x, y = _places(plane)
    wide = _WIDER * sigma
    step = max(0.5, 0.6 * sigma)
    reach = math.ceil(2.5 * wide / step)
    sums = [torch.zeros_like(plane), torch.zeros_like(plane)]
    weights = [0.0, 0.0]
    for index in range(-reach, reach + 1):
        offset = index * step
        value = _at(plane[None], x + offset * normal[0], y + offset * normal[1])[0]
        for which, deviation in enumerate((sigma, wide)):
            weight = math.exp(-0.5 * (offset / deviation) ** 2)
            sums[which] += weight * value
            weights[which] += weight
    return sums[0] / weights[0], sums[1] / weights[1]


def follow(planes: Tensor, tangent: Tensor, sigma: float) -> Tensor:
    """Planes (C, H, W) blurred along the curves that the tangents (2, H, W) draw, `sigma` pixels far."""
    step = max(0.7, 0.4 * sigma)
    total, weights, count = planes.clone(), 1.0, len(planes)
    stacked = torch.cat([planes, tangent])
    for sign in (1.0, -1.0):
        x, y = _places(planes[0])
        heading = sign * tangent
        for index in range(1, math.ceil(2.0 * sigma / step) + 1):
            x, y = x + step * heading[0], y + step * heading[1]
            here = _at(stacked, x, y)
            # A tangent has no front: keep going the way we came.
            ahead = (here[count:] * heading).sum(dim=0, keepdim=True)
            heading = torch.where(ahead < 0.0, -here[count:], here[count:])
            weight = math.exp(-0.5 * (index * step / sigma) ** 2)
            total += weight * here[:count]
            weights += weight
    return total / weights
