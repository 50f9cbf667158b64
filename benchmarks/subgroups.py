"""How well models draw people of several kinds: reconstructions by the encoder alone, in groups of photos.

    python benchmarks/subgroups.py runs/with/model runs/without/model --photos FOLDER

Photos are sorted by the embedded model's probes and the age judge, so that all models are asked about the same people.
It prints one table, a row for each group and model, at the smallest resolution of the models.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from gallery import PHOTOS
from reconstruction import face_of
from torch import Tensor

from faceloom.encoders.features import EfficientNetFeatures
from faceloom.imaging.convert import resized, to_images
from faceloom.metrics.judges import FaceRes
from faceloom.metrics.reconstruction import perceptual_distance, psnr, ssim
from faceloom.model import load_model
from faceloom.settings import keep_memory

SIZE = 256
OLD, CLEARLY = 50.0, 1.0  # years; standard deviations of a probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    models = [load_model(name) for name in options.models]
    size = min(model.generator.resolution for model in models)
    crops = [small for path in sorted(options.photos.iterdir()) for _, small in face_of(path, SIZE)]
    images = to_images(np.stack(crops))
    wanted, features = resized(images, size), EfficientNetFeatures()
    measured = []
    for model in models:
        with torch.no_grad():
            codes = torch.cat([model.require_encoder()(one[None]) for one in images])
            drawn = resized(torch.cat([model.generator.synthesize(code[None]) for code in codes]).clamp(-1, 1), size)
            apart = perceptual_distance(drawn, wanted, features)
        measured.append(torch.stack([psnr(drawn, wanted), ssim(drawn, wanted), apart]))
    print(f"{len(images)} faces at {size} px, encoders alone\n")
    print("| people | faces | model | PSNR (dB) | SSIM | perceptual |")
    print("|---|---|---|---|---|---|")
    for group, chosen in groups(images).items():
        for name, values in zip(options.models, measured, strict=True):
            peak, structure, far = values[:, chosen].mean(dim=1).tolist()
            print(f"| {group} | {int(chosen.sum())} | {name} | {peak:.2f} | {structure:.3f} | {far:.3f} |")


def groups(images: Tensor) -> dict[str, Tensor]:
    """Which faces (N,) are of which kind."""
    model = load_model()
    with torch.no_grad():
        codes = torch.cat([model.require_encoder()(one[None]) for one in images])
        years = FaceRes().score_aligned(images)["age"]
    probes = model.directions.probes
    found = {"all": torch.ones(len(images), dtype=torch.bool), f"judged {OLD:.0f} or older": years >= OLD}
    for name in ("beard", "glasses", "grey-hair"):
        found[f"{name} by the probe"] = probes[name].read(codes) >= CLEARLY
    return found


if __name__ == "__main__":
    main()
