"""StyleGAN3 generator, configurations T and R, in plain PyTorch, written from the paper.

Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks"; the mapping is that of StyleGAN2.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators import ops
from faceloom.generators.mapping import Linear, Mapping, MappingConfig
from faceloom.generators.protocol import Noise
from faceloom.generators.resampling import LayerPlan, Signal, downsample, upsample
from faceloom.generators.shape import ShapedGenerator

_RGB = 3
# Bounds on what a file may claim to be, checked before anything is built.
_MAX_RESOLUTION = 4096
_MAX_WIDTH = 1 << 16
_MAX_DEPTH = 64


@dataclass(frozen=True)
class StyleGAN3Config:
    """The shape of a StyleGAN3 generator.

    Attributes:
        resolution: side of the images, a power of two.
        channels: feature maps out of each layer but the last, which draws RGB.
        z_dim, w_dim: dimensions of the latent spaces.
        c_dim: number of class labels, 0 for none.
        mapping_layers: number of fully connected layers from z to w.
        mapping_gain: learning-rate multiplier that the mapping weights are stored with.
        kernel: side of the convolutions, 3 in configuration T and 1 in R.
        radial: whether images are low-pass filtered alike in all directions, as in configuration R.
        critical: number of layers before the last whose cutoff is half the sampling rate.
        first_cutoff, first_stopband: frequencies f_c and f_t of the first layer, in cycles per side of the image.
        last_stopband_rel: f_t of the last layer over its f_c.
        margin: pixels that feature maps are wider than the image on each side.
        filter_taps: taps of the low-pass filters for each unit of their factor.
        oversampling: how much finer than the layer's sampling the non-linearity works.
        conv_clamp: bound on the magnitude of activations; None for none.
        output_scale: what the RGB values are multiplied by.
    """

    resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    mapping_layers: int = 2
    mapping_gain: float = 0.01
    kernel: int = 3
    radial: bool = False
    critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2.0**2.1
    last_stopband_rel: float = 2.0**0.3
    margin: int = 10
    filter_taps: int = 6
    oversampling: int = 2
    conv_clamp: float | None = 256.0
    output_scale: float = 0.25

    def __post_init__(self) -> None:
        if not 4 <= self.resolution <= _MAX_RESOLUTION or self.resolution & (self.resolution - 1):
            raise CheckpointError(f"a StyleGAN3 resolution is a power of two, 4 to 4096, not {self.resolution}")
        layers = len(self.channels)
        if not 0 <= self.critical < layers <= _MAX_DEPTH or not 1 <= self.mapping_layers <= _MAX_DEPTH:
            raise CheckpointError(f"a StyleGAN3 of {layers} layers, {self.critical} of them critical, cannot be")
        sizes = (*self.channels, self.z_dim, self.w_dim)
        if not all(1 <= size <= _MAX_WIDTH for size in sizes) or not 0 <= self.c_dim <= _MAX_WIDTH:
            raise CheckpointError("the sizes of the generator's layers are beyond all reason; its file is damaged")
        counts = (self.kernel, self.filter_taps, self.oversampling)
        if not all(1 <= count <= 16 for count in counts) or not 0 <= self.margin <= 1024 or self.kernel % 2 == 0:
            raise CheckpointError("the filters of the generator are beyond all reason; its file is damaged")
        frequencies = (self.first_cutoff, self.first_stopband, self.last_stopband_rel)
        if not all(math.isfinite(f) and 0.0 < f <= self.resolution for f in frequencies):
            raise CheckpointError("the frequencies of the generator are beyond all reason; its file is damaged")
        gains = (self.mapping_gain, self.output_scale, 1.0 if self.conv_clamp is None else self.conv_clamp)
        if not all(math.isfinite(gain) and gain > 0.0 for gain in gains):
            raise CheckpointError("the gains of the generator are beyond all reason; its file is damaged")

    @property
    def num_ws(self) -> int:
        """Rows of a W+ code: one for the input, one for each layer, one for the colours."""
        return len(self.channels) + 2

    @property
    def mapping(self) -> MappingConfig:
        """Shape of the mapping network."""
        return MappingConfig(self.z_dim, self.w_dim, self.c_dim, self.mapping_layers, self.w_dim, self.mapping_gain)

    @property
    def layers(self) -> tuple[LayerPlan, ...]:
        """Sampling and filters of every layer, the last one (to RGB) included."""
        signals = _signals(self)
        channels = (*self.channels, _RGB)
        plans = []
        for index, width in enumerate(channels):
            before = max(index - 1, 0)
            plans.append(
                LayerPlan(
                    inputs=channels[before],
                    outputs=width,
                    before=signals[before],
                    after=signals[index],
                    kernel=1 if index == len(self.channels) else self.kernel,
                    to_rgb=index == len(self.channels),
                    radial=self.radial and index < len(self.channels) - self.critical,
                    taps=self.filter_taps,
                    oversampling=self.oversampling,
                )
            )
        return tuple(plans)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StyleGAN3Config:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: if an entry is missing or unknown.
        """
        try:
            return cls(**{**data, "channels": tuple(int(count) for count in data["channels"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the description of the generator is malformed: {error}") from error


def _signals(config: StyleGAN3Config) -> tuple[Signal, ...]:
    """The signal behind each layer. Source: Karras et al. 2021, section 3.2, "Flexible layer specifications"."""
    count = len(config.channels)
    last_cutoff = config.resolution / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    steps = np.minimum(np.arange(count + 1) / (count - config.critical), 1.0)
    cutoffs = config.first_cutoff * (last_cutoff / config.first_cutoff) ** steps
    stopbands = config.first_stopband * (last_stopband / config.first_stopband) ** steps
    rates = np.exp2(np.ceil(np.log2(np.minimum(stopbands * 2, config.resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * config.margin
    sizes[-2:] = config.resolution  # the margin is cropped before the colours are mixed
    if not (half_widths > 0).all():
        raise CheckpointError("the layers of the generator have no transition band; its file is damaged")
    return tuple(
        Signal(int(size), int(rate), float(cutoff), float(half_width))
        for size, rate, cutoff, half_width in zip(sizes, rates, cutoffs, half_widths, strict=True)
    )


class FourierInput(nn.Module):
    """A field of random plane waves, which each w turns and shifts; see section 3.2, "Fourier features"."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        first = config.layers[0]
        self.signal, channels = first.before, first.inputs
        # Uniform on the disc of the band.
        radii = torch.rand(channels, 1, device="cpu").sqrt() * self.signal.cutoff
        angles = torch.rand(channels, 1, device="cpu") * math.tau
        self.weight = nn.Parameter(torch.randn(channels, channels))
        self.affine = Linear(config.w_dim, 4)
        self.affine.weight = nn.Parameter(torch.zeros(4, config.w_dim))
        self.affine.bias = nn.Parameter(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.register_buffer("freqs", torch.cat([angles.cos(), angles.sin()], dim=1) * radii)
        self.register_buffer("phases", torch.rand(channels, device="cpu") - 0.5)
        self.register_buffer("transform", torch.eye(3, device="cpu"))

    def forward(self, w: Tensor, transform: Tensor | None) -> Tensor:
        """(N, w_dim) and a transform (3, 3) or (N, 3, 3), the stored one where None, to (N, channels, size, size)."""
        motion = self._motion(w) @ (self.transform if transform is None else transform)
        phases = self.phases + (self.freqs @ motion[:, :2, 2:]).squeeze(2)
        freqs = self.freqs @ motion[:, :2, :2]
        cutoff, rate = self.signal.cutoff, self.signal.rate
        # Waves that a transform has moved beyond the band fade out.
        amplitudes = (1 - (freqs.norm(dim=2) - cutoff) / (rate / 2 - cutoff)).clamp(0, 1)
        size = self.signal.size
        place = (torch.arange(size, device=w.device, dtype=w.dtype) + (0.5 - size / 2)) / rate
        down, right = torch.meshgrid(place, place, indexing="ij")
        grid = torch.stack([right, down], dim=2).reshape(1, -1, 2)
        waves = torch.sin((grid @ freqs.transpose(1, 2) + phases.unsqueeze(1)) * math.tau) * amplitudes.unsqueeze(1)
        mixed = waves @ (self.weight / math.sqrt(self.weight.shape[1])).t()
        return cast(Tensor, mixed.transpose(1, 2).reshape(w.shape[0], -1, size, size))

    def _motion(self, w: Tensor) -> Tensor:
        """(N, 3, 3): rotation and translation that the affine layer makes of w."""
        values = self.affine(w)
        cosine, sine, x, y = (values / values[:, :2].norm(dim=1, keepdim=True)).unbind(dim=1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, one], dim=1)
        shift = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1)
        return turn.reshape(-1, 3, 3) @ shift.reshape(-1, 3, 3)


class AliasFreeLayer(nn.Module):
    """Modulated convolution, then a non-linearity between an upsampling and a downsampling."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None

    def __init__(self, config: StyleGAN3Config, plan: LayerPlan) -> None:
        super().__init__()
        self.plan = plan
        self.clamp = config.conv_clamp
        self.affine = Linear(config.w_dim, plan.inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(plan.outputs, plan.inputs, plan.kernel, plan.kernel))
        self.bias = nn.Parameter(torch.zeros(plan.outputs))
        self.register_buffer("magnitude_ema", torch.ones(()))
        self.register_buffer("up_filter", plan.up_filter())
        self.register_buffer("down_filter", plan.down_filter())

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, inputs, H, W) and (N, w_dim) to (N, outputs, H', W')."""
        x = self._convolve(x, self.affine(w)) + self.bias.reshape(1, -1, 1, 1)
        plan = self.plan
        if plan.to_rgb:
            return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        x = upsample(x, self.up_filter, plan.up, plan.padding)
        x = functional.leaky_relu(x, ops.LEAKY_SLOPE) * ops.ACTIVATION_GAIN
        x = x if self.clamp is None else x.clamp(-self.clamp, self.clamp)
        return downsample(x, self.down_filter, plan.down)

    def _convolve(self, x: Tensor, styles: Tensor) -> Tensor:
        """Modulated convolution of an input that is first brought to unit magnitude, as training has tracked it."""
        weight: Tensor = self.weight
        gain = self.magnitude_ema.rsqrt()
        if self.plan.to_rgb:
            factors = gain
            styles = styles / math.sqrt(weight[0].numel())
        else:
            # Both at unit scale, so that the epsilon of the demodulation does not matter.
            weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
            styles = styles * styles.square().mean(dim=1, keepdim=True).rsqrt()
            factors = (ops.demodulation(weight, styles) * gain)[:, :, None, None]
        x = functional.conv2d(x * styles[:, :, None, None], weight, padding=self.plan.kernel - 1)
        return x * factors


class StyleGAN3(ShapedGenerator):
    """StyleGAN3 generator: `map` z to ws, `synthesize` ws to images.

    A fresh one has random weights; see `faceloom.load_generator` for trained ones.
    """

    config: StyleGAN3Config
    w_mean: Tensor

    def __init__(self, config: StyleGAN3Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config.mapping)
        self.input = FourierInput(config)
        self.layers = nn.ModuleList(AliasFreeLayer(config, plan) for plan in config.layers)
        self.register_buffer("w_mean", torch.zeros(config.w_dim))

    def map(
        self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """Map input latents to style codes, one row for each style layer; see `StyleGAN2.map`.

        Args:
            z: (N, z_dim), standard normal.
            labels: (N, c_dim) one-hot or soft classes; needed exactly where the generator is conditional.
            truncation: psi in [0, 1]; 0 gives the mean face, 1 leaves w as it is.
            cutoff: truncate only this many first layers; all where None.

        Returns:
            (N, num_ws, w_dim).

        Raises:
            UsageError: if a shape is wrong, or labels are missing or not wanted.
        """
        return self.mapping.codes(z, labels, self.num_ws, self.w_mean, truncation, cutoff)

    def synthesize(self, ws: Tensor, noise: Noise = "constant", *, transform: Tensor | None = None) -> Tensor:
        """Draw style codes.

        Args:
            ws: (N, num_ws, w_dim).
            noise: as for other generators; StyleGAN3 has none, so that all its values give the same images.
            transform: (3, 3) or (N, 3, 3), which takes places in the image (from -0.5 to 0.5, right and down) to
                places in the field that is drawn: the inverse of how the image moves. Where None, that of the
                checkpoint, in general none.

        Returns:
            images (N, 3, resolution, resolution), in about [-1, 1], not clamped.

        Raises:
            UsageError: if the shape of ws or of the transform, or the noise, is wrong.
        """
        if noise not in ("constant", "random", "none"):
            raise UsageError(f'noise is "constant", "random" or "none", not {noise!r}')
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(f"ws must have the shape (N, {self.num_ws}, {self.w_dim}), not {tuple(ws.shape)}")
        if transform is not None and tuple(transform.shape) not in ((3, 3), (ws.shape[0], 3, 3)):
            raise UsageError(f"transform must have the shape (3, 3) or (N, 3, 3), not {tuple(transform.shape)}")
        x = self.input(ws[:, 0], transform).contiguous(memory_format=torch.channels_last)
        for layer, w in zip(self.layers, ws[:, 1:].unbind(dim=1), strict=True):
            x = layer(x, w)
        return cast(Tensor, x * self.config.output_scale)

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """`map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, truncation))
