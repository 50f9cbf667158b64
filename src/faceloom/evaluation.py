"""How good a model is, on faces that it was not trained on: one report, two sheets.

Fréchet distance (Heusel et al. 2017) and precision and recall (Kynkäänniemi et al. 2019), both in the features of a
frozen EfficientNet-Lite0 instead of Inception, so that they compare only with values made here; beside them the same
between two halves of the real faces, the floor that a perfect generator would reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from faceloom.editor import draw
from faceloom.encoders.features import EfficientNetFeatures
from faceloom.errors import UsageError
from faceloom.imaging.convert import image_batches, resized, to_images, to_pixels
from faceloom.imaging.sheets import grid
from faceloom.inversion.protocol import Inverter
from faceloom.metrics.coverage import precision_recall
from faceloom.metrics.frechet import frechet_distance, pooled_features
from faceloom.metrics.identity import SAME_PERSON, IdentityJudge, distance
from faceloom.metrics.reconstruction import perceptual_distance, psnr, ssim
from faceloom.model import Model
from faceloom.types import Pixels

BATCH = 32
FEATURE_SIZE = 128
"""All pictures are brought to this side before features are read, so that resolutions do not differ by themselves."""


@dataclass(frozen=True)
class Quality:
    """What `evaluate_samples` and `evaluate_reconstruction` measured, as rows: (what, value, floor or note)."""

    rows: tuple[tuple[str, str, str], ...]

    def markdown(self) -> str:
        """The table."""
        lines = ["| measure | value | real against real |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {value} | {note} |" for what, value, note in self.rows)])


def evaluate_samples(
    model: Model,
    real: Pixels,
    *,
    truncation: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Random faces against real ones.

    Half of the real faces are the reference; the other half gives the floor, and as many faces are drawn.

    Args:
        model: whose generator and mapping to judge.
        real: (N, S, S, 3) uint8 RGB, aligned faces; at least 8.
        truncation: of the drawn faces.
        seed: of the drawn faces, and of the halves.
        progress: called with the number of pictures read so far, and of all.

    Raises:
        UsageError: too few faces.
    """
    if len(real) < 8:
        raise UsageError(f"{len(real)} faces are too few to compare with; give at least 8, better hundreds")
    order = np.random.default_rng(seed).permutation(len(real))
    half = len(real) // 2
    counted = _Count(3 * half, progress)
    network = EfficientNetFeatures((), pooled=True)

    def seen(faces: Pixels) -> Tensor:
        return pooled_features(
            (resized(images, FEATURE_SIZE) for images in counted(image_batches(faces, BATCH))), network
        )

    first, second = (seen(real[chosen]) for chosen in (order[:half], order[half : 2 * half]))
    drawn = seen(samples(model, half, truncation, seed))
    got, floor = precision_recall(drawn, first), precision_recall(second, first)
    apart, lowest = frechet_distance(drawn, first), frechet_distance(second, first)
    return Quality(
        (
            (f"Fréchet distance, {half} samples against {half} faces", f"{apart:.1f}", f"{lowest:.1f}"),
            ("ratio to the floor", f"{apart / max(lowest, 1e-12):.2f}", "1.00"),
            ("precision", f"{got.precision:.3f}", f"{floor.precision:.3f}"),
            ("recall", f"{got.recall:.3f}", f"{floor.recall:.3f}"),
        )
    )


def evaluate_reconstruction(
    model: Model,
    inverter: Inverter,
    faces: Pixels,
    *,
    kind: str = "faces",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Quality, Pixels]:
    """Real faces against what the model makes of them.

    Args:
        model: to judge.
        inverter: how codes are found.
        faces: (N, S, S, 3) uint8 RGB, aligned faces of at least the generator's resolution.
        kind: what to call them in the table.
        progress: called with the number of faces done, and of all.

    Returns:
        The measures, and the reconstructions (N, R, R, 3) uint8 RGB.
    """
    size = model.generator.resolution
    counted = _Count(len(faces), progress)
    features, judge = EfficientNetFeatures(), IdentityJudge()
    parts, measured = [], []
    for images in counted(image_batches(faces, BATCH)):  # all at once would take tens of gigabytes
        parts.append(np.stack(draw(model, inverter.invert(images).codes.detach())))
        shown, wanted = to_images(parts[-1]), resized(images, size)
        with torch.no_grad():
            apart = perceptual_distance(shown, wanted, features)
        measured.append(torch.stack([psnr(shown, wanted), ssim(shown, wanted), apart]))
    drawn = np.concatenate(parts)
    peak, structure, far = (float(row.mean()) for row in torch.cat(measured, dim=1))
    pairs = zip(drawn, faces, strict=True)
    identity = np.array([distance(judge.embed(_large(a)), judge.embed(_large(b))) for a, b in pairs])
    rows = (
        (f"PSNR at {size} px, dB, {len(faces)} {kind}", f"{peak:.2f}", "∞"),
        ("SSIM", f"{structure:.3f}", "1"),
        ("perceptual distance", f"{far:.3f}", "0"),
        ("identity distance (dlib)", f"{identity.mean():.3f}", "0"),
        (f"same person (distance < {SAME_PERSON})", f"{(identity < SAME_PERSON).mean():.0%}", "100%"),
    )
    return Quality(rows), drawn


def samples(model: Model, count: int, truncation: float, seed: int) -> Pixels:
    """Random faces (count, R, R, 3) uint8 RGB; the same for the same seed."""
    z = torch.randn(count, model.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return np.concatenate(
            [np.stack(draw(model, model.generator.map(one, truncation=truncation))) for one in torch.split(z, BATCH)]
        )


def sample_sheet(model: Model, truncation: float, *, count: int = 64, seed: int = 0) -> Pixels:
    """`count` random faces in rows of eight, to be looked at."""
    pictures = list(samples(model, count, truncation, seed))
    rows = [pictures[start : start + 8] for start in range(0, count, 8)]
    return grid(rows, None, None, cell=max(96, model.generator.resolution))


def reconstruction_sheet(faces: Pixels, drawn: Pixels, *, columns: int = 8, rows: int = 4) -> Pixels:
    """Faces above their reconstructions, to be looked at."""
    shown = min(len(faces), columns * rows)
    table = []
    for start in range(0, shown, columns):
        table += [list(faces[start : start + columns]), list(drawn[start : start + columns])]
    return grid(table, None, None, cell=max(96, drawn.shape[1]))


def _large(face: Pixels) -> Pixels:
    """A face large enough for the identity network's own chip of 150 px."""
    return face if face.shape[0] >= 256 else to_pixels(resized(to_images(face[None]), 256))[0]


class _Count:
    """Reports how many pictures have gone through."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, batches: Iterable[Tensor]) -> Iterator[Tensor]:
        for batch in batches:
            yield batch
            self.done += len(batch)
            if self.progress is not None:
                self.progress(self.done, self.total)
