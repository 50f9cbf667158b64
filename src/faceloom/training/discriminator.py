"""Discriminators: StyleGAN2's for whole images, and a small one that judges patches of reconstructions.

Sources: Karras et al. 2020, section 4.1 (residual, with minibatch standard deviation); Isola et al. 2017,
"Image-to-Image Translation with Conditional Adversarial Networks", section 3.2.2; Miyato et al. 2018 (spectral
normalisation).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from faceloom.generators import ops
from faceloom.generators.mapping import Linear

MEMORY = 1024
"""How many codes the mean and covariance are taken of."""


class _Convolution(nn.Module):
    """Convolution with an equalised learning rate; halves the size where `down`."""

    kernel: Tensor

    def __init__(self, inputs: int, outputs: int, size: int, *, down: bool = False, activate: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if activate else None
        self.gain = 1.0 / math.sqrt(inputs * size * size)
        self.down = down
        self.register_buffer("kernel", ops.fir_kernel(), persistent=False)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        if self.down:
            # The FIR and the stride are one filter, then the convolution runs without padding lost at the border.
            x = ops.filter_depthwise(x, self.kernel, padding=2 if self.weight.shape[-1] == 3 else 1)
        padding = 0 if self.down else self.weight.shape[-1] // 2
        x = functional.conv2d(x, self.weight * self.gain, stride=2 if self.down else 1, padding=padding)
        return x * gain if self.bias is None else ops.leaky_relu(x, self.bias, gain=gain)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Convolution(inputs, inputs, 3)
        self.down = _Convolution(inputs, outputs, 3, down=True)
        self.shortcut = _Convolution(inputs, outputs, 1, down=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x, math.sqrt(0.5))
        joined: Tensor = shortcut + self.down(self.conv(x), math.sqrt(0.5))
        return joined


class Discriminator(nn.Module):
    """Images (N, 3, S, S) to scores (N, 1), larger for images that look real.

    Args:
        channels: feature maps at 4, 8, ... S pixels, as the generator's.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = channels[::-1]
        self.from_rgb = _Convolution(3, widths[0], 1)
        self.blocks = nn.Sequential(*(_Block(inputs, outputs) for inputs, outputs in itertools.pairwise(widths)))
        self.conv = _Convolution(widths[-1] + 1, widths[-1], 3)
        self.hidden = Linear(widths[-1] * 16, widths[-1])
        self.score = Linear(widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, 1)."""
        x = self.blocks(self.from_rgb(images))
        x = self.conv(torch.cat([x, _batch_deviation(x)], dim=1))
        x = functional.leaky_relu(self.hidden(x.flatten(1)), ops.LEAKY_SLOPE) * ops.ACTIVATION_GAIN
        scores: Tensor = self.score(x)
        return scores


class PatchDiscriminator(nn.Module):
    """Images (N, 3, S, S) to scores (N, 1, S/8, S/8), each of a patch of 46 pixels.

    It learns in thousands of images what sharp skin, hair and eyes look like, where a discriminator of whole faces
    needs hundreds of thousands: what a CPU can afford. Of whole faces it knows nothing: it is for reconstructions only.
    It sees only what is finer than 8 pixels, so that it has no say in colours, which the other losses keep right.
    """

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((3, *widths)):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, 1, S/8, S/8)."""
        coarse = functional.interpolate(functional.avg_pool2d(images, 8), images.shape[2:], mode="bilinear")
        scores: Tensor = self.layers((images - coarse) * 2.0)
        return scores


class FeatureDiscriminator(nn.Module):
    """Feature maps of a frozen network to scores of places, a small judge for each size of maps.

    Whoever looks through features that tell objects apart learns what is wrong with a picture from thousands of images.
    Source: Sauer et al. 2021, "Projected GANs Converge Faster", section 3, without its random mixing of features.

    Args:
        channels: of the maps, fine to coarse.
        w_dim: of the codes.
        width: of its own maps.

    Attributes:
        memory: (MEMORY, w_dim) the codes seen last, see `faceloom.training.adversary.normal_codes`.
        scales: by what maps are divided; 0 until they have been seen.
        weight: what the generator's loss is multiplied with, see `faceloom.training.adversary.FeatureCritic`.
    """

    memory: Tensor
    scales: Tensor
    weight: Tensor

    def __init__(self, channels: Sequence[int], w_dim: int, width: int = 64) -> None:
        super().__init__()
        self.judges = nn.ModuleList()
        for place, inputs in enumerate(channels):
            strides = (2, 2, 1) if place < 2 else (2, 1)  # coarse maps are small
            layers: list[nn.Module] = []
            for stride in strides:
                layers += [spectral_norm(nn.Conv2d(inputs, width, 3, stride, padding=1)), nn.LeakyReLU(0.2)]
                inputs = width
            self.judges.append(nn.Sequential(*layers, spectral_norm(nn.Conv2d(width, 1, 1))))
        self.register_buffer("memory", torch.zeros(MEMORY, w_dim))
        self.register_buffer("scales", torch.zeros(len(self.judges)))
        self.register_buffer("weight", torch.zeros(()))

    def see(self, maps: Sequence[Tensor]) -> None:
        """Fit `scales` to the maps of real images."""
        with torch.no_grad():
            self.scales.copy_(torch.stack([one.square().mean().sqrt() for one in maps]))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Scores (N, 1, H, W), for each size of maps."""
        return [judge(one / scale) for judge, one, scale in zip(self.judges, maps, self.scales, strict=True)]


def _batch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """One map (N, 1, H, W): how much the images of a group differ (Karras et al. 2018, section 3)."""
    count = x.shape[0]
    size = min(group, count) if count % min(group, count) == 0 else count
    groups = x.reshape(size, count // size, *x.shape[1:])
    deviation = (groups.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(size).reshape(count, 1, 1, 1).expand(-1, 1, *x.shape[2:])
