"""A new mapping network for a finished model, everything else as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from faceloom.checkpoints import native
from faceloom.directions.direction import DirectionSet
from faceloom.domains.twin import SUFFIX, Twin
from faceloom.generators.protocol import forget_fingerprint
from faceloom.inversion.likeness import FILE as LIKENESS_FILE
from faceloom.inversion.likeness import Calibration
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE, TWINS_FOLDER
from faceloom.training.export import base_codes, round_to_half
from faceloom.training.images import FaceSet
from faceloom.training.mapping import fit_mapping


def refit_mapping(folder: Path, faces: FaceSet) -> str:
    """Fit the mapping, and what is known of W, of the model in `folder` to the base codes of its training faces anew.

    Codes keep their meaning, since synthesis is untouched; but the generator's fingerprint changes, and the directions,
    twins and statistics beside it are marked with the new one.

    Args:
        folder: with the model's files.
        faces: those it was trained on, of any resolution; held-out ones are left out.

    Returns:
        The new fingerprint.

    Raises:
        CheckpointError: if a file is missing or damaged.
    """
    generator = native.load_generator(folder / GENERATOR_FILE)
    _, about = native.read(folder / GENERATOR_FILE)
    encoder, described = native.load_encoder(folder / ENCODER_FILE)
    codes = base_codes(encoder, faces.subset(~faces.held_out))
    encoder.w_deviation.copy_(codes.std(dim=0))
    generator.w_mean.copy_(codes.mean(dim=0))
    fit_mapping(generator.mapping, codes)
    for module in (generator, encoder):
        round_to_half(module)
    forget_fingerprint(generator)
    mark = generator.fingerprint
    native.save_generator(folder / GENERATOR_FILE, generator, about.info, half=True)
    native.save_encoder(folder / ENCODER_FILE, encoder, {**described, "generator": mark}, half=True)
    directions = DirectionSet.load(folder / DIRECTIONS_FILE)
    directions.fingerprint = mark
    directions.save(folder / DIRECTIONS_FILE)
    for path in sorted((folder / TWINS_FOLDER).glob(f"*{SUFFIX}")):
        replace(Twin.load(path), base=mark).save(path)
    if (folder / LIKENESS_FILE).is_file():
        replace(Calibration.load(folder / LIKENESS_FILE), generator=mark).save(folder / LIKENESS_FILE)
    return mark
