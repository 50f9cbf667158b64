"""Pictures as bytes, for the page."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from faceloom.types import Photo, Pixels


def to_jpeg(photo: Photo | Pixels, quality: int = 88) -> bytes:
    """A JPEG of a photo, its colour profile included, or of (H, W, 3) uint8 RGB pixels."""
    pixels, profile = (photo.pixels, photo.icc_profile) if isinstance(photo, Photo) else (photo, None)
    buffer = io.BytesIO()
    # 4:4:4 from 90 on: red lips and blue eyes on skin show the difference.
    subsampling = "4:4:4" if quality >= 90 else "4:2:0"
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=subsampling, icc_profile=profile)
    return buffer.getvalue()


def shrunk(photo: Photo, side: int) -> Photo:
    """The photo with its longer side at most `side` pixels."""
    width, height = photo.size
    share = side / max(width, height)
    if share >= 1.0:
        return photo
    size = max(1, round(width * share)), max(1, round(height * share))
    image = Image.fromarray(photo.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Photo(np.asarray(image), photo.icc_profile, photo.name)


def in_a_row(cells: list[Pixels]) -> Pixels:
    """Cells of one size, side by side."""
    return np.concatenate(cells, axis=1)
