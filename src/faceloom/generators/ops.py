"""The arithmetic of style-based generators, as functions on tensors.

All of it is plain PyTorch: it runs on CPU, CUDA and MPS, is differentiable, and compiles nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from faceloom.generators import winograd
from faceloom.generators.derived import derived, wants_gradients

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
EPSILON = 1e-8
_SMALL_MAP = 16 * 16


class Painting(NamedTuple):
    """A toRGB layer that comes next, where its image is all that is wanted; see `to_rgb`."""

    weight: Tensor
    styles: Tensor
    bias: Tensor
    clamp: float | None
    before: Tensor | None
    kernel: Tensor


class Linear(Protocol):
    """As `linear`."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor, *, gain: float = 1.0, bias_gain: float = 1.0) -> Tensor:
        """Vectors to vectors."""
        ...


def fir_kernel(taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)) -> Tensor:
    """The separable low-pass filter of StyleGAN2 as a (K, K) tensor that sums to 1.

    Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 4 and appendix B.
    """
    line = torch.tensor(taps, dtype=torch.float32, device="cpu")
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def normalize_second_moment(x: Tensor) -> Tensor:
    """Scale each row of (N, D) to a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + EPSILON).rsqrt()


def linear(x: Tensor, weight: Tensor, bias: Tensor, *, gain: float = 1.0, bias_gain: float = 1.0) -> Tensor:
    """The sum gain · x · weightᵀ + bias_gain · bias, for (N, I), (O, I) and (O,)."""
    # Not a scaled weight: that is more work than the product, and wakes threads.
    return torch.addmm(bias, x, weight.t(), beta=bias_gain, alpha=gain)


def leaky_relu(x: Tensor, bias: Tensor, *, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Add a bias per channel to (N, C, H, W), apply the leaky ReLU at unit variance, then `gain` and `clamp`."""
    x = F.leaky_relu(x + bias.reshape(1, -1, 1, 1), LEAKY_SLOPE) * (ACTIVATION_GAIN * gain)
    return x if clamp is None else x.clamp(-clamp, clamp)


