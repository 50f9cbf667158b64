"""What is compared: methods as their papers have them, and places on the dial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from faceloom.comparison.curve import PLACES
from faceloom.errors import UsageError
from faceloom.inversion.dial import DEFAULT_FIDELITY
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.lowrank import LowRankTuner
from faceloom.inversion.pivotal import PivotalTuner
from faceloom.inversion.projector import Projector
from faceloom.inversion.protocol import Inverter
from faceloom.inversion.refinement import RefinedEncoderInverter
from faceloom.inversion.regularized import RegularizedInverter
from faceloom.inversion.wplus import WPlusInverter
from faceloom.model import Model

FULL, HALF, FEW = "all photos", "twice few", "few"


@dataclass(frozen=True, eq=False)
class Contender:
    """A method in the comparison.

    Attributes:
        name: as given to `--methods`.
        label: what it is, for the table.
        make: builds it for a model.
        share: on how many photos it runs: `FULL`, or `HALF` and `FEW` for methods that take long.
    """

    name: str
    label: str
    make: Callable[[Model], Inverter]
    share: str = FULL

    @property
    def fidelity(self) -> float | None:
        """The place on the dial; None for a method."""
        return float(self.name.removeprefix("dial-")) if self.name.startswith("dial-") else None

    @property
    def is_default(self) -> bool:
        """Whether this is where the dial is unless it is turned."""
        return self.fidelity == DEFAULT_FIDELITY


def _dial(fidelity: float, share: str) -> Contender:
    words = f"dial {fidelity:g}" + (" (the default)" if fidelity == DEFAULT_FIDELITY else "")
    return Contender(f"dial-{fidelity:g}", words, lambda m: m.inverter_at(fidelity), share)


def _hybrid(model: Model) -> HybridInverter:
    return HybridInverter(model.generator, model.require_encoder(), model.spread)


def _low_rank(model: Model, moves: Tensor | None) -> LowRankTuner:
    return LowRankTuner(model.generator, _hybrid(model), steps=150, moves=moves)


CONTENDERS = (
    Contender("encoder", "encoder alone", lambda m: EncoderInverter(m.require_encoder())),
    Contender("refined", "encoder, asked 5 times", lambda m: RefinedEncoderInverter(m.generator, m.require_encoder())),
    Contender("hybrid", "encoder, 60 steps in W+", _hybrid, HALF),
    Contender("w", "W and noise maps, 300 steps", lambda m: Projector(m.generator, steps=300), FEW),
    Contender("w+", "W+, 400 steps", lambda m: WPlusInverter(m.generator, steps=400, rate=0.03), FEW),
    Contender(
        "gaussian",
        "W+ held by W's covariance, 120 steps",
        lambda m: RegularizedInverter(m.generator, coordinates="w", steps=120),
        FEW,
    ),
    Contender("pn+", "W+ held in P_N, 120 steps", lambda m: RegularizedInverter(m.generator, steps=120), FEW),
    Contender(
        "pivotal",
        "W, 300 steps, then pivotal tuning, 350",
        lambda m: PivotalTuner(m.generator, Projector(m.generator, steps=300, noise=False)),
        FEW,
    ),
    Contender("low-rank", "hybrid, then low-rank tuning, 150", lambda m: _low_rank(m, None), FEW),
    Contender("low-rank-edits", "the same, local along the edits", lambda m: _low_rank(m, m.directions.moves()), FEW),
    *(_dial(fidelity, FULL if fidelity <= DEFAULT_FIDELITY else HALF) for fidelity in PLACES),
)


def choose_contenders(names: str | None) -> tuple[Contender, ...]:
    """Those named in a list with commas; all where None.

    Raises:
        UsageError: if one is unknown.
    """
    if names is None:
        return CONTENDERS
    known = {one.name: one for one in CONTENDERS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise UsageError(f"there is no method {', '.join(unknown) or 'given'}; choose from {', '.join(known)}")
    return tuple(known[name] for name in wanted)
