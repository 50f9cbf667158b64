"""Styled convolutions in 16 bits, for GPUs: plain PyTorch in float16 with channels last, at 32 px and more.

Filters are brought to unit norm and styles to a largest factor of 1 beforehand, and both are made up for with the
demodulation; activations are bounded so that no sum of products can leave the range of float16. Images, styles and
whatever wants gradients keep 32 bits. Source of the idea: Karras et al. 2020, "Training Generative Adversarial Networks
with Limited Data", appendix D.1 (mixed precision, pre-normalised filters and styles, clamped activations). They clamp
at 256; here it is as far out as the number of products allows, for networks that were trained without clamps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from faceloom.generators import ops
from faceloom.generators.derived import derived, wants_gradients

LEAST_SIZE = 32
"""Smaller maps cost little, and what is lost in them is seen all over the picture."""
_LARGEST = torch.finfo(torch.float16).max
_EPSILON = 1e-8


def styled_convolution(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    noise: Tensor | None,
    bias: Tensor,
    *,
    strength: Tensor | float = 1.0,
    gain: float = 1.0,
    clamp: float | None = None,
    up_kernel: Tensor | None = None,
    painting: ops.Painting | None = None,
) -> Tensor:
    """As `ops.styled_convolution`, for x in 16 bits or 32; feature maps of 32 px and more come back in 16."""
    size = x.shape[-1] * (1 if up_kernel is None else 2)
    if size < LEAST_SIZE or wants_gradients(x, weight, styles, noise, bias):
        return ops.styled_convolution(
            x.float(), weight, styles, noise, bias, strength=strength, gain=gain, clamp=clamp, up_kernel=up_kernel,
            painting=painting,
        )  # fmt: skip
    gain *= ops.ACTIVATION_GAIN
    scaled, filters, lost = _scaled(x, weight, styles)
    if up_kernel is None:
        y = F.conv2d(scaled, filters, padding=weight.shape[2] // 2)
    else:
        y = ops.convolve_up(scaled, filters, up_kernel)
    factors = ops.demodulation(weight, styles) * lost * gain
    y.mul_(factors.half().reshape(*factors.shape, 1, 1)).add_((bias * gain).half().reshape(1, -1, 1, 1))
    if noise is not None:
        y.add_((noise * (strength * gain)).half())
    F.leaky_relu_(y, ops.LEAKY_SLOPE)
    if clamp is not None:
        y.clamp_(-clamp, clamp)
    if painting is None:
        return y
    rgb, rgb_styles, rgb_bias, rgb_clamp, before, kernel = painting
    return to_rgb(y, rgb, rgb_styles, rgb_bias, clamp=rgb_clamp, before=before, kernel=kernel)


def to_rgb(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    bias: Tensor,
    *,
    clamp: float | None = None,
    before: Tensor | None = None,
    kernel: Tensor,
) -> Tensor:
    """As `ops.to_rgb`, for x in 16 bits or 32; the image has 32."""
    if x.shape[-1] < LEAST_SIZE or wants_gradients(x, weight, styles, bias):
        return ops.to_rgb(x.float(), weight, styles, bias, clamp=clamp, before=before, kernel=kernel)
    scaled, filters, lost = _scaled(x, weight, styles)
    y = F.conv2d(scaled, filters).float() * lost.reshape(*lost.shape, 1, 1) + bias.reshape(1, -1, 1, 1)
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if before is None else ops.upsample(before, kernel) + y


def _scaled(x: Tensor, weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Styled activations and filters in 16 bits, and the factors (N, O) that their products lack."""
    norms = derived(weight, "norms", lambda plain: plain.square().sum(dim=(1, 2, 3)).sqrt().clamp_min(_EPSILON))
    filters = derived(
        weight,
        "filters in 16 bits",
        lambda plain: (plain / norms.reshape(-1, 1, 1, 1)).half().contiguous(memory_format=torch.channels_last),
    )
    # The sum of n products with a filter of unit norm is at most sqrt(n) times the largest activation.
    bound = _LARGEST / math.sqrt(weight[0].numel())
    top = styles.abs().amax(dim=1, keepdim=True).clamp_min(_EPSILON)
    bounded = x.clamp(-bound, bound).to(torch.float16, memory_format=torch.channels_last)
    return bounded * (styles / top).half().reshape(*styles.shape, 1, 1), filters, norms * top
