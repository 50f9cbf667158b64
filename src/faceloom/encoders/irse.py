"""The IR-SE-50 encoders of the pSp family: pSp, e4e, and ReStyle of both kinds.

Sources: Deng et al. 2019, "ArcFace" (the residual units); Hu et al. 2018, "Squeeze-and-Excitation Networks"; Richardson
et al. 2021, "Encoding in Style" (pSp: the pyramid and its heads); Tov et al. 2021, "Designing an Encoder for StyleGAN
Image Manipulation" (e4e: offsets from one code); Alaluf et al. 2021, "ReStyle" (refinement).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.errors import CheckpointError, UsageError
from faceloom.imaging.convert import resized

_MAX_WIDTH = 1 << 14
_MAX_UNITS = 256
_MAX_ROWS = 64
_HEAD_SLOPE = 0.01


@dataclass(frozen=True)
class IRSEConfig:
    """The shape of an IR-SE encoder.

    Attributes:
        inputs: channels of the images: 3, or 6 where a second image is beside the first.
        stem: channels of the first layer.
        stages: channels and number of residual units of each stage; each halves the size.
        pyramid: whether heads may read from the last three stages (pSp, e4e) or only from the last (ReStyle).
        halvings: for each head, which gives one row of the code, how often it halves what it reads; this tells its
            stage too, as each head ends at one pixel.
        squeeze: channels inside the attention of a unit, as a part of its own.
        w_dim: dimension of a row of the code.
        offsets: whether the first head gives one code and the others offsets from it (e4e).
        resolution: side of the images that it was trained on.
    """

    inputs: int
    stages: tuple[tuple[int, int], ...]
    halvings: tuple[int, ...]
    pyramid: bool
    offsets: bool
    stem: int = 64
    squeeze: int = 16
    w_dim: int = 512
    resolution: int = 256

    def __post_init__(self) -> None:
        sizes = (self.stem, self.squeeze, self.w_dim, self.inputs, *(width for width, _ in self.stages))
        units = sum(count for _, count in self.stages)
        sane = all(1 <= size <= _MAX_WIDTH for size in sizes) and all(count >= 1 for _, count in self.stages)
        if not sane or units > _MAX_UNITS or not 1 <= len(self.halvings) <= _MAX_ROWS:
            raise CheckpointError("the sizes of the encoder's layers are beyond all reason; its file is damaged")
        if self.resolution > 4096 or self.resolution % (1 << len(self.stages)) or len(self.stages) < 3:
            raise CheckpointError(f"an encoder of {len(self.stages)} stages cannot read {self.resolution} px")
        last = self.resolution >> len(self.stages)
        known = {(last << level).bit_length() - 1 for level in range(3 if self.pyramid else 1)}
        if last & (last - 1) or not set(self.halvings) <= known:
            raise CheckpointError("the heads of the encoder do not fit the feature maps that they read")

    @property
    def num_ws(self) -> int:
        """Rows of the code."""
        return len(self.halvings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> IRSEConfig:
        """The inverse of `to_dict`; raises CheckpointError if it is malformed."""
        try:
            stages = tuple((int(width), int(count)) for width, count in data["stages"])
            halvings = tuple(int(count) for count in data["halvings"])
            return cls(**{**data, "stages": stages, "halvings": halvings})
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the description of the encoder is malformed: {error}") from error


class _Unit(nn.Module):
    """Residual unit with attention to channels; the one of each stage that comes first halves the size."""

    def __init__(self, inputs: int, outputs: int, squeeze: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.slope = nn.Parameter(torch.full((outputs,), 0.25))
        self.conv_down = nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm_down = nn.BatchNorm2d(outputs)
        self.squeeze = nn.Conv2d(outputs, max(outputs // squeeze, 1), 1, bias=False)
        self.excite = nn.Conv2d(max(outputs // squeeze, 1), outputs, 1, bias=False)
        widens = inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if widens else None
        self.shortcut_norm = nn.BatchNorm2d(outputs) if widens else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        if self.shortcut is None or self.shortcut_norm is None:
            kept = x[:, :, :: self.stride, :: self.stride]
        else:
            kept = self.shortcut_norm(self.shortcut(x))
        x = functional.prelu(self.conv(self.norm(x)), self.slope)
        x = self.norm_down(self.conv_down(x))
        attention = functional.relu(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.excite(attention)) + kept


class _Head(nn.Module):
    """Feature maps (N, w_dim, 2**halvings, 2**halvings) to one row of the code (N, w_dim)."""

    def __init__(self, inputs: int, width: int, halvings: int) -> None:
        super().__init__()
        widths = [inputs] + [width] * halvings
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in itertools.pairwise(widths)
        )
        self.weight = nn.Parameter(torch.randn(width, width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = functional.leaky_relu(conv(x), _HEAD_SLOPE)
        # Stored for an equalised learning rate (Karras et al. 2018, section 4.1).
        return functional.linear(x.flatten(1), self.weight / math.sqrt(self.weight.shape[1]), self.bias)


class IRSEEncoder(nn.Module):
    """Aligned faces to style codes in W+.

    A fresh one has random weights; see `faceloom.load_encoder` for trained ones.

    Attributes:
        w_mean: (num_ws, w_dim), the code that predictions are relative to.
    """

    w_mean: Tensor

    def __init__(self, config: IRSEConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(config.inputs, config.stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(config.stem)
        self.stem_slope = nn.Parameter(torch.full((config.stem,), 0.25))
        self.stages = nn.ModuleList()
        before = config.stem
        for width, count in config.stages:
            units = [_Unit(before, width, config.squeeze, 2)]
            units += [_Unit(width, width, config.squeeze, 1) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*units))
            before = width
        finer = [width for width, _ in config.stages[-2:-4:-1]] if config.pyramid else []
        self.laterals = nn.ModuleList(nn.Conv2d(width, before, 1) for width in finer)
        self.heads = nn.ModuleList(_Head(before, config.w_dim, halvings) for halvings in config.halvings)
        self.register_buffer("w_mean", torch.zeros(config.num_ws, config.w_dim))

    @property
    def resolution(self) -> int:
        """Side of the images that the network works on."""
        return self.config.resolution

    @property
    def num_ws(self) -> int:
        """Rows of the codes."""
        return self.config.num_ws

    @property
    def w_dim(self) -> int:
        """Dimension of a row of the codes."""
        return self.config.w_dim

    def codes(self, images: Tensor) -> Tensor:
        """Images (N, inputs, H, W) in [-1, 1] to codes (N, num_ws, w_dim) relative to `w_mean`.

        Raises:
            UsageError: if the images have another number of channels.
        """
        if images.ndim != 4 or images.shape[1] != self.config.inputs:
            raise UsageError(f"images must have the shape (N, {self.config.inputs}, H, W), not {tuple(images.shape)}")
        maps = self._maps(resized(images, self.resolution))
        rows = [head(maps[halvings]) for head, halvings in zip(self.heads, self.config.halvings, strict=True)]
        codes = torch.stack(rows, dim=1)
        return torch.cat([codes[:, :1], codes[:, :1] + codes[:, 1:]], dim=1) if self.config.offsets else codes

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, inputs, H, W) in [-1, 1], brought to `resolution`, to ws (N, num_ws, w_dim)."""
        return self.codes(images) + self.w_mean

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        """The feature maps that heads read, by how many halvings they are from one pixel."""
        x = functional.prelu(self.stem_norm(self.stem(images)), self.stem_slope)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        pyramid = [x]
        for lateral, finer in zip(self.laterals, reversed(outputs[:-1]), strict=False):
            size = (finer.shape[2], finer.shape[3])
            coarse = functional.interpolate(pyramid[-1], size, mode="bilinear", align_corners=True)
            pyramid.append(coarse + lateral(finer))
        return {level.shape[2].bit_length() - 1: level for level in pyramid}


