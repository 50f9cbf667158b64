"""From z to the style codes of every layer: the part that StyleGAN2 and StyleGAN3 share.

Sources: Karras et al. 2019, "A Style-Based Generator Architecture for Generative Adversarial Networks" (mapping,
truncation); Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (class labels).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from faceloom.errors import UsageError
from faceloom.generators import backends, ops


@dataclass(frozen=True)
class MappingConfig:
    """The shape of a mapping network.

    Attributes:
        z_dim, w_dim: dimensions of the latent spaces.
        c_dim: number of class labels, 0 for none.
        layers: number of fully connected layers.
        dim: width of the hidden layers.
        gain: learning-rate multiplier that the weights are stored with.
    """

    z_dim: int
    w_dim: int
    c_dim: int
    layers: int
    dim: int
    gain: float


class Linear(nn.Module):
    """Fully connected layer with an equalised learning rate (Karras et al. 2018, section 4.1)."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / gain)
        self.bias = nn.Parameter(torch.full((outputs,), bias / gain))
        self.weight_gain = gain / math.sqrt(inputs)
        self.bias_gain = gain

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        multiply = backends.linear(x, self.weight)
        return multiply(x, self.weight, self.bias, gain=self.weight_gain, bias_gain=self.bias_gain)


def even_labels(classes: int, first: int, count: int) -> Tensor | None:
    """One-hot labels (count, classes) that take turns, from the one numbered `first`; None without classes."""
    if not classes:
        return None
    labels = torch.zeros(count, classes)
    labels[torch.arange(count), torch.arange(first, first + count) % classes] = 1.0
    return labels


class Mapping(nn.Module):
    """z, and a label where the generator is conditional, to w."""

    def __init__(self, config: MappingConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = Linear(config.c_dim, config.w_dim) if config.c_dim else None
        widths = [config.z_dim + (config.w_dim if config.c_dim else 0)]
        widths += [config.dim] * (config.layers - 1) + [config.w_dim]
        self.layers = nn.ModuleList(
            Linear(inputs, outputs, gain=config.gain) for inputs, outputs in itertools.pairwise(widths)
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(N, z_dim) and (N, c_dim) to (N, w_dim)."""
        x = ops.normalize_second_moment(z)
        if self.embed is not None:
            x = torch.cat([x, ops.normalize_second_moment(self.embed(labels))], dim=1)
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), ops.LEAKY_SLOPE) * ops.ACTIVATION_GAIN
        return x

    def codes(
        self,
        z: Tensor,
        labels: Tensor | None,
        num_ws: int,
        mean: Tensor,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """Codes of every layer, (N, num_ws, w_dim), pulled towards `mean` (w_dim,); see `Generator.map`.

        Raises:
            UsageError: if a shape is wrong, or labels are missing or not wanted.
        """
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise UsageError(f"z must have the shape (N, {self.config.z_dim}), not {tuple(z.shape)}")
        wanted = (z.shape[0], self.config.c_dim)
        if self.config.c_dim and (labels is None or tuple(labels.shape) != wanted):
            raise UsageError(f"this generator is conditional: give labels of the shape {wanted}")
        if not self.config.c_dim and labels is not None and labels.shape[-1] > 0:
            raise UsageError("this generator is not conditional: leave labels out")
        ws: Tensor = self(z, labels).unsqueeze(1).repeat(1, num_ws, 1)
        if truncation == 1.0:
            return ws
        end = num_ws if cutoff is None else cutoff
        pulled = mean + truncation * (ws[:, :end] - mean)
        return torch.cat([pulled, ws[:, end:]], dim=1)
