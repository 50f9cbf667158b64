"""The square that a judge's network wants to see: upright, around the landmarks, with some room.

For a face in a photo the landmarks say where it is. In an FFHQ-aligned crop (see `faceloom.faces.align`) all faces sit
in the same place, so nothing needs to be found: one fixed square serves thousands of generated faces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from faceloom.faces.landmarks import face_axis
from faceloom.imaging.convert import resized
from faceloom.types import Face, Pixels

ALIGNED_CENTRE = (0.5, 0.655)
"""Middle of the landmarks' bounding box in an FFHQ-aligned crop, in sides of the crop."""
ALIGNED_EXTENT = 0.57
"""Longer side of that box, in sides of the crop."""
# Both are medians over 600 generated FFHQ-aligned faces; single faces deviate by 0.02 and 0.03.


@dataclass(frozen=True)
class Framing:
    """How to cut a face out for a network.

    Attributes:
        size: side of the result in pixels.
        padding: side of the square over the longer side of the landmarks' upright bounding box, minus 1.
    """

    size: int
    padding: float

    def from_photo(self, pixels: Pixels, face: Face) -> Tensor:
        """Cut a face out of a photo, turned upright; black where the photo ends.

        Args:
            pixels: (H, W, 3) uint8 RGB, the photo.
            face: in the photo's coordinates; only its landmarks count.

        Returns:
            (3, size, size) float32 RGB in 0..255, averaged down without aliasing.
        """
        axis = face_axis(face.landmarks)
        right = axis / np.hypot(*axis)
        axes = np.column_stack([right, (-right[1], right[0])])
        along = face.landmarks @ axes
        low, high = along.min(axis=0), along.max(axis=0)
        middle, half = axes @ (low + high) / 2, float((high - low).max()) * (1 + self.padding) / 2

        reach = np.abs(axes).sum(axis=1) * half + 1
        first = np.clip(np.floor(middle - reach).astype(int), 0, None)
        last = np.ceil(middle + reach).astype(int)
        region = pixels[first[1] : max(last[1], 0), first[0] : max(last[0], 0)]
        if region.size == 0:
            return torch.zeros(3, self.size, self.size)
        # Both sides of the sampling run from -1 to 1 between the outer edges of the outer pixels.
        scale = 2 / np.array([region.shape[1], region.shape[0]])
        theta = np.column_stack([axes * half * scale[:, None], (middle - first) * scale - 1])
        oversampling = max(1, math.ceil(2 * half / self.size))  # at least the photo's resolution, then averaged
        fine = self.size * oversampling
        grid = functional.affine_grid(torch.from_numpy(theta[None]).float(), [1, 3, fine, fine], align_corners=False)
        source = torch.from_numpy(region.copy()).permute(2, 0, 1)[None].float()
        return functional.avg_pool2d(functional.grid_sample(source, grid, align_corners=False), oversampling)[0]

    def from_aligned(self, images: Tensor) -> Tensor:
        """Cut the faces out of FFHQ-aligned images; the border is repeated where the square leaves the image.

        Args:
            images: (N, 3, S, S) in any range.

        Returns:
            (N, 3, size, size) in the same range, resized without aliasing; differentiable.
        """
        side = images.shape[-1]
        half = ALIGNED_EXTENT * (1 + self.padding) / 2
        left, top = (round((centre - half) * side) for centre in ALIGNED_CENTRE)
        right, bottom = (round((centre + half) * side) for centre in ALIGNED_CENTRE)
        outside = max(0, -left, -top, right - side, bottom - side)
        images = functional.pad(images, (outside,) * 4, mode="replicate") if outside else images
        square = images[..., outside + top : outside + bottom, outside + left : outside + right]
        return resized(square, self.size)
