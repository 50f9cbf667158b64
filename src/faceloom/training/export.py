"""From a training run to a model: mapping, statistics of W, directions, files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from faceloom.checkpoints import native
from faceloom.directions.calibration import (
    conditioned,
    draw_pair,
    factor_of,
    judged_deviations,
    judged_effect,
    probed_effects,
)
from faceloom.directions.composing import Effects
from faceloom.directions.density import Spread
from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.directions.regression import MIN_LABELS, Slope, regress
from faceloom.encoders.residual import ResidualEncoder
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import image_batches
from faceloom.inversion.wspace import measure_w
from faceloom.metrics.judges import Judge, installed_judges
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE
from faceloom.training.attributes import Attribute, labels_seen
from faceloom.training.images import FaceSet
from faceloom.training.mapping import fit_mapping
from faceloom.training.trainer import Trainer

Values = np.typing.NDArray[np.float64]
CALIBRATION_FACES = 64
JUDGED_FACES = 48
LEAST_EXPLAINED = 0.05
"""Attributes of which the codes explain less, on faces that the probe was not fitted on, become no direction."""
LARGEST_REPAIR = 1.5
"""What is lost by projection is made up for at most by this factor: more brought back what was taken out."""
ROUGH_BELOW = 0.2
ROUGH = "the codes tell little of it"


@torch.no_grad()
def encode_faces(encoder: ResidualEncoder, faces: FaceSet, batch: int = 64) -> Tensor:
    """The encoder's codes (N, w_dim) of every face, mean over layers: the base code plus the mean of its offsets."""
    split = (encoder.split(images) for images in image_batches(faces.pixels, batch))
    return torch.cat([base + offsets.mean(dim=1) for base, offsets in split])


@torch.no_grad()
def base_codes(encoder: ResidualEncoder, faces: FaceSet, batch: int = 64) -> Tensor:
    """The encoder's base codes (N, w_dim) of every face.

    They are what W is: training draws half of its pictures from them alone. A mapping that was fitted to `encode_faces`
    instead gave worse faces, further from the real ones by 5 of 104 in Fréchet distance.
    """
    split = (encoder.split(images) for images in image_batches(faces.pixels, batch))
    return torch.cat([base for base, _ in split])


def round_to_half(module: nn.Module) -> None:
    """Round numbers to 16 bits, which halves the files: what is published is what was rounded."""
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data.copy_(tensor.data.half().float())


