"""The edits that methods are compared by, and the networks that say what the edits did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from faceloom.directions.direction import DirectionSet
from faceloom.directions.drawing import synthesize_moved
from faceloom.generators.protocol import Generator
from faceloom.inversion.protocol import Inversion
from faceloom.inversion.tuning import recalled
from faceloom.metrics.judges import Judge, Scores, installed_judges
from faceloom.recipe import Edit

AMOUNT = 2.0
"""Standard deviations of the attribute, or the end of the direction's range where that is nearer."""
JUDGED = {"age": "age", "smile": "happy_logit", "gender": "male_logit"}
"""The directions that a judge has a score for, and that score."""
AWAY = frozenset({"smile", "gender"})
"""Those that are tried away from what the photo shows: who smiles already can hardly be made to smile more."""
FALLBACK = 3
"""How many directions are tried where none of those is there."""


@dataclass(frozen=True)
class Trial:
    """One edit.

    Attributes:
        direction: its name.
        amount: how far.
        score: what the judges call what it should raise; "" where no judge has a word for it.
        away: whether it goes away from what the face is, so that the sign depends on the face.
    """

    direction: str
    amount: float
    score: str
    away: bool = False

    def edit(self, sign: float = 1.0) -> Edit:
        """The edit, in the direction that suits the face."""
        return Edit(self.direction, sign * self.amount)


def choose_trials(directions: DirectionSet) -> tuple[Trial, ...]:
    """Edits that a judge can measure; the first few that there are where there is no such direction."""
    names = [name for name in JUDGED if name in directions.names()] or list(directions.names()[:FALLBACK])
    found = []
    for name in names:
        low, high = directions[name].range
        away = name in AWAY
        found.append(Trial(name, min(AMOUNT, high, -low if away else high), JUDGED.get(name, ""), away))
    return tuple(found)


class Panel:
    """All judges that are installed.

    Attributes:
        missing: why there are none; "" where there are.
    """

    def __init__(self) -> None:
        self.judges: Sequence[Judge]
        self.judges, self.missing = installed_judges()

    def score(self, images: Tensor) -> dict[str, Tensor]:
        """Each score of aligned images (N, 3, S, S), (N,): its mean over the judges that have it."""
        found: dict[str, list[Tensor]] = {}
        for judge in self.judges:
            scores: Scores = judge.score_aligned(images)
            for name, values in scores.items():
                found.setdefault(name, []).append(values)
        return {name: torch.stack(values).mean(dim=0) for name, values in found.items()}


def draw_edits(
    generator: Generator, directions: DirectionSet, found: Inversion, edits: Sequence[Edit]
) -> list[tuple[Tensor, Tensor]]:
    """Draw one face with each edit alone.

    Args:
        generator: the one that was inverted.
        directions: of this generator.
        found: of one face.
        edits: to draw.

    Returns:
        for each edit the code (1, num_ws, w_dim) and the image (1, 3, R, R), clamped to [-1, 1].
    """
    tuning = found.tunings[0] if found.tunings else None
    drawer = generator if tuning is None else recalled(generator, tuning)
    drawn = []
    with torch.no_grad():
        for edit in edits:
            codes, offset = directions.move(found.codes, [edit]), directions.style_offset([edit])
            if tuning is not None:
                codes, offset = tuning.stretched(found.codes, codes), tuning.stretched_offset(offset)
            drawn.append((codes, synthesize_moved(drawer, codes, offset).clamp(-1.0, 1.0)))
    return drawn
