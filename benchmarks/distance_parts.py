"""What a model's Fréchet distance is made of: the drawing, the codes, the people who do not exist.

    python benchmarks/distance_parts.py MODEL FACES                   # faces.npz of the model's training run
    python benchmarks/distance_parts.py default runs/v1.5/faces.npz --count 4000

Against one half of the faces it compares the other half as it is (the floor), blurred by a little, drawn again from the
encoder's codes, and as many random people. Values compare only where the count is the same; with as many faces as there
are (`--count 0`), the last row is what `faceloom evaluate` gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from faceloom.encoders.features import EfficientNetFeatures
from faceloom.encoders.residual import ResidualEncoder
from faceloom.evaluation import BATCH, FEATURE_SIZE
from faceloom.imaging.convert import image_batches, resized, to_images, to_pixels
from faceloom.metrics.coverage import precision_recall
from faceloom.metrics.frechet import frechet_distance, pooled_features
from faceloom.model import load_model
from faceloom.settings import keep_memory
from faceloom.training.images import FaceSet

BLURS = (0.5, 0.8, 1.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("faces", type=Path)
    parser.add_argument("--count", type=int, default=4000, help="of faces, half of them the reference; 0: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    keep_memory()
    model, faces = load_model(options.model), FaceSet.load(options.faces)
    encoder, generator = model.encoder, model.generator
    if not isinstance(encoder, ResidualEncoder):
        raise SystemExit("only for models with the encoder that `faceloom train` makes")
    network = EfficientNetFeatures((), pooled=True)
    half = min(options.count or len(faces), len(faces)) // 2
    order = np.random.default_rng(0).permutation(len(faces))

    def of_faces(chosen: np.ndarray, change: Callable[[Tensor], Tensor]) -> Tensor:
        made = (change(images) for images in image_batches(faces.pixels[chosen], BATCH))
        return pooled_features((resized(images, FEATURE_SIZE) for images in made), network)

    reference, others = order[:half], order[half : 2 * half]
    wanted = of_faces(reference, lambda images: images)

    def drawn(codes: Tensor) -> Tensor:
        return to_images(to_pixels(generator.synthesize(codes)))

    def from_base(images: Tensor) -> Tensor:
        return drawn(encoder.split(images)[0].unsqueeze(1).expand(-1, generator.num_ws, -1))

    def random_people() -> Tensor:
        z = torch.randn(half, generator.z_dim, generator=torch.Generator().manual_seed(0))
        made = (drawn(generator.map(part)) for part in z.split(BATCH))
        return pooled_features((resized(images, FEATURE_SIZE) for images in made), network)

    rows: list[tuple[str, Callable[[], Tensor]]] = [("real faces", lambda: of_faces(others, lambda images: images))]
    for sigma in BLURS:
        rows.append((f"real faces, blurred by {sigma} px", lambda sigma=sigma: of_faces(others, blurred(sigma))))
    rows += [
        ("drawn again from W", lambda: of_faces(others, from_base)),
        ("drawn again from W+", lambda: of_faces(others, lambda images: drawn(encoder(images)))),
        ("random people", random_people),
    ]
    print(f"generator {generator.fingerprint}, {half} pictures against {half} faces at {FEATURE_SIZE} px\n")
    print("| pictures | Fréchet distance | precision | recall |")
    print("|---|---|---|---|")
    for what, make in rows:
        found = make()
        cover = precision_recall(found, wanted)
        distance = frechet_distance(found, wanted)
        print(f"| {what} | {distance:.1f} | {cover.precision:.3f} | {cover.recall:.3f} |", flush=True)


def blurred(sigma: float) -> Callable[[Tensor], Tensor]:
    """What blurs images (N, 3, S, S) by so many pixels."""
    return lambda images: torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


if __name__ == "__main__":
    main()
