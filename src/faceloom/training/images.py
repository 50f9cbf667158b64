"""Faces to train on: read from folders and zips, aligned where asked, kept in memory as bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from faceloom.errors import FaceError, PhotoError, TrainingError
from faceloom.files import replacing
from faceloom.imaging.photos import upright_rgb
from faceloom.training.copies import repeats
from faceloom.types import Crop, Photo

LABELS_FILE = "labels.csv"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
HELD_OUT_ONE_IN = 25
_MAX_SIDE = 4096


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Aligned faces in memory.

    Attributes:
        pixels: (N, S, S, 3) uint8 RGB.
        landmarks: (N, 68, 2) in the aligned picture, as shares of its side.
        names: where each came from, "source/file".
        skipped: how many pictures were left out: unreadable, without a usable face, or another's copy.
    """

    pixels: NDArray[np.uint8]
    landmarks: NDArray[np.float64]
    names: tuple[str, ...]
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """(N,) which faces are never trained on: one in 25, by name, so that it is the same in every run."""
        return np.array([zlib.crc32(name.encode()) % HELD_OUT_ONE_IN == 0 for name in self.names])

    def subset(self, chosen: NDArray[np.bool_]) -> FaceSet:
        """The faces where `chosen` (N,) is true."""
        names = tuple(name for name, keep in zip(self.names, chosen, strict=True) if keep)
        return FaceSet(self.pixels[chosen], self.landmarks[chosen], names, self.skipped)

    @classmethod
    def joined(cls, sets: Sequence[FaceSet]) -> FaceSet:
        """All faces of sets of one resolution."""
        if len(sets) == 1:
            return sets[0]
        return cls(
            np.concatenate([one.pixels for one in sets]),
            np.concatenate([one.landmarks for one in sets]),
            tuple(name for one in sets for name in one.names),
            sum(one.skipped for one in sets),
        )

    def save(self, path: Path) -> None:
        """Write as an npz file without compression."""
        names, skipped = np.array(self.names), np.array(self.skipped)
        with replacing(path) as file:
            np.savez(file, pixels=self.pixels, landmarks=self.landmarks, names=names, skipped=skipped)

    @classmethod
    def load(cls, path: Path) -> FaceSet:
        """The inverse of `save`; raises TrainingError if the file is not one."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                names = tuple(str(name) for name in data["names"])
                found = cls(data["pixels"], data["landmarks"], names, int(data["skipped"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise TrainingError(f"{str(path)!r} is no file of faces as `faceloom train` writes it ({error})") from error
        count, side = len(names), found.pixels.shape[-2] if found.pixels.ndim == 4 else 0
        shapes = found.pixels.shape, found.landmarks.shape
        if not count or found.pixels.dtype != np.uint8 or shapes != ((count, side, side, 3), (count, 68, 2)):
            raise TrainingError(f"{str(path)!r} does not hold faces as `faceloom train` writes them")
        return found


def pictures(source: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The pictures of a folder (searched through) or zip, sorted by name, each with a way to read its bytes.

    Raises:
        TrainingError: if the source is neither.
    """
    if source.is_dir():
        for path in sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES):
            yield path.relative_to(source).as_posix(), path.read_bytes
    elif source.is_file() and zipfile.is_zipfile(source):
        archive = zipfile.ZipFile(source)  # the readers close over it
        for name in sorted(name for name in archive.namelist() if Path(name).suffix.lower() in SUFFIXES):
            yield name, partial(archive.read, name)
    else:
        raise TrainingError(f"{source} is neither a folder of pictures nor a zip of them")


def table(source: Path) -> str | None:
    """The text of `labels.csv` in a folder or zip of pictures; None where there is none; raises TrainingError."""
    if source.is_dir():
        path = source / LABELS_FILE
        content = path.read_bytes() if path.is_file() else None
    else:
        with zipfile.ZipFile(source) as archive:
            content = archive.read(LABELS_FILE) if LABELS_FILE in archive.namelist() else None
    try:
        return None if content is None else content.decode("utf-8-sig")  # spreadsheets put a mark before it
    except UnicodeDecodeError as error:
        raise TrainingError(f"{LABELS_FILE} of {source} is not in UTF-8; save it as that") from error


