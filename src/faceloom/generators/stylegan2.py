"""StyleGAN2 generator in plain PyTorch, written from the papers.

Sources: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks" (mapping,
truncation, noise); Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (modulation,
architectures); Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (class labels).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators import backends, ops
from faceloom.generators.mapping import Linear, Mapping, MappingConfig
from faceloom.generators.protocol import Generator, Noise
from faceloom.generators.shape import ShapedGenerator

Architecture = Literal["skip", "resnet", "orig"]
# Bounds on what a file may claim to be, checked before anything is built.
_MAX_RESOLUTION = 8192
_MAX_WIDTH = 1 << 16
_MAX_DEPTH = 64
_SMALL = 10**9  # multiplications an image


@dataclass(frozen=True)
class StyleGAN2Config:
    """The shape of a StyleGAN2 generator.

    Attributes:
        resolution: side of the images, a power of two of at least 4.
        channels: feature maps of each block, for 4, 8, ... `resolution` pixels.
        z_dim, w_dim: dimensions of the latent spaces.
        c_dim: number of class labels, 0 for none.
        mapping_layers: number of fully connected layers from z to w.
        mapping_dim: width of the hidden mapping layers; `w_dim` where None.
        mapping_gain: learning-rate multiplier that the mapping weights are stored with.
        architecture: how blocks are joined: "skip" sums an RGB image per block, "resnet" adds features, "orig" neither.
        conv_clamp: bound on the magnitude of activations, for networks trained in half precision; None for none.
        fir_taps: the low-pass filter used when the size doubles.
    """

    resolution: int
    channels: tuple[int, ...]
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    mapping_layers: int = 8
    mapping_dim: int | None = None
    mapping_gain: float = 0.01
    architecture: Architecture = "skip"
    conv_clamp: float | None = None
    fir_taps: tuple[float, ...] = (1.0, 3.0, 3.0, 1.0)

    def __post_init__(self) -> None:
        blocks = self.resolution.bit_length() - 2
        if self.resolution < 4 or self.resolution & (self.resolution - 1):
            raise CheckpointError(f"a StyleGAN2 resolution is a power of two of at least 4, not {self.resolution}")
        if len(self.channels) != blocks:
            raise CheckpointError(
                f"{self.resolution} px needs {blocks} channel counts, one a block; got {len(self.channels)}"
            )
        sizes = (*self.channels, self.z_dim, self.w_dim, self.mapping_dim or self.w_dim)
        if self.resolution > _MAX_RESOLUTION or not all(1 <= size <= _MAX_WIDTH for size in sizes):
            raise CheckpointError("the sizes of the generator's layers are beyond all reason; its file is damaged")
        if not 1 <= self.mapping_layers <= _MAX_DEPTH or not 0 <= self.c_dim <= _MAX_WIDTH:
            raise CheckpointError("the mapping of the generator is beyond all reason; its file is damaged")
        if not 2 <= len(self.fir_taps) <= _MAX_DEPTH or len(self.fir_taps) % 2:
            raise CheckpointError(f"a low-pass filter has an even number of taps, not {len(self.fir_taps)}")

    @property
    def num_ws(self) -> int:
        """Rows of a W+ code: two for each block but the first, one for the first, one for the last toRGB."""
        return 2 * len(self.channels)

    @property
    def mapping(self) -> MappingConfig:
        """Shape of the mapping network."""
        hidden = self.mapping_dim or self.w_dim
        return MappingConfig(self.z_dim, self.w_dim, self.c_dim, self.mapping_layers, hidden, self.mapping_gain)

    @property
    def multiplications(self) -> int:
        """Multiply-adds of one image's convolutions, direct ones, with RGB at every block; shortcuts are left out."""
        total, before = 0, 0
        for block, channels in enumerate(self.channels):
            pixels = 16 << 2 * block
            # The convolution that doubles the size starts from a quarter of the pixels; the first block has none.
            total += pixels * channels * (9 * channels + 3) + pixels // 4 * channels * 9 * before
            before = channels
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> StyleGAN2Config:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: if an entry is missing or unknown.
        """
        data = dict(data)
        try:
            data["channels"] = tuple(int(count) for count in data["channels"])
            for name in ("mapping_gain", "conv_clamp"):
                if data.get(name) is not None and not math.isfinite(data[name]):
                    raise ValueError(f"{name} is {data[name]}")
            if "fir_taps" in data:
                data["fir_taps"] = tuple(float(tap) for tap in data["fir_taps"])
            return cls(**data)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise CheckpointError(f"the description of the generator is malformed: {error}") from error


def is_small(generator: Generator) -> bool:
    """Whether a second core would hardly make it faster, so that it is better left to something else."""
    return isinstance(generator, StyleGAN2) and generator.config.multiplications < _SMALL


def default_channels(resolution: int, base: int, maximum: int) -> tuple[int, ...]:
    """Channel counts base/size, at most `maximum`, for 4, 8, ... `resolution` pixels (Karras et al. 2020)."""
    return tuple(min(base >> exponent, maximum) for exponent in range(2, resolution.bit_length()))


class StyledConvolution(nn.Module):
    """Modulated 3x3 convolution, noise, bias and leaky ReLU; doubles the size where `up`."""

    noise: Tensor

    def __init__(self, config: StyleGAN2Config, inputs: int, outputs: int, resolution: int, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.clamp = config.conv_clamp
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(resolution, resolution))

    def forward(
        self,
        x: Tensor,
        styles: Tensor,
        kernel: Tensor,
        noise: Noise,
        gain: float,
        random: torch.Generator | None,
        painting: ops.Painting | None = None,
    ) -> Tensor:
        """(N, inputs, H, W) and styles (N, inputs) to (N, outputs, H or 2H, W or 2W), or to the image of `painting`."""
        grain: Tensor | None = None
        if noise == "constant":
            grain = self.noise.reshape(-1, 1, *self.noise.shape[-2:])
        elif noise == "random":
            height, width = (2 * side if self.up else side for side in x.shape[2:])
            grain = torch.randn(x.shape[0], 1, height, width, device=x.device, dtype=x.dtype, generator=random)
        clamp = None if self.clamp is None else self.clamp * gain
        draw = backends.styled_convolution(x, self.weight, kernel.shape[0])
        return draw(
            x, self.weight, styles, grain, self.bias, strength=self.noise_strength, gain=gain, clamp=clamp,
            up_kernel=kernel if self.up else None, painting=painting,
        )  # fmt: skip


Doubling = Callable[[StyledConvolution, Tensor, Tensor, Tensor, Noise], Tensor]
"""Draws a layer that doubles the size: the layer, x, its styles, the low-pass kernel and the kind of noise to maps."""


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, without demodulation."""

    def __init__(self, config: StyleGAN2Config, inputs: int) -> None:
        super().__init__()
        self.clamp = config.conv_clamp
        self.gain = 1.0 / math.sqrt(inputs)
        self.affine = Linear(config.w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, styles: Tensor, before: Tensor | None, kernel: Tensor) -> Tensor:
        """(N, inputs, H, W) and styles (N, inputs) to (N, 3, H, W), on top of `before` (N, 3, H/2, W/2) enlarged."""
        draw = backends.to_rgb(x, self.weight, kernel.shape[0])
        return draw(x, self.weight, styles * self.gain, self.bias, clamp=self.clamp, before=before, kernel=kernel)

    def painting(self, styles: Tensor, before: Tensor | None, kernel: Tensor) -> ops.Painting:
        """The same for a convolution to do at once."""
        return ops.Painting(self.weight, styles * self.gain, self.bias, self.clamp, before, kernel)


