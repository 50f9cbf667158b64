"""Calibration: how far a direction really moves the attribute in the picture.

A step in the code that a probe reads as one standard deviation need not show as one: generator and encoder both shrink
what is rare. So the picture is drawn, encoded again, and read by the same probe.
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.encoders.protocol import Encoder
from faceloom.generators.protocol import Generator

LARGEST_FACTOR = 3.0


@torch.no_grad()
def drawn_effect(generator: Generator, encoder: Encoder, codes: Tensor, step: Tensor, probe: Tensor) -> float:
    """Mean change of the attribute, as the probe reads it from the pictures, for one step.

    Half a step to either side is drawn, which cancels what the attribute already is.

    Args:
        generator: draws (num_ws, w_dim) codes.
        encoder: reads codes from pictures.
        codes: (N, w_dim) codes in W of typical faces.
        step: (w_dim,) the step to measure.
        probe: (w_dim,) reads the attribute from a code, in standard deviations.

    Returns:
        The change in standard deviations.
    """
    ends = []
    for side in (-0.5, 0.5):
        ws = (codes + side * step).unsqueeze(1).expand(-1, generator.num_ws, -1)
        ends.append(encoder(generator.synthesize(ws, "none")).mean(dim=1) @ probe)
    return float((ends[1] - ends[0]).mean())


def calibrated(step: Tensor, effect: float) -> Tensor:
    """The step, scaled to an effect of one standard deviation; at most tripled, for what hardly shows never will."""
    return step * min(LARGEST_FACTOR, 1.0 / max(effect, 1e-3))
