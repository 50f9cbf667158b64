"""From a training run to a model: mapping, statistics of W, directions, files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.calibration import calibrated, drawn_effect
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.regression import MIN_LABELS, regress
from faceloom.encoders.residual import ResidualEncoder
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import to_images
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE
from faceloom.training.attributes import Attribute, collection_indicators
from faceloom.training.images import FaceSet
from faceloom.training.mapping import fit_mapping
from faceloom.training.trainer import Trainer

CALIBRATION_FACES = 256


@torch.no_grad()
def encode_faces(encoder: ResidualEncoder, faces: FaceSet, batch: int = 64) -> Tensor:
    """The encoder's codes in W, (N, w_dim), of every face: its base code plus the mean of its offsets."""
    parts = []
    for start in range(0, len(faces), batch):
        base, offsets = encoder.split(to_images(faces.pixels[start : start + batch]))
        parts.append(base + offsets.mean(dim=1))
    return torch.cat(parts)


def export_model(
    trainer: Trainer,
    faces: FaceSet,
    values: dict[str, np.typing.NDArray[np.float64]],
    attributes: Sequence[Attribute],
    out: Path,
    *,
    say: Callable[[str], None],
) -> None:
    """Write generator, encoder and directions into the folder `out`.

    Args:
        trainer: a finished run; its averaged weights are taken.
        faces: all faces, held-out ones included: directions are found on those not held out.
        values: what `attribute_table` gave for them, by name.
        attributes: what to make directions of.
        out: folder to write to; made where missing.
        say: told what was found, a line at a time.
    """
    averaged, reader = trainer.averaged_networks()
    generator, encoder = copy.deepcopy(averaged).cpu().eval(), copy.deepcopy(reader).cpu().eval()
    seen = faces.subset(~faces.held_out)
    codes = encode_faces(encoder, seen)
    encoder.w_deviation.copy_(codes.std(dim=0))
    generator.w_mean.copy_(codes.mean(dim=0))
    if not trainer.config.adversarial:
        distance = fit_mapping(generator.mapping, generator.z_dim, codes)
        say(f"mapping fitted to {len(codes)} codes: sliced Wasserstein distance {distance:.4f} of their variance")
    # 16-bit storage halves the files; what is published is what was rounded.
    for module in (generator, encoder):
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.data.copy_(tensor.data.half().float())
    out.mkdir(parents=True, exist_ok=True)
    info: dict[str, Any] = {"images": trainer.progress.images, "minutes": round(trainer.progress.seconds / 60.0, 1)}
    native.save_generator(out / GENERATOR_FILE, generator, info, half=True)
    native.save_encoder(out / ENCODER_FILE, encoder, {**info, "generator": generator.fingerprint}, half=True)
    known = {name: column[~faces.held_out] for name, column in values.items()}
    known |= collection_indicators(seen)
    directions = find_directions(generator, encoder, encode_faces(encoder, seen), known, attributes, say)
    directions.save(out / DIRECTIONS_FILE)


def find_directions(
    generator: StyleGAN2,
    encoder: ResidualEncoder,
    codes: Tensor,
    values: dict[str, np.typing.NDArray[np.float64]],
    attributes: Sequence[Attribute],
    say: Callable[[str], None],
) -> DirectionSet:
    """Directions of the attributes that the faces have labels for; all other columns of `values` are held still."""
    usable = {}
    for name, column in values.items():
        labels = int(np.isfinite(column).sum())
        if labels >= MIN_LABELS and np.nanstd(column) > 0:
            usable[name] = column
        else:
            say(f"{name}: only {labels} labels, or all alike; left out")
    free = {one.name: one.free for one in attributes}
    slopes = regress(codes.double().numpy(), usable, free=free) if usable else {}
    some = codes[:: max(1, len(codes) // CALIBRATION_FACES)]
    directions: list[Direction] = []
    facts: dict[str, dict[str, float]] = {}
    for one in attributes:
        slope = slopes.get(one.name)
        if slope is None:
            continue
        say(f"{one.name}: {slope.labels} labels, explained variance {slope.explained:.2f}")
        facts[one.name] = {
            "labels": slope.labels,
            "explained": round(slope.explained, 3),
            "mean": round(slope.mean, 3),
            "deviation": round(slope.deviation, 3),
        }
        if one.offered:
            step, probe = (torch.from_numpy(vector).float() for vector in (slope.vector, slope.probe))
            effect = drawn_effect(generator, encoder, some, step, probe)
            say(f"{one.name}: one step of the code shows as {effect:.2f} deviations")
            facts[one.name]["drawn_effect"] = round(effect, 3)
            vector = calibrated(step, effect).expand(generator.num_ws, -1).contiguous()
            layers = (0, generator.num_ws)
            directions.append(Direction(one.name, vector, layers, one.range, one.low, one.high))
    if not directions:
        say("no attribute has enough labels for a direction: the model reconstructs, but edits nothing yet")
    return DirectionSet(directions, generator.fingerprint, {"attributes": facts})
