"""The directions of a model, carried over to one that was trained on from it (`faceloom train --start`).

Training on moves the codes of faces a little, all alike. The same faces are encoded by both models, a linear map takes
the old codes to the new ones (least squares with a ridge), and steps go through the map: what a step was for the old
model's faces it is for the new one's. Units, effects and ranges are measured again in the new model's pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import DirectionError
from faceloom.metrics.judges import Judge
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE, Model
from faceloom.training.attributes import Attribute
from faceloom.training.export import Bench, encode_faces, installed_judges
from faceloom.training.images import FaceSet

LEAST_FACES = 100
LEAST_EXPLAINED = 0.8
"""The share of the new codes' variance that the old ones must explain: below, a code means something else."""
_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class CodeMap:
    """A linear map between the codes in W of two models, by the codes that both give for the same faces.

    Attributes:
        start, end: (w_dim,), mean codes of the faces in the old model and in the new one.
        forth: (old w_dim, new w_dim), what a step in the old model's W becomes.
        back: (new w_dim, old w_dim), the other way.
        explained: share of the variance of the new codes that the map explains, on faces that it was not fitted on.
    """

    start: Tensor
    end: Tensor
    forth: Tensor
    back: Tensor
    explained: float

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> CodeMap:
        """The map from codes (N, D) to codes (N, E) of the same faces.

        Raises:
            DirectionError: if there are fewer than 100 faces.
        """
        if len(old) < LEAST_FACES:
            raise DirectionError(f"{len(old)} faces are too few to compare two models by; {LEAST_FACES} are needed")
        start, end = old.mean(dim=0), new.mean(dim=0)
        before, after = (old - start).double(), (new - end).double()
        guess = before[1::2] @ _solved(before[::2], after[::2])
        explained = 1.0 - float((after[1::2] - guess).square().sum() / after[1::2].square().sum())
        return cls(start, end, _solved(before, after).float(), _solved(after, before).float(), explained)

    def moved(self, one: Direction, rows: int) -> Direction:
        """A direction in W+ in the new model, which has at least as many rows.

        Where the old one reached to the last row, the new one does: rows that were added do what that row does.
        """

        def through(step: Tensor) -> Tensor:
            moved = step @ self.forth
            return torch.cat([moved, moved[-1:].expand(rows - len(moved), -1)])

        to = rows if one.layers[1] == len(one.vector) else one.layers[1]
        bend = None if one.bend is None else through(one.bend)
        return replace(one, vector=through(one.vector), bend=bend, layers=(one.layers[0], to))

    def read(self, probe: Probe) -> Probe:
        """A probe that reads from the new model's codes what `probe` reads from the old ones'."""
        weights = self.back @ probe.weights
        return Probe(probe.name, weights, probe.offset + float(self.start @ probe.weights - self.end @ weights))


def carry_directions(
    source: Model,
    folder: Path,
    faces: FaceSet,
    attributes: Sequence[Attribute],
    *,
    say: Callable[[str], None],
    judges: Sequence[Judge] | None = None,
) -> DirectionSet:
    """Carry the directions of a model over to the one in a folder, which was trained on from it, and write them there.

    Directions that the folder has already are replaced. Steps in S are left out: the channels of style vectors change
    their meaning more than codes do.

    Args:
        source: the model that training started from.
        folder: with the new model's generator and encoder.
        faces: of any resolution, at least 100 not held out.
        attributes: say the largest range and the judge of directions by name; others keep their unit and range.
        say: told what was found, a line at a time.
        judges: as in `faceloom.training.refining.refine_directions`.

    Raises:
        CheckpointError: if a file is missing or damaged.
        DirectionError: if the new model was not trained on from the old one, or there are too few faces.
    """
    reader = source.encoder
    if not isinstance(reader, ResidualEncoder):
        raise DirectionError(
            f"the model {source.id!r} has no encoder made by `faceloom train`, so none trained on from it"
        )
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, _ = native.load_encoder(folder / ENCODER_FILE)
    rows = generator.num_ws
    if source.generator.num_ws > rows:
        raise DirectionError(
            f"{folder} has {rows} rows of codes, fewer than the {source.generator.num_ws} of {source.id!r}: it was not "
            "trained on from that model"
        )
    seen = faces.subset(~faces.held_out)
    codes = encode_faces(encoder, seen)
    path = CodeMap.fit(encode_faces(reader, seen), codes)
    say(f"the codes of {source.id!r} explain {100 * path.explained:.1f} % of the variance of the new ones")
    if path.explained < LEAST_EXPLAINED:
        raise DirectionError(
            f"the codes of {folder} do not follow from those of {source.id!r} (at least {100 * LEAST_EXPLAINED:.0f} % "
            "are needed): it was not trained on from that model; use `faceloom directions refit`"
        )
    known = {one.name: one for one in attributes}
    probes = [path.read(probe) for probe in source.directions.probes.values()]
    judges = installed_judges(say) if judges is None else judges
    bench = Bench(generator, encoder, codes, probes, judges)
    facts = {name: dict(row) for name, row in source.directions.info.get("attributes", {}).items()}
    directions, effects = [], {}
    for old in source.directions:
        if old.space != "w+":
            say(f"{old.name}: left out, a step in S")
            continue
        moved = path.moved(old, rows)
        if old.name in known and old.name in source.directions.probes:
            moved, effects[old.name], measured = bench.changed(known[old.name], moved, moved.vector, moved.bend, {})
            facts[old.name] = {**facts.get(old.name, {}), **measured}
            say(
                f"{old.name}: one step shows as {measured['drawn_effect']} ({measured['measured_by']}); range "
                f"{moved.range[0]:+g} to {moved.range[1]:+g}, from {old.range[0]:+g} to {old.range[1]:+g}"
            )
        else:
            effects[old.name] = {name: round(value, 3) for name, value in bench.effects_of(moved).items()}
            say(f"{old.name}: carried over with its unit and range")
        directions.append(moved)
    info = {**source.directions.info, "attributes": facts, "carried_from": source.generator.fingerprint}
    result = DirectionSet(directions, generator.fingerprint, info, probes=probes, effects=effects)
    result.save(folder / DIRECTIONS_FILE)
    return result


def _solved(before: Tensor, after: Tensor) -> Tensor:
    """The matrix that takes centred rows (N, D) to rows (N, E), in float64."""
    products = before.T @ before
    ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=products.dtype)
    matrix: Tensor = torch.linalg.solve(products + ridge, before.T @ after)
    return matrix