def export_model(
    trainer: Trainer,
    faces: FaceSet,
    values: dict[str, Values],
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
    codes = base_codes(encoder, seen)
    encoder.w_deviation.copy_(codes.std(dim=0))
    if trainer.config.adversarial:  # people who do not exist have a mean of their own
        generator.w_mean.copy_(measure_w(generator).w.mean)
    else:
        generator.w_mean.copy_(codes.mean(dim=0))
        fit_mapping(generator.mapping, codes)
        say(f"mapping set to the mean and covariance of {len(codes)} codes")
    for module in (generator, encoder):
        round_to_half(module)
    out.mkdir(parents=True, exist_ok=True)
    info: dict[str, Any] = {"images": trainer.progress.images, "minutes": round(trainer.progress.seconds / 60.0, 1)}
    native.save_generator(out / GENERATOR_FILE, generator, info, half=True)
    native.save_encoder(out / ENCODER_FILE, encoder, {**info, "generator": generator.fingerprint}, half=True)
    refit_directions(out, faces, values, attributes, say=say)


def refit_directions(
    folder: Path,
    faces: FaceSet,
    values: dict[str, Values],
    attributes: Sequence[Attribute],
    *,
    say: Callable[[str], None],
    project: bool = False,
) -> DirectionSet:
    """Find the directions of a model in a folder anew, and write them there.

    Args:
        folder: with the model's generator and encoder.
        faces: as `export_model`; of any resolution, since the encoder resizes them.
        values: as `export_model`.
        attributes: what to make directions of.
        say: told what was found, a line at a time.
        project: as `find_directions`.

    Raises:
        CheckpointError: if a file is missing or damaged.
    """
    generator = native.load_generator(folder / GENERATOR_FILE)
    encoder, _ = native.load_encoder(folder / ENCODER_FILE)
    seen = faces.subset(~faces.held_out)
    known = labels_seen(faces, values)
    directions = find_directions(
        generator, encoder, encode_faces(encoder, seen), known, attributes, say, project=project
    )
    directions.save(folder / DIRECTIONS_FILE)
    return directions


def find_directions(
    generator: StyleGAN2,
    encoder: ResidualEncoder,
    codes: Tensor,
    values: dict[str, Values],
    attributes: Sequence[Attribute],
    say: Callable[[str], None],
    judges: Sequence[Judge] | None = None,
    *,
    project: bool = False,
) -> DirectionSet:
    """Directions of the attributes that the faces have labels for; all other columns of `values` are held still.

    Args:
        generator: of the model.
        encoder: of the model.
        codes: (N, w_dim), from `encode_faces`.
        values: (N,) each, NaN where unknown.
        attributes: what to make directions of.
        say: told what was found, a line at a time.
        judges: measure the unit of the attributes that name a score of theirs; those that are installed where None.
        project: take the side effects that the probes measure out of the directions as well. On the embedded model that
            cost more of the wanted effect than it saved elsewhere, by judges on photos, so it is off.
    """
    usable = _usable(values, say)
    free = {one.name: one.free for one in attributes}
    slopes = regress(codes.double().numpy(), usable, free=free) if usable else {}
    probes = [Probe(name, _float(slope.probe), slope.offset) for name, slope in slopes.items()]
    known = [one for one in attributes if one.name in slopes]
    if judges is None:
        judges = judges_of_units(say) if any(one.judge for one in known) else ()
    bench = Bench(generator, encoder, codes, probes, judges)
    directions: list[Direction] = []
    facts: dict[str, dict[str, float | str]] = {}
    effects: dict[str, dict[str, float]] = {}
    for one in known:
        slope = slopes[one.name]
        facts[one.name] = _facts(slope)
        say(f"{one.name}: {slope.labels} labels, explained variance {slope.explained:.2f}")
        if one.movable and slope.explained < LEAST_EXPLAINED:
            say(f"{one.name}: the codes tell too little of it; no direction")
        elif one.movable:
            direction, effects[one.name], measured = bench.calibrate(one, slope)
            facts[one.name] |= measured
            say(f"{one.name}: one step of the code shows as {measured['drawn_effect']} ({measured['measured_by']})")
            directions.append(direction)
    before = {name: dict(row) for name, row in effects.items()}
    directions, effects = bench.disentangle(directions, effects, attributes, project=project)
    for one in known:
        if one.dropped:
            say(f"{one.name}: dropped, {one.dropped}")
    offered = [one.name for one in known if one.offered]
    directions = [one for one in directions if one.name in offered]
    if not directions:
        say("no attribute has enough labels for a direction: the model reconstructs, but edits nothing yet")
    info = {"attributes": facts, "effects_before_projection": _only(before, offered)}
    return DirectionSet(directions, generator.fingerprint, info, probes=probes, effects=_only(effects, offered))


def _usable(values: Mapping[str, Values], say: Callable[[str], None]) -> dict[str, Values]:
    """The columns that have labels enough, and not all alike."""
    usable = {}
    for name, column in values.items():
        labels = int(np.isfinite(column).sum())
        if labels >= MIN_LABELS and np.nanstd(column) > 0:
            usable[name] = column
        else:
            say(f"{name}: only {labels} labels, or all alike; left out")
    return usable


def _facts(slope: Slope) -> dict[str, float | str]:
    return {
        "labels": slope.labels,
        "explained": round(slope.explained, 3),
        "mean": round(slope.mean, 3),
        "deviation": round(slope.deviation, 3),
    }


def _only(effects: Effects, names: Sequence[str]) -> dict[str, dict[str, float]]:
    return {name: dict(row) for name, row in effects.items() if name in names}


def judges_of_units(say: Callable[[str], None]) -> Sequence[Judge]:
    """The judges, if their weights are installed; else it is said who measures units without them."""
    judges, missing = installed_judges()
    if missing:
        say("the judges are not installed: units are measured by the probes alone")
    return judges


class Bench:
    """Scales directions to their unit, and finds out how far they reach and what else they change.

    Args:
        generator: of the model.
        encoder: of the model.
        codes: (N, w_dim) of known faces.
        probes: read attributes from codes.
        judges: measure the unit of the attributes that name a score of theirs.
    """

    def __init__(
        self,
        generator: StyleGAN2,
        encoder: ResidualEncoder,
        codes: Tensor,
        probes: Sequence[Probe],
        judges: Sequence[Judge],
    ) -> None:
        self.generator, self.encoder, self.probes, self.judges = generator, encoder, probes, judges
        self.spread, self.codes = Spread.of(codes), codes
        self.faces = codes[:: max(1, len(codes) // CALIBRATION_FACES)]
        self.judged = self.faces[:: max(1, len(self.faces) // JUDGED_FACES)]
        self.deviations = judged_deviations(judges, generator, self.judged) if judges else {}

    def calibrate(self, one: Attribute, slope: Slope) -> tuple[Direction, dict[str, float], dict[str, float | str]]:
        """The direction, its effect on every probed attribute, and what is worth writing down."""
        rows = self.generator.num_ws
        layers = (round(one.layers[0] * rows), max(round(one.layers[0] * rows) + 1, round(one.layers[1] * rows)))
        step = torch.zeros(rows, self.generator.w_dim)
        step[layers[0] : layers[1]] = _float(slope.vector)
        note = one.note or (f"rough: {ROUGH}" if slope.explained < ROUGH_BELOW else "")
        direction = Direction(one.name, step, layers, one.range, one.low, one.high, note=note)
        effects, effect, by = self._measured(one, direction)
        factor = factor_of(effect)
        scaled = {name: round(factor * value, 3) for name, value in effects.items()}
        return direction.scaled(factor), scaled, {"drawn_effect": round(effect, 3), "measured_by": by}

    def changed(
        self, one: Attribute, old: Direction, step: Tensor, bend: Tensor | None, how: Mapping[str, str]
    ) -> tuple[Direction, dict[str, float], dict[str, float | str]]:
        """`old` along another path (num_ws, w_dim), its effect on every probed attribute, and what to write down."""
        found = replace(old, vector=step, bend=bend, note=one.note or old.note)
        _, effect, by = self._measured(one, found)
        found = found.scaled(factor_of(effect))
        facts: dict[str, float | str] = {"drawn_effect": round(effect, 3), "measured_by": by, **how}
        return replace(found, range=self.limits(one.range, found)), self._rounded(found), facts

    def _measured(self, one: Attribute, found: Direction) -> tuple[dict[str, float], float, str]:
        """Effects of one unit by attribute, the wanted one, and who measured that."""
        effects = self.effects_of(found)
        if one.judge:
            pair = draw_pair(self.generator, self.judged, found.vector, found.bend)
            judged = judged_effect(self.judges, one.judge, pair, self.deviations)
            if judged is not None:
                return effects, judged, "judges"
        return effects, effects[one.name], "probe"

    def effects_of(self, one: Direction) -> dict[str, float]:
        """What one unit changes in the pictures, by attribute."""
        return probed_effects(self.encoder, draw_pair(self.generator, self.faces, one.vector, one.bend), self.probes)

    def disentangle(
        self, directions: Sequence[Direction], effects: Effects, attributes: Sequence[Attribute], *, project: bool
    ) -> tuple[list[Direction], dict[str, dict[str, float]]]:
        """Where asked, take measured side effects out of the directions, and scale them again; cut their ranges."""
        free = {one.name: one.free for one in attributes}
        cleaned, predicted = conditioned(directions, effects, free) if project else (list(directions), effects)
        result, measured = [], {}
        for one in cleaned:
            kept = predicted[one.name][one.name] / max(1e-3, effects[one.name][one.name])
            scaled = one.scaled(min(LARGEST_REPAIR, 1.0 / max(kept, 1e-3))) if project else one
            result.append(replace(scaled, range=self.limits(one.range, scaled)))
            measured[one.name] = self._rounded(scaled)
        return result, measured

    def limits(self, offered: tuple[float, float], one: Direction) -> tuple[float, float]:
        """The range that is offered, cut where faces would leave the codes of known ones."""
        low, high = (self.spread.range_of(self.codes, side * one.step(side).mean(dim=0)) for side in (-1.0, 1.0))
        return max(offered[0], low[0]), min(offered[1], high[1])

    def _rounded(self, one: Direction) -> dict[str, float]:
        return {name: round(value, 3) for name, value in self.effects_of(one).items()}


def _float(values: Values) -> Tensor:
    return torch.from_numpy(values).float()
