"""StyleGAN2's synthesis as a textbook would write it: the yardstick of `performance.py`, never used to draw.

Written from the papers (Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", section 2 and
appendix B; Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data"), the way published code
does it: each image modulates filters of its own, which one grouped convolution applies; zeros go between the samples
and a two-dimensional filter goes over them; noise, bias, activation and gain are operations of their own; memory is in
PyTorch's default order.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from faceloom.generators.stylegan2 import StyledConvolution, StyleGAN2, ToRGB


class ReferenceStyleGAN2:
    """The synthesis of a StyleGAN2 ("skip") of ours, with its weights.

    Attributes:
        noises: the noise maps by layer, in order, for those who want gradients for them.
    """

    def __init__(self, generator: StyleGAN2) -> None:
        self.generator = generator
        self.kernel = generator.kernel
        self.noises = [
            layer.noise.clone()
            for block in generator._blocks
            for layer in block.modulated
            if isinstance(layer, StyledConvolution)
        ]

    def synthesize(self, ws: Tensor) -> Tensor:
        """Ws (N, num_ws, w_dim) to images (N, 3, H, W)."""
        x = self.generator.const.repeat(ws.shape[0], 1, 1, 1)
        image: Tensor | None = None
        row, noises = 0, iter(self.noises)
        for block in self.generator._blocks:
            for offset, layer in enumerate(block.modulated):
                style = layer.affine(ws[:, row + offset])
                if isinstance(layer, ToRGB):
                    rgb = to_rgb(layer, x, style)
                    image = rgb if image is None else self.enlarge(image) + rgb
                else:
                    x = self.styled(layer, x, style, next(noises))
            row += 1 if block.up is None else 2
        assert image is not None
        return image

    def styled(self, layer: StyledConvolution, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Modulate, demodulate, convolve, filter, add noise and bias, activate."""
        count, inputs, height, width = x.shape
        filters = layer.weight[None] * style[:, None, :, None, None]
        filters = filters * (filters.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, count * inputs, height, width)
        if layer.up:
            filters = filters.transpose(1, 2).reshape(count * inputs, -1, 3, 3)
            x = F.conv_transpose2d(x, filters, stride=2, groups=count)
            x = low_pass(x, self.kernel * 4.0, padding=(1, 1))
        else:
            x = F.conv2d(x, filters.reshape(-1, inputs, 3, 3), padding=1, groups=count)
        x = x.reshape(count, -1, *x.shape[2:])
        x = x + noise * layer.noise_strength
        x = x + layer.bias.reshape(1, -1, 1, 1)
        x = F.leaky_relu(x, 0.2)
        return x * math.sqrt(2.0)

    def enlarge(self, image: Tensor) -> Tensor:
        """Zeros between the samples, then the filter."""
        count, channels, height, width = image.shape
        spread = image.reshape(count, channels, height, 1, width, 1)
        spread = F.pad(spread, [0, 1, 0, 0, 0, 1]).reshape(count, channels, 2 * height, 2 * width)
        return low_pass(spread, self.kernel * 4.0, padding=(2, 1))


def low_pass(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
    """Filter every channel of (N, C, H, W) with (K, K), after padding before and after each dimension."""
    channels = x.shape[1]
    x = F.pad(x, [*padding, *padding])
    weight = kernel.flip((0, 1))[None, None].repeat(channels, 1, 1, 1)
    return F.conv2d(x, weight, groups=channels)


def to_rgb(layer: ToRGB, x: Tensor, style: Tensor) -> Tensor:
    """Modulated 1x1 convolution and bias."""
    count, inputs, height, width = x.shape
    filters = layer.weight[None] * (style * layer.gain)[:, None, :, None, None]
    x = x.reshape(1, count * inputs, height, width)
    x = F.conv2d(x, filters.reshape(-1, inputs, 1, 1), groups=count)
    return x.reshape(count, 3, height, width) + layer.bias.reshape(1, -1, 1, 1)


def published(resolution: int) -> StyleGAN2:
    """A generator of the published sizes (512 channels at most, 32768 over the side), with random weights."""
    from faceloom.generators.stylegan2 import StyleGAN2Config, default_channels

    torch.manual_seed(0)
    generator = StyleGAN2(StyleGAN2Config(resolution, default_channels(resolution, 32768, 512), mapping_layers=2))
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.1)
    return generator.requires_grad_(False)
