"""Saving stickers: pictures with transparency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.errors import UsageError
from faceloom.files import replacing

_FORMATS = {".png": "PNG", ".webp": "WEBP"}


def check_sticker(path: Path | None) -> None:
    """Whether a sticker could be saved there; raises UsageError if its format has no transparency."""
    if path is not None and path.suffix.lower() not in _FORMATS:
        raise UsageError(f"a sticker is transparent around the head, and {path.suffix!r} cannot be; save it as .png")


def save_sticker(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (S, S, 4) uint8 RGBA as PNG or WebP; raises UsageError if that is not possible."""
    check_sticker(path)
    with replacing(path) as file:
        Image.fromarray(pixels).save(file, _FORMATS[path.suffix.lower()])
