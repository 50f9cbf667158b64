"""How a training step computes: in 16 bits or 32, as it is written or compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ParamSpec, TypeVar, cast

import torch

from faceloom.generators.backends import use_backend

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True)
class Arithmetic:
    """Number format and compiler of the large networks; weights, their averages, codes and losses keep 32 bits.

    The 16-bit format is bfloat16: it has the range of float32, so that gradients need no scaling and activations no
    clamps, as float16 would. What it loses is precision, in convolutions, where sums are kept in 32 bits all the same.
    Gradients of gradients (R1, path length) are taken in 32 bits and uncompiled, since compiled functions have none.

    Attributes:
        half: whether convolutions are computed in bfloat16.
        compiler: backend of `torch.compile` for generator and discriminator, "inductor" for instance; None for no
            compilation. The encoder and frozen features are too small to be worth the wait.
    """

    half: bool = False
    compiler: str | None = None

    def casting(self, device: torch.device) -> AbstractContextManager[object]:
        """A context in which convolutions and matrix products take the number format."""
        return torch.autocast(device.type, torch.bfloat16) if self.half else nullcontext()

    def ready(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """The function, compiled where that is wanted: for each shape of its arguments, when it is first called.

        What is compiled draws with the plain back end, whatever the settings say: compilers understand no other.
        """
        if self.compiler is None:
            return function
        # Batches have one size: a program for it is faster than one for any.
        compiled = cast(Callable[_P, _R], torch.compile(function, backend=self.compiler, dynamic=False))

        def plainly(*positional: _P.args, **named: _P.kwargs) -> _R:
            with use_backend("plain"):
                return compiled(*positional, **named)

        return plainly


def prefer_speed(device: torch.device) -> None:
    """On CUDA, let 32-bit products round their factors to TF32, and let cuDNN try out its algorithms."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


def adam(
    parameters: list[torch.nn.Parameter], rate: float, betas: tuple[float, float], device: torch.device
) -> torch.optim.Adam:
    """Adam, as one kernel for all parameters on CUDA."""
    return torch.optim.Adam(parameters, rate, betas=betas, fused=True if device.type == "cuda" else None)
