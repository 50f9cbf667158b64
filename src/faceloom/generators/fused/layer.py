"""Styled convolutions as functions on tensors, with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from faceloom.generators import ops
from faceloom.generators.derived import derived, wants_gradients
from faceloom.generators.fused import backward, forward, image, vectors
from faceloom.generators.fused.packing import LANES, padded
from faceloom.generators.fused.sizes import Activation


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
    """As `ops.styled_convolution`, for float32 on a CPU, in channels_last; differentiable once."""
    gain *= ops.ACTIVATION_GAIN  # see there why it may go inside
    factors, bias = vectors.demodulation(weight, styles, bias, gain)
    if isinstance(strength, Tensor):
        if noise is not None and wants_gradients(strength):
            noise, strength = noise * strength, 1.0
        else:
            strength = strength.detach()
    grain = None if noise is None else noise.squeeze(1).contiguous()
    taps = None if up_kernel is None else derived(up_kernel, "fused mirrored taps", _mirrored_taps)
    outputs, inputs = weight.shape[:2]
    more, extra = padded(inputs, LANES) - inputs, padded(outputs, LANES) - outputs
    if more:
        x, styles = functional.pad(x, (0, 0, 0, 0, 0, more)), functional.pad(styles, (0, more))
    if extra:
        factors, bias = functional.pad(factors, (0, extra)), functional.pad(bias, (0, extra))
    x = x.contiguous(memory_format=torch.channels_last)
    act = Activation(ops.LEAKY_SLOPE, clamp, float(strength) * gain, taps)
    given = x, styles.contiguous(), factors.contiguous(), grain, bias.contiguous(), weight
    if painting is not None and forward.paints(x, act) and not wants_gradients(*given, *painting[:3], painting.before):
        return image.paint_at_once(lambda filters: forward.convolve(*given, act, filters), painting)
    apply: Callable[..., Tensor] = _StyledConvolution.apply if wants_gradients(*given) else forward.convolve
    y = apply(*given, act)
    y = y[:, :outputs] if extra else y
    return y if painting is None else image.paint(y, painting)


def _mirrored_taps(kernel: Tensor) -> Tensor:
    return kernel.sum(0).flip(0) * 2.0


class _StyledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        styles: Tensor,
        factors: Tensor,
        noise: Tensor | None,
        bias: Tensor,
        weight: Tensor,
        act: Activation,
    ) -> Tensor:
        y = forward.convolve(x, styles, factors, noise, bias, weight, act)
        ctx.save_for_backward(x, styles, factors, noise, bias, weight, y)
        ctx.act = act
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, styles, factors, noise, bias, weight, y = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        wants_noise = noise is not None and ctx.needs_input_grad[3]
        before, sums, pixels = backward.before_activation(y, grad, noise, ctx.act, wants_noise)
        by_value, plain, by_noise = sums.unbind(1)
        found: list[Tensor | None] = [None] * 7
        if ctx.needs_input_grad[2]:
            # What multiplied the factor is the value before the activation, without noise and bias, over the factor.
            found[2] = (by_value - by_noise * ctx.act.noise_gain - bias * plain) / factors
        if wants_noise:
            pixels = pixels.reshape(x.shape[0], *y.shape[2:])
            found[3] = ctx.act.noise_gain * (pixels.sum(0, keepdim=True) if noise.shape[0] == 1 else pixels)
        if ctx.needs_input_grad[4]:
            found[4] = plain.sum(0)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            found[0], found[1] = backward.convolve(before, x, styles, factors, weight, ctx.act)
        if ctx.needs_input_grad[5]:
            found[5] = backward.filters(before, x, styles, factors, weight, ctx.act)
        return tuple(found)
