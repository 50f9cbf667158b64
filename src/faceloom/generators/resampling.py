"""Changing the sampling of feature maps with filters that neither alias nor leave images of the spectrum.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks", section 3 and appendix C.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from faceloom.errors import CheckpointError


@dataclass(frozen=True)
class Signal:
    """What feature maps can represent: their sampling and their band.

    Attributes:
        size: side in samples, the margin included.
        rate: samples per side of the image.
        cutoff: frequency f_c at which the filters cut, in cycles per side of the image.
        half_width: half of the transition band of the filters, f_h.
    """

    size: int
    rate: int
    cutoff: float
    half_width: float


@dataclass(frozen=True)
class LayerPlan:
    """Sampling and filters of one layer.

    Attributes:
        inputs, outputs: channels.
        before, after: the signals that it takes and gives.
        kernel: side of its convolution.
        to_rgb: whether it is the last one: no demodulation, no non-linearity, no filters.
        radial: whether its filter after the non-linearity is radially symmetric.
        taps: of the filters, for each unit of their factor.
        oversampling: how much finer than both signals the non-linearity works.
    """

    inputs: int
    outputs: int
    before: Signal
    after: Signal
    kernel: int
    to_rgb: bool
    radial: bool
    taps: int
    oversampling: int

    @property
    def inner_rate(self) -> int:
        """Samples per side of the image at the non-linearity."""
        return max(self.before.rate, self.after.rate) * (1 if self.to_rgb else self.oversampling)

    @property
    def up(self) -> int:
        """Factor of the upsampling before the non-linearity."""
        return self.inner_rate // self.before.rate

    @property
    def down(self) -> int:
        """Factor of the downsampling after it."""
        return self.inner_rate // self.after.rate

    @property
    def up_taps(self) -> int:
        """Taps of the filter that belongs to the upsampling; 1 for no filter."""
        return self.taps * self.up if self.up > 1 and not self.to_rgb else 1

    @property
    def down_taps(self) -> int:
        """Taps of the filter that belongs to the downsampling; 1 for no filter."""
        return self.taps * self.down if self.down > 1 and not self.to_rgb else 1

    @property
    def padding(self) -> tuple[int, int]:
        """Samples to add (to cut, where negative) before and after the upsampled rows, for the size to come out."""
        total = (self.after.size - 1) * self.down + 1
        total -= (self.before.size + self.kernel - 1) * self.up
        total += self.up_taps + self.down_taps - 2
        first = (total + self.up) // 2
        return first, total - first

    def up_filter(self) -> Tensor | None:
        """(up_taps,) where there is a filter."""
        return low_pass(self.up_taps, self.before, self.inner_rate, radial=False)

    def down_filter(self) -> Tensor | None:
        """(down_taps,), or (down_taps, down_taps) where it is radial; None where there is none."""
        return low_pass(self.down_taps, self.after, self.inner_rate, radial=self.radial)


def low_pass(taps: int, band: Signal, rate: int, *, radial: bool) -> Tensor | None:
    """A Kaiser-windowed filter, separable (sinc) or radially symmetric (jinc), that sums to 1.

    Source: Karras et al. 2021, section 3.1 and appendix C.
    """
    if taps == 1:
        return None
    place = (np.arange(taps) - (taps - 1) / 2) / rate
    window = np.kaiser(taps, _kaiser_beta(taps, 4 * band.half_width / rate))
    if radial:
        radius = np.hypot(*np.meshgrid(place, place))
        radius = np.maximum(radius, 1e-9)  # the centre, which an odd number of taps hits
        bessel = torch.special.bessel_j1(torch.from_numpy(2 * np.pi * band.cutoff * radius)).numpy()
        values = bessel / radius * np.outer(window, window)
    else:
        values = np.sinc(2 * band.cutoff * place) * window
    values = values / values.sum()
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def _kaiser_beta(taps: int, width: float) -> float:
    """The window's parameter for a transition band of `width`, as a part of half the sampling rate.

    Source: Kaiser 1974, "Nonrecursive digital filter design using the I0-sinh window function".
    """
    attenuation = 2.285 * (taps - 1) * np.pi * width + 7.95
    if attenuation > 50:
        return float(0.1102 * (attenuation - 8.7))
    beyond = max(attenuation - 21, 0.0)
    return float(0.5842 * beyond**0.4 + 0.07886 * beyond)


def upsample(x: Tensor, taps: Tensor | None, factor: int, padding: tuple[int, int]) -> Tensor:
    """Upsample (N, C, H, W): zeros between the samples and around them, then the separable filter at gain factor².

    Args:
        x: (N, C, H, W); fastest in the memory format channels_last.
        taps: (K,), or None for no filter, where the factor must be 1.
        factor: of the sizes.
        padding: zeros before and after the upsampled rows and columns; negative numbers cut.

    Returns:
        (N, C, H', W') with H' = H · factor + padding before and after - K + 1.

    Raises:
        CheckpointError: if there is no filter for a factor above 1.
    """
    if taps is None:
        if factor != 1:
            raise CheckpointError("a layer of the generator enlarges without a filter; its file is damaged")
        return functional.pad(x, (*padding, *padding))
    channels, count = x.shape[1], taps.shape[0]
    line = taps * factor
    before = padding[0] - (count - 1)  # a transposed convolution gives all rows that the filter touches
    for dim in (2, 3):
        size = x.shape[dim] * factor + sum(padding) - count + 1
        column = dim == 2
        weight = (line[:, None] if column else line[None, :]).expand(channels, 1, -1, -1)
        x = functional.conv_transpose2d(x, weight, stride=(factor, 1) if column else (1, factor), groups=channels)
        after = size - before - x.shape[dim]
        x = functional.pad(x, (0, 0, before, after) if column else (before, after))
    return x


def downsample(x: Tensor, taps: Tensor | None, factor: int) -> Tensor:
    """Filter (N, C, H, W), separably by (K,) or by (K, K) taps, and keep every `factor`-th sample; no padding.

    Fastest in the memory format channels_last.
    """
    if taps is None:
        return x[:, :, ::factor, ::factor]
    channels = x.shape[1]
    if taps.ndim == 2:
        square = taps.flip((0, 1)).expand(channels, 1, -1, -1)
        return functional.conv2d(x, square, stride=factor, groups=channels)
    line = taps.flip(0)
    x = functional.conv2d(x, line[None, :].expand(channels, 1, -1, -1), stride=(1, factor), groups=channels)
    return functional.conv2d(x, line[:, None].expand(channels, 1, -1, -1), stride=(factor, 1), groups=channels)
