"""Put an edited crop back where it came from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from faceloom.faces.landmarks import apply
from faceloom.faces.person import around_people
from faceloom.faces.warp import CropSampler, Roi, in_bands, region_around
from faceloom.types import Crop, Mask, Photo, Pixels

_MATCH_SIZE = 128
_MATCH_REACH = 0.12  # standard deviation of the smoothing, in sides of the crop
_MATCH_LIMIT = 48.0  # of 255: more than a drift in colour is meant to be there


def paste(photo: Photo, crop: Crop, edited: Pixels, *, mask: Mask, match_colour: bool) -> tuple[Photo, Mask]:
    """Blend an edited crop into its photo.

    Where a person can be seen in the crop, the background stays the photo's: only what is person before or after the
    edit is put in.

    Several faces are pasted one after the other, each into the photo that the last one gave.

    Args:
        photo: the photo that the crop was cut from.
        crop: the crop before the edit.
        edited: (N, N, 3) uint8 RGB, the crop after it, at any size.
        mask: (M, M) float32 in [0, 1] over the crop, at any size, such as `face_mask` makes.
        match_colour: shift slow changes of colour along the soft edge of the mask back to what they were in the crop.

    Returns:
        The new photo, and the mask in the photo's pixels, (H, W) float32. The photo keeps its bytes where that is 0.
        What of the crop lies outside the photo is dropped.

    Raises:
        ValueError: `edited` or `mask` is not square, or has the wrong type.
    """
    _check(edited, mask)
    mask = around_people(mask, crop, edited)
    width, height = photo.size
    photo_mask = np.zeros((height, width), dtype=np.float32)
    pixels = photo.pixels.copy()
    values = edited.astype(np.float32)
    if match_colour:
        values += _colour_drift(photo, crop, values, mask)
    weigh = CropSampler(mask.astype(np.float32)[..., None], crop, "bilinear")
    sample = CropSampler(values, crop)

    def blend(band: Roi) -> None:
        soft = np.clip(weigh(band), 0, 1)
        photo_mask[band] = soft[..., 0]
        before = pixels[band]
        # Where the mask is 0 this rounds back to the byte that was there.
        pixels[band] = np.rint(before + (sample(band) - before) * soft).clip(0, 255).astype(np.uint8)

    in_bands(blend, _support(mask, crop, photo.size))
    return replace(photo, pixels=pixels), photo_mask


def _check(edited: Pixels, mask: Mask) -> None:
    if edited.ndim != 3 or edited.shape[0] != edited.shape[1] or edited.shape[2] != 3 or edited.dtype != np.uint8:
        raise ValueError(f"edited must be (N, N, 3) uint8, not {edited.shape} {edited.dtype}")
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        raise ValueError(f"mask must be (M, M), not {mask.shape}")


def _support(mask: Mask, crop: Crop, photo_size: tuple[int, int]) -> Roi:
    """A region of the photo outside which the mask is 0."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    size = mask.shape[0]
    # Interpolation reaches a pixel further, of whichever picture is coarser.
    reach = 2 * max(1.0, size / crop.side)
    x, y = np.array([columns[0] - reach, columns[-1] + 1 + reach]), np.array([rows[0] - reach, rows[-1] + 1 + reach])
    corners = apply(crop.to_photo(size), np.array([[x[0], y[0]], [x[0], y[1]], [x[1], y[1]], [x[1], y[0]]]))
    return region_around(corners, photo_size)


def _colour_drift(photo: Photo, crop: Crop, edited: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """What to add to an edited crop, so that along the mask's soft edge its slow colours are the crop's again.

    Normalised convolution (Knutsson, Westin 1993): differences along the edge, each spread as far as its neighbours
    let it, so that a drift that differs from cheek to cheek is followed.

    Returns:
        (N, N, 3) float32.
    """
    size = _MATCH_SIZE
    before = _resized(crop.pixels.astype(np.float32), size)
    after = _resized(edited, size)
    soft = _resized(mask.astype(np.float32)[..., None], size)
    edge = soft * (1 - soft) * _inside_photo(photo, crop, size)
    if edge.sum() < 1.0:  # a mask without a soft edge inside the photo has nothing to compare along
        return np.zeros((1, 1, 3), dtype=np.float32)
    sigma = _MATCH_REACH * size
    difference = np.clip(before - after, -_MATCH_LIMIT, _MATCH_LIMIT) * edge
    weight = ndimage.gaussian_filter(edge, (sigma, sigma, 0))
    spread = ndimage.gaussian_filter(difference, (sigma, sigma, 0))
    # Far from any edge the mean over the whole edge takes over.
    faith = 0.05 * float(weight.max())
    mean = difference.sum(axis=(0, 1)) / edge.sum()
    drift: NDArray[np.float32] = (spread + faith * mean) / (weight + faith)
    return _resized(drift, edited.shape[0])


def _inside_photo(photo: Photo, crop: Crop, size: int) -> NDArray[np.float32]:
    """(size, size, 1): 1 where the crop shows the photo, 0 where it was filled."""
    width, height = photo.size
    centres = np.arange(size) + 0.5
    x, y = np.meshgrid(centres, centres)
    placed = crop.to_photo(size) @ np.stack([x.ravel(), y.ravel(), np.ones(size * size)])
    inside = (placed[0] >= 0) & (placed[0] <= width) & (placed[1] >= 0) & (placed[1] <= height)
    return np.asarray(inside.reshape(size, size, 1), dtype=np.float32)


def _resized(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """(S, S, C) at another size, antialiased."""
    channels = [
        np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize((size, size), Image.Resampling.BILINEAR))
        for channel in np.moveaxis(values, 2, 0)
    ]
    return np.stack(channels, axis=2)
