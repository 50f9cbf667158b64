"""The small residual encoder of the default model.

It predicts one code in W and an offset from it for each style layer, so that a caller can trade editability (no
offsets) for likeness. Source of that split: Tov et al. 2021, "Designing an Encoder for StyleGAN Image Manipulation"
(e4e), section 4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.errors import CheckpointError
from faceloom.imaging.convert import resized

_MAX_RESOLUTION = 4096
_MAX_WIDTH = 16384


@dataclass(frozen=True)
class ResidualEncoderConfig:
    """The shape of a residual encoder.

    Attributes:
        resolution: side of the images that it works on, a power of two.
        widths: channels at `resolution`, and after each halving down to 4 px.
        w_dim, num_ws: shape of the codes of the generator that it belongs to.
        features: length of the vector from which codes are read.
    """

    resolution: int
    widths: tuple[int, ...]
    w_dim: int
    num_ws: int
    features: int = 384

    def __post_init__(self) -> None:
        if len(self.widths) > 16 or self.resolution != 4 << (len(self.widths) - 1):
            raise CheckpointError(f"{self.resolution} px needs one width for each size down to 4, not {self.widths}")
        sizes = (*self.widths, self.w_dim, self.num_ws, self.features)
        if self.resolution > _MAX_RESOLUTION or not all(1 <= size <= _MAX_WIDTH for size in sizes):
            raise CheckpointError("the sizes of the encoder's layers are beyond all reason; its file is damaged")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ResidualEncoderConfig:
        """The inverse of `to_dict`; raises CheckpointError if it is malformed."""
        try:
            return cls(**{**data, "widths": tuple(int(width) for width in data["widths"])})
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the description of the encoder is malformed: {error}") from error


class _Halving(nn.Module):
    """Residual block that halves the size (He et al. 2016, pre-activation is not needed at this depth)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.down_norm = nn.BatchNorm2d(outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.conv_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.down_norm(self.down(x)), 0.2)
        return functional.leaky_relu(x + self.conv_norm(self.conv(x)), 0.2)


class ResidualEncoder(nn.Module):
    """Aligned faces to style codes in W+.

    Attributes:
        w_mean: (w_dim,) what predictions are relative to.
        w_deviation: (w_dim,) standard deviation of the base codes of real faces; the unit of steps in inversion.
    """

    w_mean: Tensor
    w_deviation: Tensor

    def __init__(self, config: ResidualEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(3, config.widths[0], 3, padding=1)
        self.blocks = nn.Sequential(
            *(_Halving(inputs, outputs) for inputs, outputs in zip(config.widths, config.widths[1:], strict=False))
        )
        self.features = nn.Linear(config.widths[-1] * 16, config.features)
        self.base = nn.Linear(config.features, config.w_dim)
        self.offsets = nn.Linear(config.features, config.num_ws * config.w_dim)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)
        self.register_buffer("w_mean", torch.zeros(config.w_dim))
        self.register_buffer("w_deviation", torch.ones(config.w_dim))

    @property
    def resolution(self) -> int:
        """Side of the images that the network works on."""
        return self.config.resolution

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, 3, H, W) to one w (N, w_dim) and offsets from it (N, num_ws, w_dim)."""
        x = self.blocks(functional.leaky_relu(self.stem(resized(images, self.resolution)), 0.2))
        x = functional.leaky_relu(self.features(x.flatten(1)), 0.2)
        offsets = self.offsets(x).reshape(-1, self.config.num_ws, self.config.w_dim)
        return self.w_mean + self.base(x), offsets

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [-1, 1] to ws (N, num_ws, w_dim)."""
        base, offsets = self.split(images)
        return base.unsqueeze(1) + offsets
