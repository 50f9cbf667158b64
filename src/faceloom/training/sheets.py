"""Pictures of how a run goes on: reconstructions of faces, and random faces."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from faceloom.encoders.features import EfficientNetFeatures
from faceloom.imaging.convert import image_batches, to_images, to_pixels
from faceloom.imaging.sheets import grid
from faceloom.metrics.frechet import frechet_distance, pooled_features
from faceloom.metrics.reconstruction import psnr
from faceloom.training.images import FaceSet
from faceloom.training.trainer import Trainer
from faceloom.types import Pixels

ROWS = 8
MEASURED = 64
_SEED = 0
_BATCH = 32


@torch.no_grad()
def reconstruction_sheet(trainer: Trainer, faces: FaceSet) -> tuple[Pixels, str]:
    """Faces, and the same drawn from W and from W+ by the averaged networks; and a line on how near they come."""
    generator, encoder = trainer.averaged_networks()
    images = to_images(faces.pixels[:MEASURED]).to(trainer.device)
    base, offsets = encoder.split(images)
    alone = base.unsqueeze(1).expand(-1, generator.num_ws, -1)
    drawn = [generator.synthesize(codes).clamp(-1.0, 1.0) for codes in (alone, alone + offsets)]
    columns = [faces.pixels[:ROWS], *(to_pixels(one[:ROWS]) for one in drawn)]
    sheet = grid(list(zip(*columns, strict=True)), None, ["face", "from W", "from W+"], cell=128)
    from_w, from_w_plus = (float(psnr(one, images).mean()) for one in drawn)
    kind = "held-out faces" if faces.held_out.all() else "faces, none held out"
    return sheet, f"PSNR on {len(images)} {kind}: {from_w:.2f} dB from W, {from_w_plus:.2f} dB from W+"


@torch.no_grad()
def samples(trainer: Trainer, count: int = 64, truncation: float = 0.7) -> Pixels:
    """Random faces of the averaged generator, (count, S, S, 3); the same z every time."""
    generator, _ = trainer.averaged_networks()
    random = torch.Generator().manual_seed(_SEED)
    z = torch.randn(count, generator.z_dim, generator=random)
    many = torch.randn(1024, generator.z_dim, generator=random).to(trainer.device)
    mean = generator.map(many)[:, 0].mean(dim=0)  # the generator's own is measured when a model is made
    drawn = []
    for part in torch.split(z, _BATCH):
        ws = generator.map(part.to(trainer.device))
        drawn.append(to_pixels(generator.synthesize(mean + truncation * (ws - mean)).clamp(-1.0, 1.0)))
    return np.concatenate(drawn)


def sample_sheet(trainer: Trainer) -> Pixels:
    """64 random faces at truncation 0.7."""
    pictures = samples(trainer)
    rows = [list(pictures[start : start + 8]) for start in range(0, 64, 8)]
    return grid(rows, None, None, cell=128)


def sample_distance(trainer: Trainer, faces: FaceSet, count: int) -> float:
    """Fréchet distance between `count` random faces, without truncation, and as many real ones.

    Both come as the networks draw them, at the run's resolution: compare only with values of the same run and count.
    """
    network = EfficientNetFeatures((), pooled=True).to(trainer.device)
    chosen = np.random.default_rng(_SEED).permutation(len(faces))[:count]
    pictures = samples(trainer, len(chosen), 1.0)
    sets = (
        pooled_features(image_batches(every, _BATCH, trainer.device), network)
        for every in (pictures, faces.pixels[chosen])
    )
    return frechet_distance(*sets)


def jpeg(pixels: Pixels) -> bytes:
    """A sheet as a small file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "jpeg", quality=88)
    return data.getvalue()
