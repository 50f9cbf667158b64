"""The inversion methods by name."""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.errors import UsageError
from faceloom.generators.protocol import Generator
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.lowrank import LowRankTuner
from faceloom.inversion.pivotal import PivotalTuner
from faceloom.inversion.projector import Projector
from faceloom.inversion.protocol import Inverter
from faceloom.inversion.refinement import RefinedEncoderInverter
from faceloom.inversion.regularized import RegularizedInverter
from faceloom.inversion.wplus import WPlusInverter

MethodName = Literal["encoder", "refined", "hybrid", "w", "w+", "gaussian", "pn+", "pivotal", "low-rank"]
METHODS: tuple[MethodName, ...] = get_args(MethodName)


def make_method(
    name: MethodName, generator: Generator, encoder: Encoder | None, spread: Tensor, *, steps: int | None = None
) -> Inverter:
    """The method of this name.

    Args:
        name: one of `METHODS`.
        generator: draws the codes.
        encoder: of this generator; None where it has none.
        spread: (w_dim,) standard deviation of W.
        steps: at most; of the last stage where a method has several; the method's own number where None.

    Raises:
        UsageError: if there is no such method, or it needs an encoder.
    """
    if name not in METHODS:
        raise UsageError(f"there is no inversion method {name!r}; choose one of {', '.join(METHODS)}")
    more: dict[str, Any] = {} if steps is None else {"steps": steps}
    if encoder is None:
        return _without_encoder(name, generator, more)
    if name == "encoder":
        return EncoderInverter(encoder)
    if name == "refined":
        return RefinedEncoderInverter(generator, encoder, **more)
    if name == "hybrid":
        return HybridInverter(generator, encoder, spread, **more)
    if name == "low-rank":
        return LowRankTuner(generator, HybridInverter(generator, encoder, spread), **more)
    return _without_encoder(name, generator, more)


def _without_encoder(name: MethodName, generator: Generator, more: dict[str, Any]) -> Inverter:
    if name == "w":
        return Projector(generator, **more)
    if name == "w+":
        return WPlusInverter(generator, **more)
    if name == "gaussian":
        return RegularizedInverter(generator, coordinates="w", **more)
    if name == "pn+":
        return RegularizedInverter(generator, coordinates="pn", **more)
    if name == "pivotal":
        return PivotalTuner(generator, Projector(generator, noise=False), **more)
    raise UsageError(f"the inversion {name!r} needs an encoder, which this model lacks; choose w+, gaussian or pivotal")
