"""Reconstruction against editability for one photo: the dial, turned from end to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from faceloom.comparison.plot import Point, scatter
from faceloom.comparison.trials import Panel, choose_trials, draw_edits
from faceloom.directions.direction import DirectionSet
from faceloom.editor import CROP_SIZE
from faceloom.errors import UsageError
from faceloom.imaging.convert import to_images, to_pixels
from faceloom.imaging.sheets import grid
from faceloom.inversion.losses import shared_features
from faceloom.inversion.protocol import fitted
from faceloom.metrics.editability import row_deviation
from faceloom.model import Model
from faceloom.recipe import Edit
from faceloom.types import Crop, Pixels

PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""On the dial, that are measured."""


@dataclass(frozen=True, eq=False)
class Place:
    """What a place on the dial makes of a face.

    Attributes:
        fidelity: the place.
        error: perceptual distance of the reconstruction.
        effect: how far the edit moved the judges' score; how near the code is to W where no judge is installed.
        before, after: (R, R, 3) uint8 RGB, the reconstruction and the edit.
    """

    fidelity: float
    error: float
    effect: float
    before: Pixels
    after: Pixels


def choose_edit(directions: DirectionSet, wanted: Edit | None = None) -> tuple[Edit, str]:
    """The edit to show, and the judges' score that it should raise; that of the first trial where none is wanted."""
    trials = choose_trials(directions)
    if wanted is None and not trials:
        raise UsageError("this model has no directions, and a curve shows what an edit does; import some first")
    if wanted is None:
        return trials[0].edit(), trials[0].score
    directions.check_known([wanted])
    return wanted, next((one.score for one in trials if one.direction == wanted.direction), "")


def trace(
    model: Model,
    crop: Crop,
    edit: Edit,
    score: str,
    panel: Panel,
    progress: Callable[[int, int], None] | None = None,
    places: Sequence[float] = PLACES,
) -> list[Place]:
    """Invert one face at places on the dial, and edit it at each.

    Args:
        model: that everything belongs to.
        crop: the aligned face.
        edit: the edit to show.
        score: what the judges call what it should raise.
        panel: the judges.
        progress: called with the number of places done, and of all.
        places: on the dial.
    """
    images = to_images(crop.pixels)
    compare = shared_features().against(fitted(images, model.generator))
    found = []
    for fidelity in places:
        inversion = model.inverter_at(fidelity).invert(images)
        drawn = inversion.render(model.generator).clamp(-1.0, 1.0)
        ((_, edited),) = draw_edits(model.generator, model.directions, inversion, [edit])
        scores = panel.score(torch.cat([drawn, edited])) if score else {}
        if score in scores:
            sign = float(np.sign(edit.amount)) or 1.0
            effect = sign * float(scores[score][1] - scores[score][0])
        else:
            effect = -float(row_deviation(inversion.codes, model.spread))
        with torch.no_grad():
            error = float(compare(drawn))
        found.append(Place(fidelity, error, effect, to_pixels(drawn)[0], to_pixels(edited)[0]))
        if progress is not None:
            progress(len(found), len(places))
    return found


def curve_sheet(crop: Crop, places: Sequence[Place], edit: Edit, judged: bool, *, cell: int = 160) -> Pixels:
    """The curve, and under it each place's reconstruction and edit.

    Args:
        crop: the aligned face.
        places: as `trace` gives them.
        edit: that was made.
        judged: whether judges said what it did.
        cell: side of each picture in pixels.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    name = f"{edit.direction} {edit.amount:+g}"
    y_label = f"change of the judges' score, {name}" if judged else "nearness of the code to W (no judge sees the edit)"
    points = [Point(one.error, one.effect, f"{one.fidelity:g}", joined=True) for one in places]
    rows = [[crop.pixels, *(one.before for one in places)], [crop.pixels, *(one.after for one in places)]]
    heads = ["photo", *(f"fidelity {one.fidelity:g}" for one in places)]
    table = grid(rows, ["drawn", name], heads, cell=cell)
    plot = scatter(
        points,
        "perceptual distance of the reconstruction (less is better)",
        y_label,
        "More editable or more alike",
        size=(table.shape[1], max(CROP_SIZE, table.shape[1] // 2)),
    )
    return np.concatenate([plot, table])
