"""Aligned faces as one small file, to carry a data set to a machine that has no face detector.

A zip with a WebP picture for each face and `faces.npz`: names (N,), landmarks (N, 68, 2) as float16 shares of the side,
the resolution, and how many pictures were skipped.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceloom.errors import TrainingError
from faceloom.files import replacing
from faceloom.training.images import FaceSet, load_faces

INDEX_FILE = "faces.npz"
QUALITIES = (95, 92, 90, 87, 84, 80, 75, 70, 60, 50, 40, 30)
_TRIED = 96
_ENTRY = 240
"""Bytes that the zip format itself spends on a picture, generously."""


def pack(
    faces: FaceSet, path: Path, max_bytes: int, *, progress: Callable[[int, int], None] | None = None
) -> tuple[int, int]:
    """Write faces at the best quality that fits.

    Args:
        faces: to write.
        path: the zip.
        max_bytes: size that the file must not exceed.
        progress: called with the number of faces written so far, and of all.

    Returns:
        The quality of the pictures, 1 to 100, and the size of the file in bytes.

    Raises:
        TrainingError: if even the lowest quality is too large.
    """
    index = _index(faces)
    room = max_bytes - len(index) - _ENTRY * (len(faces) + 1)
    tried = faces.pixels[:: max(1, len(faces) // _TRIED)]
    for quality in QUALITIES:
        guess = sum(len(_encode(one, quality)) for one in tried) / len(tried) * len(faces)
        if guess > room:
            continue
        encoded = _encode_all(faces, quality, room, progress)
        if encoded is not None:
            with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                archive.writestr(INDEX_FILE, index)
                for number, data in enumerate(encoded):
                    archive.writestr(_entry(number), data)
            return quality, path.stat().st_size
    raise TrainingError(
        f"{len(faces)} faces of {faces.pixels.shape[1]} px do not fit {max_bytes / 2**20:.0f} MiB; "
        "give a larger --max-mib or a smaller --resolution"
    )


def is_packed(source: Path) -> bool:
    """Whether a source of pictures is a file that `pack` wrote."""
    if not source.is_file() or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return INDEX_FILE in archive.namelist()


def packed_side(source: Path) -> int:
    """The side in pixels of the faces in a file that `pack` wrote; raises TrainingError if it is damaged."""
    with _reading(source) as (_, index):
        return int(index["resolution"])


def gather(sources: Sequence[Path], resolution: int, *, progress: Callable[[int, int], None] | None = None) -> FaceSet:
    """The faces of sources of any kind: packed ones are read, in others faces are found; see `load_faces`.

    Raises:
        TrainingError: if a source cannot be read, or no face is usable.
    """
    loose = [source for source in sources if not is_packed(source)]
    sets = [unpack(source, resolution) for source in sources if source not in loose]
    if loose or not sets:
        sets.append(load_faces(loose, resolution, progress=progress))
    return FaceSet.joined(sets)


def unpack(path: Path, resolution: int) -> FaceSet:
    """Read packed faces.

    Args:
        path: the zip.
        resolution: side to bring them to: theirs, or a half, a quarter, ... of it.

    Raises:
        TrainingError: if the file is damaged, or its faces are smaller, or of a size that `resolution` does not divide.
    """
    with _reading(path) as (archive, index):
        names = tuple(str(name) for name in index["names"])
        landmarks, skipped = index["landmarks"].astype(np.float64), int(index["skipped"])
        side = int(index["resolution"])
        if side % resolution:
            raise TrainingError(f"the faces in {path} are {side} px, not {resolution}; pack them anew")
        encoded = [archive.read(_entry(number)) for number in range(len(names))]
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            pixels = list(pool.map(lambda data: _decode(data, side, resolution), encoded))
    if not names or landmarks.shape[0] != len(names):
        raise TrainingError(f"{path} is not a file of packed faces, or damaged; pack it anew")
    return FaceSet(np.stack(pixels), landmarks, names, skipped)


@contextmanager
def _reading(path: Path) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, NDArray[Any]]]]:
    """A file of packed faces and its index; what goes wrong with either is a TrainingError."""
    try:
        with (
            zipfile.ZipFile(path) as archive,
            np.load(io.BytesIO(archive.read(INDEX_FILE)), allow_pickle=False) as index,
        ):
            yield archive, index
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is not a file of packed faces, or damaged: {error}; pack it anew") from error


def _entry(number: int) -> str:
    return f"{number:06d}.webp"


def _index(faces: FaceSet) -> bytes:
    data = io.BytesIO()
    np.savez_compressed(
        data,
        names=np.array(faces.names),
        landmarks=faces.landmarks.astype(np.float16),
        skipped=np.array(faces.skipped),
        resolution=np.array(faces.pixels.shape[1]),
    )
    return data.getvalue()


def _encode_all(
    faces: FaceSet, quality: int, room: int, progress: Callable[[int, int], None] | None
) -> list[bytes] | None:
    """All pictures; None where they turn out to need more than `room` bytes."""
    encoded: list[bytes] = []
    for number, pixels in enumerate(faces.pixels, start=1):
        encoded.append(_encode(pixels, quality))
        room -= len(encoded[-1])
        if room < 0:
            return None
        if progress is not None:
            progress(number, len(faces))
    return encoded


def _encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "webp", quality=quality, method=4)
    return data.getvalue()


def _decode(data: bytes, side: int, resolution: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=("webp",)) as picture:
        if picture.size != (side, side):
            raise ValueError(f"a picture is {picture.size}, not {side} px")
        small = picture.convert("RGB")
    return np.asarray(small if side == resolution else small.reduce(side // resolution))
