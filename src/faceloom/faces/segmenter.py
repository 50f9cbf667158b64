"""The network that tells people from what is behind them.

It is MediaPipe's selfie segmentation ("general", 256 px), rebuilt in PyTorch as the graph in its file says: the small
MobileNetV3 (Howard et al. 2019, "Searching for MobileNetV3", table 2, cut off at stride 16), the squeezed head of its
section 6.4, and three steps upwards in which what is found decides how much of the finer features passes. Weights: npm
package `@mediapipe/selfie_segmentation` (Apache-2.0); `benchmarks/person_network.py` takes them from there.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.checkpoints import native
from faceloom.encoders.features import SameConv
from faceloom.errors import CheckpointError

SIDE = 256
"""Of the pictures that the network was trained on, in pixels."""
KIND = "person-network"


class _Stage(NamedTuple):
    """A row of MobileNetV3's table: `squeeze` 0 leaves the gate out."""

    inputs: int
    wide: int
    outputs: int
    kernel: int
    stride: int
    squeeze: int
    hard: bool


_STAGES = (
    _Stage(16, 16, 16, 3, 2, 8, False),
    _Stage(16, 72, 24, 3, 2, 0, False),
    _Stage(24, 88, 24, 3, 1, 0, False),
    _Stage(24, 96, 32, 5, 2, 24, True),
    _Stage(32, 128, 32, 5, 1, 32, True),
    _Stage(32, 128, 32, 5, 1, 32, True),
    _Stage(32, 96, 32, 5, 1, 24, True),
    _Stage(32, 96, 32, 5, 1, 24, True),
)
_SKIPS = (0, 2)
"""Stages whose results the way upwards sees again, beside the stem's."""


class _Gate(nn.Module):
    """How much of each channel passes, from the means of all channels: (N, C, H, W) to (N, C, 1, 1) in [0, 1]."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, squeezed, 1)
        self.widen = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.widen(functional.relu(self.narrow(means))))


class _Down(nn.Module):
    """Inverted bottleneck: widen, filter each channel, gate, narrow."""

    def __init__(self, stage: _Stage) -> None:
        super().__init__()
        self.expand = SameConv(stage.inputs, stage.wide, 1)
        self.depthwise = SameConv(stage.wide, stage.wide, stage.kernel, stage.stride, depthwise=True)
        self.gate = _Gate(stage.wide, stage.squeeze) if stage.squeeze else None
        self.project = SameConv(stage.wide, stage.outputs, 1)
        self.activate = functional.hardswish if stage.hard else functional.relu
        self.residual = stage.stride == 1

    def forward(self, x: Tensor) -> Tensor:
        wide = self.activate(self.depthwise(self.activate(self.expand(x))))
        if self.gate is not None:
            wide = wide * self.gate(wide)
        out: Tensor = self.project(wide)
        return x + out if self.residual else out


class _Up(nn.Module):
    """Twice as large, with as much of the finer features as the coarser ones let through."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.narrow = SameConv(inputs, channels, 1)
        self.gate = _Gate(channels, channels)
        self.mix = SameConv(channels, channels, 1)
        self.depthwise = SameConv(channels, channels, 3, depthwise=True)

    def forward(self, x: Tensor, finer: Tensor) -> Tensor:
        # Narrowed first: a mix of channels and a mix of neighbours may change places, and this is four times less work.
        coarse = functional.interpolate(self.narrow(x), finer.shape[2:], mode="bilinear", align_corners=False)
        mixed = functional.relu(self.mix(finer * self.gate(finer + coarse) + coarse))
        return mixed + functional.relu(self.depthwise(mixed))


class PersonNetwork(nn.Module):
    """Where people are in pictures; parameters are registered in the order in which the original's graph uses them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 16, 3, 2)
        self.down = nn.ModuleList(_Down(stage) for stage in _STAGES)
        self.head = SameConv(32, 128, 1)
        self.scene = SameConv(32, 128, 1)
        self.up = nn.ModuleList([_Up(128, 24), _Up(24, 16), _Up(16, 16)])
        self.last = nn.ConvTranspose2d(16, 1, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1], sides that 16 divides, to (N, 1, H, W) in [0, 1]: how likely a person is."""
        x = functional.hardswish(self.stem(images))
        skips = [x]
        for index, stage in enumerate(self.down):
            x = stage(x)
            if index in _SKIPS:
                skips.append(x)
        x = functional.relu(self.head(x)) * torch.sigmoid(self.scene(x.mean(dim=(2, 3), keepdim=True)))
        for step in self.up:
            x = step(x, skips.pop())
        return torch.sigmoid(self.last(x))


@cache
def person_network() -> PersonNetwork:
    """The network with its weights, frozen, loaded on first use; raises CheckpointError if its file is damaged."""
    with resources.as_file(resources.files("faceloom") / "assets" / "person" / "person.safetensors") as path:
        tensors, header = native.read(path)
        network = PersonNetwork()
        try:
            if header.kind != KIND:
                raise CheckpointError(f"{path} holds a {header.kind}; install Faceloom again")
            network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not hold the network of people; install Faceloom again") from error
    return network.requires_grad_(False).eval()
