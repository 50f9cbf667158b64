"""Directions of a trained model made better: through the pictures that they draw, or by shares of other directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.navigation import Course, Describe, Leg, navigate
from faceloom.directions.reading import PictureReader, PlacedFeatures
from faceloom.directions.regression import MIN_LABELS
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import DirectionError, MissingExtraError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import image_batches
from faceloom.metrics.judges import FaceRes, Judge
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE
from faceloom.training.attributes import Attribute, labels_seen
from faceloom.training.export import Bench, Values, judges_of_units
from faceloom.training.images import FaceSet

READ_FACES = 2000
"""The heads are fitted on this many faces, those with most labels first."""
MOVED_FACES = 192
"""Faces that the descent moves; the heads were not fitted on them."""
_BATCH = 64
_TOLD_EVERY = 20


def refine_directions(
    folder: Path,
    faces: FaceSet,
    values: Mapping[str, Values],
    attributes: Sequence[Attribute],
    names: Sequence[str],
    *,
    say: Callable[[str], None],
    course: Course = Course(),  # noqa: B008  # frozen
    bent: bool = False,
    judges: Sequence[Judge] | None = None,
) -> DirectionSet:
    """Refine directions of a model in a folder through pictures, and write them there; the others stay as they are.

    Args:
        folder: with the model's generator, encoder and directions.
        faces: that the model was trained on; held-out ones are left out.
        values: what `attribute_table` gave for them, by name.
        attributes: say what each direction may change along, its layers and its judge.
        names: which directions.
        say: told what was found, a line at a time.
        course: how to descend.
        bent: let the two sides part: more of an attribute need not be the opposite of less.
        judges: measure the unit where an attribute names a score of theirs; those that are installed where None.

    Raises:
        CheckpointError: if a file is missing or damaged.
        DirectionError: if a direction has no labels to be refined by, or there are too few faces.
        UsageError: if there is no such direction.
    """
    generator, encoder, found = _opened(folder)
    known = {one.name: one for one in attributes}
    for name in names:
        _check_fits(found[name], known)
    codes, labels = _seen(encoder, faces, values)
    read, moved = _split(labels)
    reader = PictureReader.fit(
        PlacedFeatures(), lambda part: generator.synthesize(codes[read[part]], "none"), _labelled(labels, read)
    )
    say(f"{len(reader.names)} attributes are read from pictures of {len(read)} faces")
    describe = _describer(say)
    generator.requires_grad_(False)
    leg = Leg.of(generator, codes[moved], reader, describe)
    judges = judges_of_units(say) if judges is None else judges
    bench = Bench(generator, encoder, codes.mean(dim=1), list(found.probes.values()), judges)
    refined = {}
    for name in names:
        one, old = known[name], found[name]
        step, bend = navigate(
            generator, old.vector, name, leg, reader, describe,
            layers=old.layers, free=one.free, course=course, bend=old.bend, bent=bent, say=_telling(name, course, say),
        )  # fmt: skip
        refined[name] = bench.changed(one, old, step, bend, {"refined": "by pictures"})
        alike = float(torch.cosine_similarity(step.ravel(), old.vector.ravel(), dim=0))
        aside = "" if bend is None else f", the bend {float(bend.norm() / step.norm()):.2f} of the step"
        say(f"{name}: refined; the cosine with the step before is {alike:.2f}{aside}")
    result = _with(found, refined)
    result.save(folder / DIRECTIONS_FILE)
    return result


def correct_direction(
    folder: Path,
    faces: FaceSet,
    attributes: Sequence[Attribute],
    name: str,
    shares: Mapping[str, float],
    *,
    say: Callable[[str], None],
    side: Literal["low", "high"] | None = None,
    judges: Sequence[Judge] | None = None,
) -> DirectionSet:
    """Add shares of other directions to one of a model in a folder, to take back what it does besides, and write it.

    What to take back is in the matrix of `faceloom directions report`, which is measured on photos: a direction that
    changes age by -0.2 for one unit, where one unit of "age" changes it by +0.3, wants two thirds of "age".

    Args:
        folder: with the model's generator, encoder and directions.
        faces: that the model was trained on; held-out ones are left out.
        attributes: say what each direction is, its largest range and its judge.
        name: which direction.
        shares: of other directions, by name.
        say: told what was found.
        side: to this one alone, which bends the path; to both where None.
        judges: as in `refine_directions`.

    Raises:
        CheckpointError: if a file is missing or damaged.
        UsageError: if there is no such direction, one is not in W+, or a share is of the direction itself.
    """
    generator, encoder, found = _opened(folder)
    known = {one.name: one for one in attributes}
    _check_fits(found[name], known)
    steps = {end: found[name].step(end) for end in (-1.0, 1.0)}
    changing = {"low": (-1.0,), "high": (1.0,), None: (-1.0, 1.0)}[side]
    for other, share in shares.items():
        if found[other].space != "w+" or other == name:
            raise UsageError(f"{other!r} cannot be added to {name!r}: it must be another direction, in W+")
        for end in changing:
            steps[end] = steps[end] + found[other].step(end * share)
    vector, bend = (steps[1.0] - steps[-1.0]) / 2, (steps[1.0] + steps[-1.0]) / 2
    codes, _ = _seen(encoder, faces, {})
    judges = judges_of_units(say) if judges is None else judges
    bench = Bench(generator, encoder, codes.mean(dim=1), list(found.probes.values()), judges)
    words = ", ".join(f"{other} {share:+g}" for other, share in shares.items())
    words += "" if side is None else f", on the {side} side alone"
    before = found.info.get("attributes", {}).get(name, {}).get("corrected")
    told = {"corrected": words if before is None else f"{before}; {words}"}
    changed = bench.changed(known[name], found[name], vector, bend if bend.any() else None, told)
    result = _with(found, {name: changed})
    result.save(folder / DIRECTIONS_FILE)
    say(f"{name}: corrected by {words}; range {changed[0].range[0]:+g} to {changed[0].range[1]:+g}")
    return result


def _opened(folder: Path) -> tuple[StyleGAN2, ResidualEncoder, DirectionSet]:
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, _ = native.load_encoder(folder / ENCODER_FILE)
    found = DirectionSet.load(folder / DIRECTIONS_FILE)
    found.check_generator(generator.fingerprint)
    return generator, encoder, found


def _check_fits(one: Direction, known: Mapping[str, Attribute]) -> None:
    if one.space != "w+" or one.name not in known:
        raise UsageError(f"{one.name!r} cannot be changed: it needs an entry in the attributes file, and to be in W+")


@torch.no_grad()
def _seen(encoder: ResidualEncoder, faces: FaceSet, values: Mapping[str, Values]) -> tuple[Tensor, dict[str, Values]]:
    """Codes (N, num_ws, w_dim) of the faces not held out, and their labels."""
    seen = faces.subset(~faces.held_out)
    parts = [encoder(images) for images in image_batches(seen.pixels, _BATCH)]
    return torch.cat(parts), labels_seen(faces, values)


def _split(labels: Mapping[str, Values]) -> tuple[Tensor, Tensor]:
    """Indices of the faces that the heads are fitted on, and of others to be moved."""
    columns = np.stack(list(labels.values()), axis=1)
    shuffled = np.random.default_rng(0).permutation(len(columns))
    order = shuffled[np.argsort(-np.isfinite(columns).sum(axis=1)[shuffled], kind="stable")]
    count = min(READ_FACES, len(order) // 2)
    if len(order) < 2 * MIN_LABELS:
        raise DirectionError(f"{len(order)} faces are too few to refine directions by; {2 * MIN_LABELS} are needed")
    rest = np.random.default_rng(1).permutation(order[count:])[:MOVED_FACES]
    return torch.from_numpy(order[:count]), torch.from_numpy(rest)


def _labelled(labels: Mapping[str, Values], chosen: Tensor) -> dict[str, Values]:
    """The columns of the chosen faces that can be learned from."""
    columns = {name: column[chosen.numpy()] for name, column in labels.items()}
    return {
        name: column
        for name, column in columns.items()
        if np.isfinite(column).sum() >= MIN_LABELS and np.nanstd(column) > 0
    }


def _describer(say: Callable[[str], None]) -> Describe | None:
    """Who a face is, by the network of judges that is asked for its descriptor only; None where it is missing."""
    try:
        return FaceRes().describe
    except MissingExtraError:
        say("the judges are not installed: nobody looks whether the person stays")
        return None


def _telling(name: str, course: Course, say: Callable[[str], None]) -> Callable[[int, dict[str, float]], None]:
    def tell(number: int, parts: dict[str, float]) -> None:
        if number % _TOLD_EVERY == 0 or number == course.steps:
            words = ", ".join(f"{part} {value:.3f}" for part, value in parts.items())
            say(f"{name}: step {number} of {course.steps}: {words}")

    return tell


def _with(
    found: DirectionSet, refined: Mapping[str, tuple[Direction, dict[str, float], dict[str, float | str]]]
) -> DirectionSet:
    """The set with some directions, their effects and facts replaced."""
    facts = {**found.info.get("attributes", {})}
    effects = {name: dict(row) for name, row in found.effects.items()}
    for name, (_, row, measured) in refined.items():
        facts[name] = {**facts.get(name, {}), **measured}
        effects[name] = row
    directions = [refined[one.name][0] if one.name in refined else one for one in found]
    info = {**found.info, "attributes": facts}
    return DirectionSet(directions, found.fingerprint, info, probes=found.probes.values(), effects=effects)
