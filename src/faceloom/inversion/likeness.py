"""Whether a face reconstructs as faces do: a word of warning that is measured.

An encoder knows faces, and what it makes of half a face, of an animal or of a drawing is far from the picture. How far
is far depends on the model, so each model may carry a file with what ordinary faces reach; `faceloom benchmark
likeness` writes it. A model without one, or with one for another generator, gets no word.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.installed import find, is_model_folder
from faceloom.encoders.protocol import Encoder
from faceloom.errors import CheckpointError, UsageError
from faceloom.files import replacing
from faceloom.generators.protocol import Generator
from faceloom.imaging.convert import to_images
from faceloom.inversion.losses import pixel_distance, shared_features
from faceloom.inversion.protocol import fitted
from faceloom.types import Pixels

FILE = "likeness.json"
EMBEDDED = "default"
POOR = 0.97
"""A face is called poor where this share of ordinary faces reconstructs better, in features or in pixels."""
_POINTS = 101


@dataclass(frozen=True)
class Likeness:
    """How well the encoder alone reconstructs a face, beside ordinary faces.

    Attributes:
        perceptual, pixel: distances between the face and its reconstruction.
        share: how many of the ordinary faces reconstruct better, 0 to 1; of the two distances, the worse.
        poor: whether that is so many that edits may fail.
    """

    perceptual: float
    pixel: float
    share: float
    poor: bool

    def __str__(self) -> str:
        return (
            f"this face reconstructs worse than {self.share:.0%} of ordinary faces (distance {self.perceptual:.2f}): "
            "a drawing, half a face, an animal, or turned away? Edits may fail"
        )


@dataclass(frozen=True)
class Calibration:
    """What ordinary faces reach with one model.

    Attributes:
        generator: its fingerprint.
        faces: how many were measured.
        perceptual, pixel: their distances, as percentiles from 0 to 100.
    """

    generator: str
    faces: int
    perceptual: tuple[float, ...]
    pixel: tuple[float, ...]

    def judge(self, perceptual: float, pixel: float) -> Likeness:
        """Place a face among those."""
        pairs = ((self.perceptual, perceptual), (self.pixel, pixel))
        share = max(min(bisect.bisect_left(known, value) / (len(known) - 1), 1.0) for known, value in pairs)
        return Likeness(perceptual, pixel, share, share >= POOR)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def save(self, path: Path) -> None:
        """Write as JSON; raises UsageError if that is not possible."""
        with replacing(path) as file:
            file.write((json.dumps(self.to_dict()) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """The inverse of `save`.

        Raises:
            CheckpointError: if the file is not one.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            known = [tuple(float(value) for value in data[name]) for name in ("perceptual", "pixel")]
            found = cls(str(data["generator"]), int(data["faces"]), known[0], known[1])
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path} does not say how faces reconstruct ({error}); write it with: faceloom benchmark likeness"
            raise CheckpointError(message) from error
        if any(len(values) < 2 or list(values) != sorted(values) for values in known):
            raise CheckpointError(f"{path} is damaged; write it with: faceloom benchmark likeness")
        return found


@torch.no_grad()
def encoder_distances(generator: Generator, encoder: Encoder, images: Tensor) -> tuple[Tensor, Tensor]:
    """Perceptual and pixel distance of images (N, 3, H, W) from what the encoder alone makes of them, (N,) each."""
    wanted = fitted(images, generator)
    drawn = generator.synthesize(encoder(images)).clamp(-1.0, 1.0)
    return shared_features()(drawn, wanted), pixel_distance(drawn, wanted)


def calibrate(generator: Generator, encoder: Encoder, faces: Sequence[Pixels]) -> Calibration:
    """Measure ordinary faces.

    Args:
        generator: of the model.
        encoder: of the model.
        faces: at least 8 aligned faces (S, S, 3) uint8 RGB, S the same for all.

    Raises:
        UsageError: if there are too few.
    """
    if len(faces) < 8:
        raise UsageError(f"{len(faces)} faces are too few to say what is ordinary; give 8 or more")
    pairs = [encoder_distances(generator, encoder, to_images(face)) for face in faces]
    percents = np.linspace(0, 100, _POINTS)
    perceptual, pixel = (
        tuple(round(float(value), 4) for value in np.percentile([float(pair[i]) for pair in pairs], percents))
        for i in (0, 1)
    )
    return Calibration(generator.fingerprint, len(faces), perceptual, pixel)


def calibration_file(model: str) -> Path:
    """Where the file of a model is, or would be; `model` is its id or folder."""
    if model == EMBEDDED:
        with resources.as_file(resources.files("faceloom") / "assets" / EMBEDDED) as folder:
            return folder / FILE
    found = None if is_model_folder(Path(model)) else find(model)
    return (Path(model) if found is None else found.folder) / FILE


def assess(model: str, generator: Generator, encoder: Encoder | None, images: Tensor) -> list[Likeness | None]:
    """How well faces reconstruct, beside ordinary ones.

    Args:
        model: id or folder.
        generator: of the model.
        encoder: of the model; None where it has none.
        images: (N, 3, H, W) aligned faces in [-1, 1].

    Returns:
        one for each face; None where the model has no encoder, or does not say what is ordinary.

    Raises:
        CheckpointError: if it says so in a damaged file.
    """
    known = None if encoder is None else _known(calibration_file(model), generator.fingerprint)
    if known is None or encoder is None:
        return [None] * len(images)
    perceptual, pixel = encoder_distances(generator, encoder, images)
    return [known.judge(float(one), float(two)) for one, two in zip(perceptual, pixel, strict=True)]


@lru_cache(maxsize=4)
def _known(path: Path, fingerprint: str) -> Calibration | None:
    found = Calibration.load(path) if path.is_file() else None
    return found if found is not None and found.generator == fingerprint else None
