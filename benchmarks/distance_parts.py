"""What a model's Fréchet distance is made of: the drawing, the codes, the people who do not exist.

    python benchmarks/distance_parts.py MODEL FACES                   # faces.npz of the model's training run
    python benchmarks/distance_parts.py default runs/v1.5/faces.npz --count 4000

Against one half of the faces it compares the other half as it is (the floor), blurred by a little, drawn again from the
encoder's codes, and as many random people; as `faceloom evaluate` does, with fewer faces, so that values compare only
with others made here with the same count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from faceloom.encoders.features import EfficientNetFeatures
from faceloom.encoders.residual import ResidualEncoder
from faceloom.evaluation import BATCH, FEATURE_SIZE
from faceloom.imaging.convert import resized, to_images, to_pixels
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
    parser.add_argument("--count", type=int, default=4000, help="of faces, half of them the reference")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    keep_memory()
    model, faces = load_model(options.model), FaceSet.load(options.faces)
    encoder, generator = model.encoder, model.generator
    if not isinstance(encoder, ResidualEncoder):
        raise SystemExit("only for models with the encoder that `faceloom train` makes")
    network = EfficientNetFeatures((), pooled=True)
    half = min(options.count, len(faces)) // 2
    order = np.random.default_rng(0).permutation(len(faces))

    def of_faces(chosen: np.ndarray, change: Callable[[Tensor], Tensor]) -> Tensor:
        return pooled_features((change(resized(images, FEATURE_SIZE)) for images in batches(faces, chosen)), network)

    reference, others = order[:half], order[half : 2 * half]
    wanted = of_faces(reference, lambda images: images)

    def drawn(codes: Tensor) -> Tensor:
        images = to_images(to_pixels(generator.synthesize(codes)))
        return resized(images, FEATURE_SIZE)

    def from_base(images: Tensor) -> Tensor:
        return drawn(encoder.split(images)[0].unsqueeze(1).expand(-1, generator.num_ws, -1))

    z = torch.randn(half, generator.z_dim, generator=torch.Generator().manual_seed(0))
    rows: list[tuple[str, Callable[[], Tensor]]] = [("real faces", lambda: of_faces(others, lambda images: images))]
    for sigma in BLURS:
        rows.append((f"real faces, blurred by {sigma} px", lambda sigma=sigma: of_faces(others, blurred(sigma))))
    rows += [
        ("drawn again from W", lambda: of_faces(others, from_base)),
        ("drawn again from W+", lambda: of_faces(others, lambda images: drawn(encoder(images)))),
        ("random people", lambda: pooled_features((drawn(generator.map(part)) for part in z.split(BATCH)), network)),
    ]
    print(f"generator {generator.fingerprint}, {half} pictures against {half} faces at {FEATURE_SIZE} px\n")
    print("| pictures | Fréchet distance | precision | recall |")
    print("|---|---|---|---|")
    for what, make in rows:
        found = make()
        cover = precision_recall(found, wanted)
        distance = frechet_distance(found, wanted)
        print(f"| {what} | {distance:.1f} | {cover.precision:.3f} | {cover.recall:.3f} |", flush=True)


def batches(faces: FaceSet, chosen: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(chosen), BATCH):
        yield to_images(faces.pixels[chosen[start : start + BATCH]])


def blurred(sigma: float) -> Callable[[Tensor], Tensor]:
    """What blurs images (N, 3, S, S) by so many pixels."""
    return lambda images: torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, sigma, sigma)))


if __name__ == "__main__":
    main()
