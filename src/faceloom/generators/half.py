"""Styled convolutions in 16 bits, for GPUs: plain PyTorch in float16 with channels last, at 32 px and more.

Filters are brought to unit norm, styles to a largest factor of 1, and activations, where they are large, so far down
that no sum of products leaves the range of float16; all of it is made up for with the demodulation. What a layer gives
is bounded by that range. Images, styles and whatever wants gradients keep 32 bits; so do the sums of the "resnet"
architecture. Source of the idea: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data",
appendix D.1 (mixed precision, pre-normalised filters and styles, activations clamped at 256).
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
_NEARLY = 0.98
"""Rounding may go upwards."""
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
    written = strength if isinstance(strength, Tensor) else None
    if size < LEAST_SIZE or wants_gradients(x, weight, styles, noise, bias, written):
        return ops.styled_convolution(
            x.to(weight.dtype), weight, styles, noise, bias, strength=strength, gain=gain, clamp=clamp,
            up_kernel=up_kernel, painting=painting,
        )  # fmt: skip
    gain *= ops.ACTIVATION_GAIN
    scaled, filters, lost = _scaled(x, weight, styles)
    if up_kernel is None:
        y = F.conv2d(scaled, filters, padding=weight.shape[2] // 2)
    else:
        y = ops.convolve_up(scaled, filters, up_kernel)
    factors = ops.demodulation(weight, styles) * lost * gain
    y.mul_(_short(factors).reshape(*factors.shape, 1, 1)).add_(_short(bias * gain).reshape(1, -1, 1, 1))
    if noise is not None:
        y.add_(_short(noise * (strength * gain)))
    F.leaky_relu_(y, ops.LEAKY_SLOPE)
    clamp = _LARGEST if clamp is None else min(clamp, _LARGEST)
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
        return ops.to_rgb(x.to(weight.dtype), weight, styles, bias, clamp=clamp, before=before, kernel=kernel)
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
    bound = _NEARLY * _LARGEST / math.sqrt(weight[0].numel())
    down = (bound / x.abs().amax(dim=(1, 2, 3)).float().clamp_min(_EPSILON)).clamp_max(1.0).reshape(-1, 1)
    top = styles.abs().amax(dim=1, keepdim=True).clamp_min(_EPSILON)
    scaled = x * (styles / top * down).to(x.dtype).reshape(*styles.shape, 1, 1)
    return scaled.to(torch.float16, memory_format=torch.channels_last), filters, norms * top / down


def _short(x: Tensor) -> Tensor:
    """In 16 bits, what is too large for them as large as they go."""
    return x.clamp(-_LARGEST, _LARGEST).half()
