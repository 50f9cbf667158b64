"""How faithfully a model draws the faces in a folder of photos, with and without refinement.

    python benchmarks/reconstruction.py --photos FOLDER --count 40

Pictures are compared at the generator's resolution. It prints one table.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from gallery import PHOTOS, spread

from faceloom.editor import CROP_SIZE, make_inverter
from faceloom.encoders.features import EfficientNetFeatures
from faceloom.errors import FaceError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.imaging.convert import to_images
from faceloom.imaging.photos import open_photo
from faceloom.metrics.reconstruction import perceptual_distance, psnr, ssim
from faceloom.model import load_model
from faceloom.settings import keep_memory
from faceloom.types import Pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    model = load_model(options.model)
    size = model.generator.resolution
    crops = [crop for path in spread(sorted(options.photos.iterdir()), options.count) for crop in face_of(path, size)]
    images = to_images(np.stack([crop for crop, _ in crops]))
    wanted = to_images(np.stack([small for _, small in crops]))
    features = EfficientNetFeatures()
    print(f"{len(images)} faces at {size} px, generator {model.generator.fingerprint}, one thread")
    print("| inversion | PSNR (dB) | SSIM | perceptual | s a face |")
    print("|---|---|---|---|---|")
    for name in ("encoder", "hybrid"):
        inverter = make_inverter(name, model)
        started = time.monotonic()
        codes = torch.cat([inverter.invert(one[None]).codes for one in images])
        seconds = (time.monotonic() - started) / len(images)
        with torch.no_grad():
            drawn = model.generator.synthesize(codes).clamp(-1, 1)
            apart = perceptual_distance(drawn, wanted, features).mean()
        print(
            f"| {name} | {psnr(drawn, wanted).mean():.1f} | {ssim(drawn, wanted).mean():.3f} "
            f"| {apart:.3f} | {seconds:.2f} |"
        )


def face_of(path: Path, size: int) -> list[tuple[Pixels, Pixels]]:
    """The largest face of a photo, large and at the generator's size; nothing where there is none."""
    photo = open_photo(path)
    try:
        face = choose(detect(photo), None, photo)
    except FaceError:
        return []
    return [(align(photo, face, CROP_SIZE).pixels, align(photo, face, size).pixels)]


if __name__ == "__main__":
    main()
