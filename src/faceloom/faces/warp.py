"""Resample values between a crop and the photo that it came from, either way, antialiased.

Only the region where the two meet is ever computed, so that a face in a large photo costs what the face costs.

Where the target is coarser than the source, the source is averaged first. Cubic interpolation is done in two steps: an
exact cubic enlargement (Keys 1981), then bilinear sampling of that. Pillow's own cubic for affine maps is of the
sharpening kind, which bends straight slopes by a tenth of a pixel, and takes longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from faceloom.parallel import in_parallel, pieces_of
from faceloom.types import Crop, Matrix, Points

Roi = tuple[slice, slice]
"""Rows and columns of a photo; index it with them: `pixels[roi]`."""
Kernel = Literal["bilinear", "bicubic"]
"""Bicubic keeps detail and may overshoot by a little; bilinear never leaves the range of its input (for masks)."""

_BAND = 128
_FINENESS = 1.5  # source pixels for each of the target, after averaging; fewer would blur, more would skip some
_ENLARGEMENT = 3
_LARGE_ENLARGEMENT = 2
_LARGE = 600  # pixels a side from which a smaller enlargement must do


def region_of(crop: Crop, photo_size: tuple[int, int]) -> Roi:
    """Smallest region of a photo that holds what of a crop lies inside the photo; may be empty.

    Args:
        crop: the crop.
        photo_size: (width, height) of the photo.
    """
    return region_around(crop.quad, photo_size)


def region_around(points: Points, photo_size: tuple[int, int]) -> Roi:
    """Smallest region of a photo that holds what lies between some points and inside the photo; may be empty.

    Args:
        points: (K, 2), in photo pixels, such as a crop's quad.
        photo_size: (width, height) of the photo.
    """
    low = np.clip(np.floor(points.min(axis=0)), 0, photo_size).astype(int).tolist()
    high = np.clip(np.ceil(points.max(axis=0)), 0, photo_size).astype(int).tolist()
    return slice(low[1], high[1]), slice(low[0], high[0])


def in_bands(task: Callable[[Roi], None], roi: Roi) -> None:
    """Do a region in bands of rows, so that what is computed of one fits into a processor's cache.

    Bands are shared among as many threads as PyTorch uses.

    Args:
        task: called with each band, in any order; must not touch other bands.
        roi: the region; may be empty.
    """
    rows, columns = roi
    if columns.stop <= columns.start:
        return

    def band(number: int, first: int, last: int) -> None:
        task((slice(rows.start + first, rows.start + last), columns))

    in_parallel(band, pieces_of(rows.stop - rows.start, _BAND), torch.get_num_threads())


class CropSampler:
    """Values over a crop's square, ready to be sampled in any part of the photo, such as band by band."""

    def __init__(self, values: NDArray[np.float32], crop: Crop, kernel: Kernel = "bicubic") -> None:
        """Prepare values once.

        Args:
            values: (S, S, C) float32 in the crop's square; any S, not only the crop's own.
            crop: where the square lies in the photo.
            kernel: how to interpolate.
        """
        size = min(values.shape[0], math.ceil(crop.side * _FINENESS))
        self._source = _prepared(values, (size, size), kernel)
        self._from_photo = crop.from_photo(self._source.shape[3])

    def __call__(self, roi: Roi) -> NDArray[np.float32]:
        """The values in a region (h, w) of the photo: (h, w, C) float32, 0 where the square does not reach."""
        rows, columns = roi
        size = (columns.stop - columns.start, rows.stop - rows.start)
        return _sample(self._source, self._from_photo @ _shift(columns.start, rows.start), size)


def crop_to_roi(
    values: NDArray[np.float32],
    crop: Crop,
    photo_size: tuple[int, int],
    kernel: Kernel = "bicubic",
    roi: Roi | None = None,
) -> tuple[Roi, NDArray[np.float32]]:
    """Carry values from the pixels of a crop to those of its photo.

    Args:
        values: (S, S, C) float32 in the crop's square; any S, not only the crop's own.
        crop: where the square lies in the photo.
        photo_size: (width, height) of the photo.
        kernel: how to interpolate.
        roi: the part of the photo to compute; by default all that the crop covers.

    Returns:
        The region, and (h, w, C) float32 values for `photo.pixels[region]`: 0 where the square does not reach.
    """
    region = region_of(crop, photo_size) if roi is None else roi
    return region, CropSampler(values, crop, kernel)(region)


