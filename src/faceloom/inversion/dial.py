"""The dial from "more editable" to "more like me": one number to a method, its steps and its regularisation.

Every part of a setting grows or falls steadily with the number, so that the reconstruction does, too. The code is moved
first, near the encoder's, because edits survive that best; the rest of the likeness comes from a low-rank tuning of the
generator around the code (see `lowrank`), which leaves the code where edits work.

`faceloom benchmark inversion` measures the dial. The default tunes a little: without that, the face is of the same kind
as the person's; with it, it is the person's (glasses included), and the edits still work.
"""

from __future__ import annotations

import bisect
from dataclasses import astuple, dataclass, replace

from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.errors import UsageError
from faceloom.generators.protocol import Generator
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.losses import Loss
from faceloom.inversion.lowrank import LowRankTuner
from faceloom.inversion.protocol import Inverter
from faceloom.inversion.regularized import RegularizedInverter

DEFAULT_FIDELITY = 0.5
_AFFORDABLE = 256
"""Up to this resolution a CPU optimises a code in seconds; beyond it, in minutes."""
_CODE_RATE = 0.2
_FIRST_STEPS = 100
"""What it takes from W's mean to where an encoder would have begun."""
_HOLD = 0.1
"""How strongly to hold to W, beside how strongly to the encoder's code."""


@dataclass(frozen=True)
class Setting:
    """What a place on the dial means.

    Attributes:
        fidelity: the place, from 0 to 1.
        code_steps: of the optimisation near the encoder's code; 0 for the encoder's code as it is.
        closeness: how strongly that holds the code.
        tuning_steps: of the low-rank tuning; 0 for none.
        locality: how strongly the tuned generator is held to the untuned one near the code.
    """

    fidelity: float
    code_steps: float
    closeness: float
    tuning_steps: float
    locality: float


_KNOTS = (
    Setting(0.0, 0, 0.10, 0, 0.10),
    Setting(0.25, 20, 0.10, 0, 0.10),
    Setting(0.5, 20, 0.10, 55, 0.10),
    Setting(0.75, 25, 0.08, 130, 0.07),
    Setting(1.0, 30, 0.05, 230, 0.03),
)


def setting(fidelity: float) -> Setting:
    """What a place on the dial means; between the knots, in proportion.

    Raises:
        UsageError: if the place is not from 0 to 1.
    """
    if not 0.0 <= fidelity <= 1.0:  # not a number is refused, too
        raise UsageError(f"fidelity goes from 0 (more editable) to 1 (more like the photo), not to {fidelity}")
    above = min(bisect.bisect_right([knot.fidelity for knot in _KNOTS], fidelity), len(_KNOTS) - 1)
    low, high = _KNOTS[above - 1], _KNOTS[above]
    share = (fidelity - low.fidelity) / (high.fidelity - low.fidelity)
    mixed = Setting(*(a + share * (b - a) for a, b in zip(astuple(low), astuple(high), strict=True)))
    return replace(mixed, code_steps=round(mixed.code_steps), tuning_steps=round(mixed.tuning_steps))


def default_fidelity(generator: Generator) -> float:
    """The dial's place where nobody chose one: `DEFAULT_FIDELITY`, or 0, the encoder alone, for a large generator."""
    return DEFAULT_FIDELITY if generator.resolution <= _AFFORDABLE else 0.0


def inverter_at(
    fidelity: float,
    generator: Generator,
    encoder: Encoder | None,
    spread: Tensor,
    *,
    moves: Tensor | None = None,
    loss: Loss | None = None,
) -> Inverter:
    """The method of a place on the dial.

    Args:
        fidelity: from 0, the encoder alone, to 1, as like as can be.
        generator: draws the codes.
        encoder: of this generator; where it has none, an optimisation held in W takes its place.
        spread: (w_dim,) standard deviation of W.
        moves: (K, num_ws, w_dim) the edits that a tuning should keep, see `PivotalTuner`; None where there are none.
        loss: of the pictures; pixel and perceptual distance where None.

    Raises:
        UsageError: if the place is not from 0 to 1.
    """
    chosen = setting(fidelity)
    method = _code(chosen, generator, encoder, spread, loss)
    if chosen.tuning_steps:
        steps = int(chosen.tuning_steps)
        method = LowRankTuner(generator, method, steps=steps, locality=chosen.locality, moves=moves, loss=loss)
    return method


def _code(
    chosen: Setting, generator: Generator, encoder: Encoder | None, spread: Tensor, loss: Loss | None
) -> Inverter:
    steps = int(chosen.code_steps)
    if encoder is None:
        weight = _HOLD * chosen.closeness
        return RegularizedInverter(generator, weight=weight, steps=_FIRST_STEPS + steps, loss=loss)
    if not steps:
        return EncoderInverter(encoder)
    return HybridInverter(
        generator, encoder, spread, steps=steps, closeness=chosen.closeness, rate=_CODE_RATE, loss=loss
    )
