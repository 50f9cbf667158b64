"""Between pixels (uint8, height × width × RGB) and images (float tensors, RGB × height × width, in [-1, 1]); sizes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def to_images(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Turn pixels into float32 images.

    Args:
        pixels: (H, W, 3) or (N, H, W, 3) uint8 RGB.
        device: where the result lives.

    Returns:
        (N, 3, H, W) in [-1, 1], channels-last in memory; N is 1 for a single picture.

    Raises:
        ValueError: another shape or number format.
    """
    batch = pixels[None] if pixels.ndim == 3 else pixels
    if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8 (H, W, 3) or (N, H, W, 3), not {pixels.dtype} {pixels.shape}")
    # A copy: a tensor on a caller's read-only array is undefined behaviour, and torch warns of it.
    values = torch.from_numpy(batch.copy()).to(device).permute(0, 3, 1, 2)
    return values.to(torch.float32) / 127.5 - 1


def image_batches(pixels: NDArray[np.uint8], size: int = 32, device: torch.device | str = "cpu") -> Iterator[Tensor]:
    """`to_images` of pictures (N, H, W, 3), `size` or fewer at a time; as floats they take four times the room."""
    for start in range(0, len(pixels), size):
        yield to_images(pixels[start : start + size], device)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Turn images into pixels, rounded to the nearest value; what lies outside [-1, 1] is clipped.

    Args:
        images: (N, 3, H, W), or (3, H, W) for a single picture, of any floating format, on any device.

    Returns:
        (N, H, W, 3), or (H, W, 3) for a single picture, uint8 RGB.

    Raises:
        ValueError: another shape or number format.
    """
    if images.ndim not in (3, 4) or images.shape[-3] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be float (N, 3, H, W) or (3, H, W), not {images.dtype} {tuple(images.shape)}")
    levels = ((images.detach().to(torch.float32) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.movedim(-3, -1).contiguous().cpu().numpy()
    return pixels


def resized(images: Tensor, side: int) -> Tensor:
    """Bring images to a square, without aliasing; differentiable.

    Args:
        images: (N, C, H, W), in any range.
        side: of the result, in pixels.

    Returns:
        (N, C, side, side); `images` themselves where they have that size.
    """
    if tuple(images.shape[2:]) == (side, side):
        return images
    if images.device.type in ("cpu", "cuda"):
        return functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    # MPS has no gradient of that, so the same sums as products.
    rows, columns = (_sums(size, side).to(images) for size in images.shape[2:])
    return rows @ images @ columns.T


@cache
def _sums(size: int, side: int) -> Tensor:
    """How `resized` sums a line of `size` pixels to `side`: (side, size)."""
    lines = torch.eye(size).reshape(1, size, size, 1).repeat(1, 1, 1, 2)  # a single column is not summed rightly
    return functional.interpolate(lines, (side, 2), mode="bilinear", antialias=True, align_corners=False)[0, :, :, 0].T