def roi_to_crop(
    values: NDArray[np.float32], crop: Crop, roi: Roi, size: int, kernel: Kernel = "bicubic"
) -> NDArray[np.float32]:
    """Carry values from the pixels of a region of a photo to those of a crop: the inverse of `crop_to_roi`.

    Args:
        values: (h, w, C) float32, one for each pixel of the region.
        crop: where its square lies in the photo.
        roi: the region that the values belong to.
        size: side of the result in pixels.
        kernel: how to interpolate.

    Returns:
        (size, size, C) float32: 0 where the region does not reach.
    """
    height, width = values.shape[:2]
    if not height or not width:
        return np.zeros((size, size, values.shape[2]), dtype=np.float32)
    scale = min(1.0, size / crop.side * _FINENESS)
    small = (math.ceil(width * scale), math.ceil(height * scale))
    source = _prepared(values, small, kernel)
    to_source = np.diag([source.shape[3] / width, source.shape[2] / height, 1.0])
    return _sample(source, to_source @ _shift(-roi[1].start, -roi[0].start) @ crop.to_photo(size), (size, size))


def to_side(planes: NDArray[np.float32], side: int, kernel: Kernel = "bicubic") -> NDArray[np.float32]:
    """A square of values (S, S, C) as (side, side, C): means where it shrinks, by the kernel where it grows."""
    if len(planes) == side:
        return planes.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1), np.float32))[None]
    if side < len(planes):
        scaled = functional.interpolate(tensor, (side, side), mode="area")
    else:
        scaled = functional.interpolate(tensor, (side, side), mode=kernel, align_corners=False)
    return scaled[0].permute(1, 2, 0).numpy()


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _prepared(values: NDArray[np.float32], size: tuple[int, int], kernel: Kernel) -> Tensor:
    """Values (H, W, C) averaged down to a size (w, h), and then enlarged for a smooth kernel: (1, C, h, w)."""
    planes = [_prepared_plane(np.ascontiguousarray(plane), size, kernel) for plane in np.moveaxis(values, 2, 0)]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))[None]


def _prepared_plane(plane: NDArray[np.float32], size: tuple[int, int], kernel: Kernel) -> Image.Image:
    image = Image.fromarray(plane)
    if kernel == "bilinear":
        return image.resize(size, Image.Resampling.BILINEAR)
    factor = _ENLARGEMENT if max(size) < _LARGE else _LARGE_ENLARGEMENT
    enlarged = (size[0] * factor, size[1] * factor)
    return image.resize(size, Image.Resampling.LANCZOS).resize(enlarged, Image.Resampling.BICUBIC)


def _sample(source: Tensor, matrix: Matrix, size: tuple[int, int]) -> NDArray[np.float32]:
    """Values at `matrix @ (x, y, 1)` for each pixel centre (x, y) of a picture of the given size, bilinear."""
    width, height = size
    if not width or not height:
        return np.zeros((height, width, source.shape[1]), dtype=np.float32)
    # To where grid_sample has the edges of the source, -1 and 1.
    scaled = np.diag([2.0 / source.shape[3], 2.0 / source.shape[2]]) @ matrix[:2] - [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    grid = np.empty((height, width, 2), np.float32)
    for axis, (a, b, c) in enumerate(scaled):
        np.add((a * x + c).astype(np.float32), (b * y).astype(np.float32), out=grid[..., axis])
    outside = (np.abs(grid[..., 0]) > 1.0) | (np.abs(grid[..., 1]) > 1.0)
    moved = functional.grid_sample(source, torch.from_numpy(grid)[None], padding_mode="border", align_corners=False)
    values: NDArray[np.float32] = moved[0].permute(1, 2, 0).contiguous().numpy()
    values[outside] = 0.0
    return values
