"""Moving pictures: mp4 by FFmpeg (extra `video`), gif and webp by Pillow."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from faceloom.errors import MissingExtraError, UsageError
from faceloom.files import check_place, replacing
from faceloom.imaging.photos import AI_NOTE
from faceloom.types import Pixels

SUFFIXES = (".mp4", ".gif", ".webp")
MOST_BYTES = 1 << 30
"""Of frames in memory: Pillow wants them all at once."""


def check_video_output(path: Path) -> None:
    """Raise UsageError if a video cannot be written to `path`: another suffix, or no such folder."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{str(path)!r} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    check_place(path)
    if path.suffix.lower() == ".mp4":
        _ffmpeg()


def check_film(path: Path, rate: float, count: int, size: tuple[int, int]) -> None:
    """Raise UsageError if a film of `count` frames, (width, height), at this rate is more than the format can do."""
    if path.suffix.lower() == ".gif" and rate > 50:
        raise UsageError(
            f"a gif shows at most 50 frames a second, not {rate:g}; lower --rate, or save as .webp or .mp4"
        )
    if path.suffix.lower() != ".mp4" and 3 * count * size[0] * size[1] > MOST_BYTES:
        raise UsageError(_too_much(path))


def save_video(
    frames: Iterable[Pixels],
    path: Path,
    *,
    rate: float = 25.0,
    note: str | None = AI_NOTE,
    xmp: bytes | None = None,
) -> int:
    """Write frames as a video, complete or not at all; the suffix chooses the format.

    Args:
        frames: (H, W, 3) uint8 RGB of one size; an odd row or column is left out of an mp4.
        path: ends in .mp4, .gif or .webp.
        rate: frames a second; a gif cannot show more than 50.
        note: a comment for people, in .mp4 and .gif.
        xmp: an XMP packet, in .webp.

    Returns:
        The number of frames.

    Raises:
        UsageError: no frames, or a place that cannot be written.
        MissingExtraError: an mp4 without the extra `video`.
    """
    check_video_output(path)
    with replacing(path) as file:
        if path.suffix.lower() == ".mp4":
            count = _write_mp4(frames, file, rate, note)
        else:
            comment = {} if note is None else {"comment": note.encode()}
            packet = {} if xmp is None else {"xmp": xmp}
            options = comment if path.suffix.lower() == ".gif" else {"quality": 90, "method": 4, **packet}
            count = _write_pillow(frames, file, path, rate, options)
        if not count:
            raise UsageError("a video needs at least one frame")
    return count


def _write_mp4(frames: Iterable[Pixels], file: IO[bytes], rate: float, note: str | None) -> int:
    av = _ffmpeg()
    count = 0
    with av.open(file, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if note is not None:
            container.metadata["comment"] = note
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "fast"}
        for pixels in frames:
            height, width = (side - side % 2 for side in pixels.shape[:2])
            if count == 0:
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
            count += 1
        if count:
            container.mux(stream.encode(None))
    return count


def _write_pillow(frames: Iterable[Pixels], file: IO[bytes], path: Path, rate: float, options: dict[str, Any]) -> int:
    pictures, held = [], 0
    for pixels in frames:
        held += pixels.nbytes
        if held > MOST_BYTES:
            raise UsageError(_too_much(path))
        pictures.append(Image.fromarray(pixels))
    if pictures:
        kind, unit = ("GIF", 10) if path.suffix.lower() == ".gif" else ("WEBP", 1)
        ends = [round(1000 * number / (rate * unit)) * unit for number in range(len(pictures) + 1)]
        shown = [end - start for start, end in itertools.pairwise(ends)]
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=shown, loop=0, **options)
    return len(pictures)


def _too_much(path: Path) -> str:
    return (
        f"so many frames of this size cannot be held for {path.suffix}; take fewer --seconds or a lower --rate, the "
        "face alone, or .mp4"
    )


def _ffmpeg() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            "mp4 needs the extra `video`: pip install 'faceloom[video]'; .gif and .webp need nothing"
        ) from error
    return av