class Block(nn.Module):
    """The layers of one resolution."""

    def __init__(self, config: StyleGAN2Config, index: int) -> None:
        super().__init__()
        outputs, resolution = config.channels[index], 4 << index
        inputs = config.channels[index - 1] if index else outputs
        last = index == len(config.channels) - 1
        self.up = StyledConvolution(config, inputs, outputs, resolution, up=True) if index else None
        self.conv = StyledConvolution(config, outputs, outputs, resolution, up=False)
        self.to_rgb = ToRGB(config, outputs) if last or config.architecture == "skip" else None
        residual = config.architecture == "resnet" and index > 0
        self.shortcut = nn.Parameter(torch.randn(outputs, inputs, 1, 1)) if residual else None

    @property
    def modulated(self) -> tuple[StyledConvolution | ToRGB, ...]:
        """The layers that take a style, in order."""
        return tuple(layer for layer in (self.up, self.conv, self.to_rgb) if layer is not None)


class StyleGAN2(ShapedGenerator):
    """StyleGAN2 generator: `map` z to ws, `synthesize` ws to images.

    A fresh one has random weights; see `faceloom.load_generator` for trained ones. Weights may be written to; what is
    written through `.data` is not seen, and calls for `faceloom.generators.derived.forget` afterwards.
    """

    config: StyleGAN2Config
    w_mean: Tensor
    kernel: Tensor
    const: nn.Parameter

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__()
        self.config = config
        self.mapping = Mapping(config.mapping)
        self.const = nn.Parameter(torch.randn(1, config.channels[0], 4, 4))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(len(config.channels)))
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("kernel", ops.fir_kernel(config.fir_taps), persistent=False)

    def map(
        self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """Map input latents to style codes, one row for each style layer.

        Args:
            z: (N, z_dim), standard normal.
            labels: (N, c_dim) one-hot or soft classes; needed exactly where the generator is conditional.
            truncation: psi in [0, 1]; 0 gives the mean face, 1 leaves w as it is (Karras et al. 2019, section 4.2 and
                appendix B).
            cutoff: truncate only this many first layers; all where None.

        Returns:
            (N, num_ws, w_dim).

        Raises:
            UsageError: if a shape is wrong, or labels are missing or not wanted.
        """
        return self.mapping.codes(z, labels, self.num_ws, self.w_mean, truncation, cutoff)

    def styles(self, ws: Tensor, resolution: int | None = None) -> list[Tensor]:
        """Style vectors of the space S for ws (N, num_ws, w_dim): one (N, channels) per modulated layer, in order.

        With `resolution`, those that a picture of this size needs. A toRGB layer shares its row of W+ with the first
        layer of the next block. Source: Wu et al. 2021, "StyleSpace Analysis", section 3.
        """
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise UsageError(f"ws must have the shape (N, {self.num_ws}, {self.w_dim}), not {tuple(ws.shape)}")
        styles, row = [], 0
        for block in self._blocks[: self.last_block(resolution) + 1]:
            for offset, layer in enumerate(block.modulated):
                styles.append(layer.affine(ws[:, row + offset]))
            row += 1 if block.up is None else 2
        return styles

    def synthesize(self, ws: Tensor, noise: Noise = "constant", *, resolution: int | None = None) -> Tensor:
        """Draw style codes.

        Args:
            ws: (N, num_ws, w_dim).
            noise: "constant" uses the noise maps stored with the weights, "random" draws fresh ones, "none" leaves
                them out.
            resolution: stop early at this size; only where the architecture is "skip".

        Returns:
            images (N, 3, resolution, resolution), in about [-1, 1], not clamped.

        Raises:
            UsageError: if the shape of ws, the noise or the resolution is wrong.
        """
        return self.synthesize_styles(self.styles(ws, resolution), noise, resolution=resolution)

    def synthesize_styles(
        self,
        styles: list[Tensor],
        noise: Noise = "constant",
        *,
        resolution: int | None = None,
        random: torch.Generator | None = None,
    ) -> Tensor:
        """Draw style vectors of S, as `styles` gives them; see `synthesize`. `random` seeds random noise."""
        if noise not in ("constant", "random", "none"):
            raise UsageError(f'noise is "constant", "random" or "none", not {noise!r}')
        blocks = self.by_block(styles, resolution)
        x: Tensor | None = None
        image: Tensor | None = None
        for index, (convolutions, rgb) in enumerate(blocks):
            if index == len(blocks) - 1 and rgb is not None:
                return self.features(index, x, convolutions, noise, random, painted=(rgb, image))
            x = self.features(index, x, convolutions, noise, random)
            if rgb is not None:
                image = self.paint(index, x, rgb, image)
        return cast(Tensor, image)

    def by_block(self, styles: list[Tensor], resolution: int | None = None) -> list[tuple[list[Tensor], Tensor | None]]:
        """Style vectors, as `styles` gives them, of each block: its convolutions', and its toRGB layer's if any.

        Args:
            styles: those that a picture of this size needs, or more.
            resolution: as there.

        Raises:
            UsageError: if they are too few, or the generator cannot stop there.
        """
        found: list[tuple[list[Tensor], Tensor | None]] = []
        for block in self._blocks[: self.last_block(resolution) + 1]:
            own, styles = styles[: len(block.modulated)], styles[len(block.modulated) :]
            if len(own) < len(block.modulated):
                raise UsageError(
                    f"these are the style vectors of {len(found)} blocks; a picture of this size needs more"
                )
            found.append((own, None) if block.to_rgb is None else (own[:-1], own[-1]))
        return found

    def features(
        self,
        index: int,
        x: Tensor | None,
        styles: list[Tensor],
        noise: Noise = "constant",
        random: torch.Generator | None = None,
        check: Callable[[], None] | None = None,
        painted: tuple[Tensor, Tensor | None] | None = None,
        doubled: Doubling | None = None,
    ) -> Tensor:
        """One step of `synthesize_styles`: the feature maps after a block.

        Args:
            index: of the block, from 0.
            x: (N, C, S/2, S/2), the feature maps before it; None for the first block.
            styles: of its convolutions.
            noise: as there.
            random: as there.
            check: called before every layer; what it raises stops the drawing.
            painted: `style` and `image` as `paint` takes them, where what it gives is all that is wanted.
            doubled: draws the layer that doubles the size, in its place.

        Returns:
            (N, channels, S, S), S being 4 · 2^index; (N, 3, S, S) with `painted`.
        """
        block, layers = self._blocks[index], iter(styles)
        if x is None:
            x = self.const.expand(styles[0].shape[0], -1, -1, -1).contiguous(memory_format=torch.channels_last)
        shortcut = None if block.shortcut is None else ops.upsample(self._project(x, block.shortcut), self.kernel)
        gain = 1.0 if shortcut is None else math.sqrt(0.5)
        painting = None
        if painted is not None and shortcut is None:
            assert block.to_rgb is not None
            painting = block.to_rgb.painting(*painted, self.kernel)
        for layer in (block.up, block.conv):
            if layer is not None:
                if check is not None:
                    check()
                last = layer is block.conv
                if doubled is not None and not last:
                    x = doubled(layer, x, next(layers), self.kernel, noise)
                    continue
                x = layer(
                    x, next(layers), self.kernel, noise, gain if last else 1.0, random, painting if last else None
                )  # fmt: skip
        if shortcut is None:
            return x
        x = x + shortcut * gain
        return x if painted is None else self.paint(index, x, *painted)

    def paint(self, index: int, x: Tensor, style: Tensor, image: Tensor | None) -> Tensor:
        """The other step: the image (N, 3, S, S) after a block, from its feature maps and the image before it."""
        layer = self._blocks[index].to_rgb
        assert layer is not None
        drawn: Tensor = layer(x, style, image, self.kernel)
        return drawn

    def forward(self, z: Tensor, labels: Tensor | None = None, truncation: float = 1.0) -> Tensor:
        """`map`, then `synthesize`."""
        return self.synthesize(self.map(z, labels, truncation))

    @property
    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def last_block(self, resolution: int | None) -> int:
        """The index of the block that gives images of this size; of the last one for None.

        Raises:
            UsageError: if the generator cannot stop there.
        """
        if resolution is None or resolution == self.resolution:
            return len(self.blocks) - 1
        sizes = [4 << index for index in range(len(self.blocks))]
        if self.config.architecture != "skip" or resolution not in sizes:
            raise UsageError(f"this {self.config.architecture} generator cannot stop at {resolution} px")
        return sizes.index(resolution)

    @staticmethod
    def _project(x: Tensor, weight: Tensor) -> Tensor:
        return nn.functional.conv2d(x, weight / math.sqrt(weight.shape[1]))