class Renderer(Protocol):
    """What refinement needs of a generator."""

    def synthesize(self, ws: Tensor) -> Tensor:
        """Ws (N, num_ws, w_dim) to images (N, 3, H, H)."""
        ...


class RefiningEncoder(nn.Module):
    """ReStyle: an encoder that sees the photo beside the render of its last guess, and says what to change.

    Source: Alaluf et al. 2021, "ReStyle", section 3.

    Args:
        encoder: one of 6 channels.
        generator: the one that it was trained for; where it is a module, it becomes a part of this one.
        steps: how often to refine; the paper uses 5.

    Raises:
        CheckpointError: if the encoder takes no second image.
        UsageError: if `steps` is not positive.
    """

    def __init__(self, encoder: IRSEEncoder, generator: Renderer, steps: int = 5) -> None:
        super().__init__()
        if encoder.config.inputs != 6:
            raise CheckpointError(f"refinement needs an encoder of 6 channels, not {encoder.config.inputs}")
        if steps < 1:
            raise UsageError(f"refinement takes 1 step or more, not {steps}")
        self.encoder = encoder
        self.generator = generator
        self.steps = steps

    @property
    def resolution(self) -> int:
        """Side of the images that the network works on."""
        return self.encoder.resolution

    @property
    def num_ws(self) -> int:
        """Rows of the codes."""
        return self.encoder.num_ws

    @property
    def w_dim(self) -> int:
        """Dimension of a row of the codes."""
        return self.encoder.w_dim

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1], brought to `resolution`, to ws (N, num_ws, w_dim)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise UsageError(f"images must have the shape (N, 3, H, W), not {tuple(images.shape)}")
        images = resized(images, self.resolution)
        ws = self.encoder.w_mean.unsqueeze(0)
        for _ in range(self.steps):
            seen = functional.adaptive_avg_pool2d(self.generator.synthesize(ws), self.resolution)
            # The first guess, the mean face, is the same for all images.
            ws = ws + self.encoder.codes(torch.cat([images, seen.expand(images.shape[0], -1, -1, -1)], dim=1))
        return ws