def load_faces(
    sources: Sequence[Path],
    resolution: int,
    *,
    drawn: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Find and align the largest face of every picture of the sources.

    Grey pictures are left out: a handful would teach a colour model to drain faces of colour. Of a photo that is there
    more than once, mirrored or not, the sharpest stays.

    Args:
        sources: folders or zips of pictures.
        resolution: side to bring the faces to.
        drawn: whether they are drawings, which may be grey, and of one hand are alike without being copies.
        progress: called with the number of pictures read so far, and of all.

    Raises:
        TrainingError: if a source cannot be read, or no face is usable.
    """
    stems = Counter(source.stem for source in sources)
    if stems and max(stems.values()) > 1:  # faces and their labels are told apart by it
        raise TrainingError(f"two sources are called {stems.most_common(1)[0][0]!r}; rename one of them")
    found: list[tuple[str, Crop]] = []
    every = [(f"{source.stem}/{name}", load) for source in sources for name, load in pictures(source)]
    for number, (name, load) in enumerate(every, start=1):
        with suppress(PhotoError, FaceError):
            found.append((name, _align(_decode(load(), name), name, resolution, drawn=drawn)))
        if progress is not None:
            progress(number, len(every))
    if not found:
        raise TrainingError(f"no usable face in {', '.join(map(str, sources))} ({len(every)} pictures read)")
    crops = [crop for _, crop in found]
    landmarks = np.stack([_to_crop(crop) for crop in crops])
    names = tuple(name for name, _ in found)
    pixels = np.stack([crop.pixels for crop in crops])
    faces = FaceSet(pixels, landmarks, names, len(every) - len(found))
    again = np.zeros(len(names), np.bool_) if drawn else repeats(pixels)
    return replace(faces.subset(~again), skipped=faces.skipped + int(again.sum())) if again.any() else faces


def _decode(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if max(picture.size) > _MAX_SIDE:
                picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
            return np.asarray(upright_rgb(picture)[0])
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PhotoError(f"cannot read {name}: {error}") from error


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    return float(spread.mean()) < 6.0


def _align(pixels: NDArray[np.uint8], name: str, resolution: int, *, drawn: bool) -> Crop:
    if not drawn and _is_grey(pixels):
        raise PhotoError(f"{name} has no colour")
    # Imported here: a machine that trains on packed faces needs no detector.
    from faceloom.faces.align import align
    from faceloom.faces.detect import choose, detect

    photo = Photo(pixels, name=name)
    return align(photo, choose(detect(photo), None, photo), resolution)


def _to_crop(crop: Crop) -> NDArray[np.float64]:
    points = np.c_[crop.face.landmarks, np.ones(len(crop.face.landmarks))]
    moved: NDArray[np.float64] = (points @ crop.from_photo(1).T)[:, :2]
    return moved


class Batches:
    """Endless shuffled batches of faces as images, mirrored at random, with light jittered.

    The jitter (gain per channel within ±6 %, gamma within ±15 %) stands in for the white balances and exposures of
    casual photos that generated faces lack.

    The faces lie on the device as bytes, and all is done there: a batch costs no transfer.

    Args:
        faces: to draw from, with replacement.
        batch: images at a time.
        seed: of order and jitter; a device has its own random numbers.
        device: where the faces lie and the batches are made.
    """

    def __init__(self, faces: FaceSet, batch: int, seed: int, device: torch.device | str = "cpu") -> None:
        self.pixels = torch.from_numpy(faces.pixels).to(device)
        self.batch = batch
        self.random = torch.Generator(device).manual_seed(seed)

    def __next__(self) -> Tensor:
        """(batch, 3, S, S) in [-1, 1]."""
        index = torch.randint(len(self.pixels), (self.batch,), generator=self.random, device=self.random.device)
        images = self.pixels[index].permute(0, 3, 1, 2).float() / 255.0
        mirrored = self._uniform(self.batch) < 0.5
        images = torch.where(mirrored.reshape(-1, 1, 1, 1), images.flip(3), images)
        gamma = 1.0 + 0.15 * (2.0 * self._uniform(self.batch, 1, 1, 1) - 1.0)
        gain = 1.0 + 0.06 * (2.0 * self._uniform(self.batch, 3, 1, 1) - 1.0)
        return ((images.clamp_min(1e-4) ** gamma) * gain).clamp(0.0, 1.0) * 2.0 - 1.0

    def __iter__(self) -> Batches:
        return self

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.random.device)
