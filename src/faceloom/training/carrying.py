"""The directions of a model, carried over to one that was trained on from it (`faceloom train --start`).

Training on moves the codes of faces a little, all alike. The same faces are encoded by both models, a linear map takes
the old codes to the new ones (least squares, drawn towards leaving them as they are), and steps go through the map.
What a step was for the old model's faces it is for the new one's. A step that shows more or less in the new model's
pictures than it did in the old one's, as the probes read them, is scaled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.calibration import LARGEST_FACTOR
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.directions.packs import own_directions
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import DirectionError
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE, Model
from faceloom.training.export import Bench, encode_faces
from faceloom.training.images import FaceSet

LEAST_FACES = 100
LEAST_EXPLAINED = 0.8
"""The share of the new codes' variance that the old ones must explain: below, a code means something else."""
LEAST_EFFECT = 0.05
"""In standard deviations a unit: what shows less in the new pictures, or the other way, no longer is that edit."""
_RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class CodeMap:
    """A linear map between the codes in W of two models, by the codes that both give for the same faces.

    Attributes:
        start, end: (w_dim,), mean codes of the faces in the old model and in the new one.
        forth: (w_dim, w_dim), what a step in the old model's W becomes.
        back: (w_dim, w_dim), the other way.
        explained: share of the variance of the new codes that the map explains, on faces that it was not fitted on.
    """

    start: Tensor
    end: Tensor
    forth: Tensor
    back: Tensor
    explained: float

    @classmethod
    def fit(cls, old: Tensor, new: Tensor) -> CodeMap:
        """The map from codes (N, w_dim) to codes (N, w_dim) of the same faces.

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


def carry_directions(source: Model, folder: Path, faces: FaceSet, *, say: Callable[[str], None]) -> DirectionSet:
    """Carry the directions of a model over to the one in a folder, which was trained on from it, and write them there.

    Directions that the folder has already are replaced. Names, words, layers and notes stay, and units as far as probes
    can tell; ranges end where faces would leave the new model's codes, if that is earlier. Left out are steps in S,
    since channels of style vectors change their meaning more than codes do; what a person installed for the old model;
    and what no longer shows.

    Args:
        source: the model that training started from.
        folder: with the new model's generator and encoder.
        faces: of any resolution, at least 100 not held out; some times as many as W has dimensions are better.
        say: told what was found, a line at a time.

    Raises:
        CheckpointError: if a file is missing or damaged.
        DirectionError: if the new model was not trained on from the old one, or there are too few faces.
    """
    reader = source.encoder
    if not isinstance(reader, ResidualEncoder):
        raise DirectionError(
            f"the model {source.id!r} has no encoder made by `faceloom train`, so none was trained on from it"
        )
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, _ = native.load_encoder(folder / ENCODER_FILE)
    rows = generator.num_ws
    if source.generator.num_ws > rows or source.generator.w_dim != generator.w_dim:
        raise DirectionError(
            f"codes of {folder} have the shape {(rows, generator.w_dim)}, those of {source.id!r} "
            f"{(source.generator.num_ws, source.generator.w_dim)}: it was not trained on from that model"
        )
    seen = faces.subset(~faces.held_out)
    codes = encode_faces(encoder, seen)
    path = CodeMap.fit(encode_faces(reader, seen), codes)
    say(f"the codes of {source.id!r} explain {100 * path.explained:.1f} % of the variance of the new ones")
    if path.explained < LEAST_EXPLAINED:
        raise DirectionError(
            f"the codes of {folder} do not follow from those of {source.id!r} (at least {100 * LEAST_EXPLAINED:.0f} % "
            f"are needed): it was not trained on from that model, or {len(seen)} faces are too few to tell; use more, "
            "or `faceloom directions refit`"
        )
    probes = [path.read(probe) for probe in source.directions.probes.values()]
    bench = Bench(generator, encoder, codes, probes, ())
    installed = {one.name: one for one in own_directions(source.generator.fingerprint, ())}
    facts = source.directions.info.get("attributes", {})
    directions: list[Direction] = []
    effects: dict[str, dict[str, float]] = {}
    for old in source.directions:
        if old.space != "w+":
            say(f"{old.name}: left out, a step in S")
            continue
        if old.name in installed and old.follows(installed[old.name]):
            say(f"{old.name}: left out, it was installed for {source.id!r}")
            continue
        moved = path.moved(old, rows)
        shown = bench.effects_of(moved)
        before = source.directions.effects.get(old.name, {}).get(old.name)
        if before is not None and before > LEAST_EFFECT and old.name in shown:
            if shown[old.name] < LEAST_EFFECT:
                say(f"{old.name}: left out, it does not show in the new model's pictures")
                continue
            factor = min(LARGEST_FACTOR, max(1.0 / LARGEST_FACTOR, before / shown[old.name]))
            moved, shown = moved.scaled(factor), {name: factor * value for name, value in shown.items()}
            say(f"{old.name}: scaled by {factor:.2f}")
        moved = replace(moved, range=bench.limits(old.range, moved))
        effects[old.name] = {name: round(value, 3) for name, value in shown.items()}
        directions.append(moved)
    info = {
        "attributes": {one.name: facts[one.name] for one in directions if one.name in facts},
        "carried_from": source.generator.fingerprint,
    }
    result = DirectionSet(directions, generator.fingerprint, info, probes=probes, effects=effects)
    result.save(folder / DIRECTIONS_FILE)
    return result


def _solved(before: Tensor, after: Tensor) -> Tensor:
    """The matrix (D, D) that takes centred rows (N, D) to rows (N, D), in float64; else the identity."""
    products = before.T @ before
    same = torch.eye(len(products), dtype=products.dtype)
    ridge = _RIDGE * products.diagonal().mean() * same
    matrix: Tensor = same + torch.linalg.solve(products + ridge, before.T @ (after - before))
    return matrix