def filter_depthwise(
    x: Tensor, kernel: Tensor, *, padding: int, gain: float = 1.0, stride: int = 1, bias: Tensor | None = None
) -> Tensor:
    """Convolve every channel of (N, C, H, W) with the same (K, K) kernel, and add a bias (C,)."""
    channels = x.shape[1]
    weight = (kernel.flip((0, 1)) * gain).expand(channels, 1, *kernel.shape)
    return F.conv2d(x, weight.to(x.dtype), bias, padding=padding, stride=stride, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Double height and width of (N, C, H, W): zeros between the samples, then the low-pass filter."""
    channels, size = x.shape[1], kernel.shape[0]
    weight = (kernel * 4.0).expand(channels, 1, size, size).to(x.dtype)
    return F.conv_transpose2d(x, weight, stride=2, padding=(size - 1) // 2, groups=channels)


def downsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Halve height and width of (N, C, H, W): the low-pass filter, then every other sample."""
    return filter_depthwise(x, kernel, padding=(kernel.shape[0] - 1) // 2, stride=2)


def convolve_up(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolution of (N, C, H, W) with (O, C, 3, 3) that doubles the size: transposed, then low-pass filtered."""
    if _waits_for_filters(x, weight):
        x = _spread_by_product(x, weight)
    else:
        x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return filter_depthwise(x, kernel, padding=(kernel.shape[0] - 1) // 2, gain=4.0, bias=bias)


def _waits_for_filters(x: Tensor, weight: Tensor) -> bool:
    """Whether a CPU would take longer to bring filters in the order it wants than to use them; they can be kept in it.

    Larger maps gain nothing from it, and what styles were multiplied to, as `_scales_filters` says, is new each time.
    """
    small = x.shape[2] * x.shape[3] <= _SMALL_MAP and x[0].numel() <= weight.numel()
    return x.device.type == "cpu" and small and not wants_gradients(weight)


def _spread_by_product(x: Tensor, weight: Tensor) -> Tensor:
    """The transposed convolution of `convolve_up`, as one matrix product."""
    inputs, size = weight.shape[1:3]
    rows = derived(weight, "rows of taps", lambda plain: plain.permute(0, 2, 3, 1).reshape(-1, inputs))
    taps = rows @ x.flatten(2)
    spread = F.fold(taps, (2 * x.shape[2] - 2 + size, 2 * x.shape[3] - 2 + size), size, stride=2)
    return spread.contiguous(memory_format=torch.channels_last)


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """Factors (N, O) that bring every modulated filter of `weight` (O, I, K, K) to unit norm.

    Source: Karras et al. 2020, equation 3.
    """
    return (styles.square() @ squares(weight).t() + EPSILON).rsqrt()


def squares(weight: Tensor) -> Tensor:
    """Sums of squares (O, I) of filters (O, I, K, K)."""
    return derived(weight, "squares", lambda plain: plain.square().sum(dim=(2, 3)).contiguous())


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
    painting: Painting | None = None,
) -> Tensor:
    """Modulated convolution, noise, bias, leaky ReLU at unit variance times `gain`, and clamp.

    Args:
        x: (N, I, H, W).
        weight: (O, I, K, K), K odd.
        styles: (N, I).
        noise: (N or 1, 1, H', W') to add, or None.
        bias: (O,).
        strength: factor of the noise.
        gain: of the outcome; positive.
        clamp: bound on the magnitude of the outcome.
        up_kernel: as in `modulated_convolution`.
        painting: what follows, where its image is wanted instead.

    Returns:
        (N, O, H', W'): H by W, or twice as large with `up_kernel`; (N, 3, H', W') with `painting`.
    """
    # The leaky ReLU of a positive multiple is the multiple of the leaky ReLU: the gain goes where there is least to do.
    gain *= ACTIVATION_GAIN
    noise = None if noise is None else noise * (strength * gain)
    kept = wants_gradients(x, weight, styles, noise, bias)  # else memory is written over
    factors, bias = demodulation(weight, styles) * gain, bias * gain
    if _scales_filters(x, weight, styles, up_kernel):
        weight = weight * styles.reshape(1, -1, 1, 1) * factors.reshape(-1, 1, 1, 1)
        y = _convolve(x, weight, bias, up_kernel)
    else:
        y = _convolve(x * styles.reshape(*styles.shape, 1, 1), weight, None, up_kernel)
        factors, bias = factors.reshape(*factors.shape, 1, 1), bias.reshape(1, -1, 1, 1)
        y = torch.addcmul(bias, y, factors) if kept else y.mul_(factors).add_(bias)
    if kept:
        y = F.leaky_relu(y if noise is None else y + noise, LEAKY_SLOPE)
    else:
        y = F.leaky_relu_(y if noise is None else y.add_(noise), LEAKY_SLOPE)
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if painting is None else paint(y, painting)


def _scales_filters(x: Tensor, weight: Tensor, styles: Tensor, up_kernel: Tensor | None) -> bool:
    """Whether styles go on the filters, which can only be shared within one image, as they move fewer bytes.

    Where styles want gradients and filters do not, they go on the activations: through the filters, the gradient of
    styles costs as much as that of the filters themselves. So they do where filters are used in a form that is kept.
    """
    if up_kernel is None and winograd.pays(x, weight):
        return False
    if torch.is_grad_enabled() and styles.requires_grad and not weight.requires_grad:
        return False
    return x.shape[0] == 1 and weight.numel() < x.numel()


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, up_kernel: Tensor | None) -> Tensor:
    if x.device.type == "cpu" and wants_gradients(weight):
        x = x.contiguous()  # a CPU takes six times as long for gradients of filters where channels are last
    if up_kernel is not None:
        return convolve_up(x, weight, up_kernel, bias)
    if bias is None and winograd.pays(x, weight):
        return winograd.convolve(x, weight)
    if weight.shape[2] > 1 and _waits_for_filters(x, weight):
        weight = derived(weight, "channels last", lambda plain: plain.contiguous(memory_format=torch.channels_last))
    return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)


def modulated_convolution(
    x: Tensor, weight: Tensor, styles: Tensor, *, demodulate: bool = True, up_kernel: Tensor | None = None
) -> Tensor:
    """Style-modulated convolution.

    The style can scale either the input activations or the filters; the result is the same and whichever moves fewer
    bytes is done. Filters can only be shared within one image, so batches always scale activations.

    Args:
        x: (N, I, H, W).
        weight: (O, I, K, K), K odd.
        styles: (N, I), one factor per input channel.
        demodulate: whether to bring the filters back to unit norm.
        up_kernel: where given, the output is twice as large, low-pass filtered by this kernel.

    Returns:
        (N, O, H, W), or (N, O, 2H, 2W) with `up_kernel`.

    Source: Karras et al. 2020, equations 1 to 3.
    """
    factors = demodulation(weight, styles) if demodulate else None
    scale_filters = _scales_filters(x, weight, styles, up_kernel)
    if scale_filters:
        weight = weight * styles.reshape(1, -1, 1, 1)
        if factors is not None:
            weight = weight * factors.reshape(-1, 1, 1, 1)
    else:
        x = x * styles.reshape(*styles.shape, 1, 1)
    x = _convolve(x, weight, None, up_kernel)
    return x if scale_filters or factors is None else x * factors.reshape(*factors.shape, 1, 1)


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
    """Modulated 1x1 convolution without demodulation to red, green and blue, added to an image enlarged.

    Args:
        x: (N, I, H, W).
        weight: (3, I, 1, 1).
        styles: (N, I).
        bias: (3,).
        clamp: bound on the magnitude of what is added.
        before: (N, 3, H/2, W/2), the image to enlarge and add; None for none.
        kernel: (K, K), the low-pass filter for it.

    Returns:
        (N, 3, H, W).
    """
    y = modulated_convolution(x, weight, styles, demodulate=False) + bias.reshape(1, -1, 1, 1)
    y = y if clamp is None else y.clamp(-clamp, clamp)
    return y if before is None else upsample(before, kernel) + y


def blend(
    first: Tensor, step: Tensor, amount: float, factors: Tensor, noise: Tensor | None, bias: Tensor, clamp: float | None
) -> Tensor:
    """The activation of a convolution that is known at two styles, at a style on the line through them.

    Args:
        first: (N, O, H, W), at the first style, before demodulation.
        step: (N, O, H, W), how much it changes up to the second.
        amount: how many such changes.
        factors: (N, O), of its channels.
        noise: (N or 1, 1, H, W) to add, or None.
        bias: (O,).
        clamp: bound on the magnitude of the outcome.

    Returns:
        (N, O, H, W).
    """
    y = torch.add(first, step, alpha=amount).mul_(factors.reshape(*factors.shape, 1, 1)).add_(bias.reshape(1, -1, 1, 1))
    y = F.leaky_relu_(y if noise is None else y.add_(noise), LEAKY_SLOPE)
    return y if clamp is None else y.clamp_(-clamp, clamp)


def paint(x: Tensor, painting: Painting) -> Tensor:
    """`to_rgb` of (N, I, H, W) with all of a `Painting`."""
    weight, styles, bias, clamp, before, kernel = painting
    return to_rgb(x, weight, styles, bias, clamp=clamp, before=before, kernel=kernel)
