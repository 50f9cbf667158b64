"""Save pictures and films that say what they are."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.errors import UsageError
from faceloom.files import drafted, replacing
from faceloom.imaging.photos import check_output, check_quality, write_image
from faceloom.imaging.video import check_video_output, save_video
from faceloom.provenance.claims import Claim
from faceloom.provenance.credentials import MIMES, can_sign, sign
from faceloom.types import Photo, Pixels

Mark = Literal["credentials", "metadata", "none"]
"""How a file says what it is: a signed C2PA manifest and metadata, metadata alone, or not at all."""
TRANSPARENT = (".png", ".webp")


def mark_in_use() -> Literal["credentials", "metadata"]:
    """How files are marked by this installation."""
    return "credentials" if can_sign() else "metadata"


def save_picture(
    picture: Photo | NDArray[np.uint8],
    path: str | os.PathLike[str],
    claim: Claim | None,
    *,
    quality: int = 95,
    icc_profile: bytes | None = None,
) -> Mark:
    """Save a picture, complete or not at all, with what it says of itself and nothing of the original's metadata.

    Args:
        picture: a photo; or (H, W, 4) uint8 RGBA, which only .png and .webp can hold.
        path: its suffix chooses the format: .jpg, .jpeg, .png, .webp, .tif or .tiff.
        claim: what it says; None for nothing.
        quality: of JPEG and WebP, from 1 to 100.
        icc_profile: the colour profile of an RGBA picture; photos have their own.

    Returns:
        How the file says it.

    Raises:
        UsageError: as `save_photo`; or the key of this installation cannot be had.
    """
    path = Path(path)
    form = check_output(path)
    check_quality(quality)
    if isinstance(picture, Photo):
        image, profile = Image.fromarray(picture.pixels), picture.icc_profile
    else:
        image, profile = Image.fromarray(picture), icc_profile
        if path.suffix.lower() not in TRANSPARENT:
            raise UsageError(f"{path.suffix!r} cannot be transparent; save it as .png or .webp")
    note, xmp = (None, None) if claim is None else (claim.note, claim.xmp())
    encoded = io.BytesIO()
    write_image(image, encoded, form, icc_profile=profile, quality=quality, note=note, xmp=xmp)
    mark: Mark = "none" if claim is None else mark_in_use()
    content: bytes | memoryview = encoded.getbuffer()
    if claim is not None and mark == "credentials":
        content = sign(encoded, MIMES[path.suffix.lower()], claim)
    with replacing(path) as file:
        file.write(content)
    return mark


def save_film(frames: Iterable[Pixels], path: Path, claim: Claim | None, *, rate: float = 25.0) -> Mark:
    """Save frames as a film, complete or not at all, with what it says of itself; see `save_video`."""
    check_video_output(path)
    note, xmp = (None, None) if claim is None else (claim.note, claim.xmp())
    with drafted(path) as draft:
        save_video(frames, draft, rate=rate, note=note, xmp=xmp)
        mark: Mark = "none" if claim is None else mark_in_use()
        if claim is not None and mark == "credentials":
            with draft.open("rb") as content:
                signed = sign(content, MIMES[path.suffix.lower()], claim)
            with replacing(draft) as file:
                file.write(signed)
    return mark
