"""Moving a style along a line, without convolving again.

Before demodulation a modulated convolution is linear in the styles that scale its input. While the maps before a layer
stay as they are, its outcomes at two styles give it at every style on the line through them; and a slider moves styles
along a line. What follows (demodulation, noise, bias, leaky ReLU) is done anew each time.

Source of the layer: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", equations 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from faceloom.generators import backends, ops
from faceloom.generators.protocol import Noise
from faceloom.generators.stylegan2 import StyledConvolution

MOST_STEPS = 16.0
"""Steps between the two known styles that are gone at most: rounding grows with them."""
_TOLERANCE = 1e-5
LEAST_SIDE = 64
"""Pixels: smaller maps are drawn faster than they are kept."""


class StyleLine:
    """What is known of the layer of one block that doubles the size, while the maps before it stay as they are.

    The first two styles are drawn as ever, and so is a style that is off the line; that gives a new line.

    Args:
        index: of the block.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._styles: Tensor | None = None
        self._first: Tensor | None = None
        self._direction: Tensor | None = None
        self._step: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the maps that are kept."""
        return sum(maps.nbytes for maps in (self._first, self._step) if maps is not None)

    def draw(self, layer: StyledConvolution, x: Tensor, styles: Tensor, kernel: Tensor, noise: Noise) -> Tensor:
        """What `layer` makes of x (N, I, H, W), the same at each call, and styles (N, I); to 1e-5 of its largest value.

        `noise` is "constant" or "none", the same at each call.
        """
        amount = self._amount(styles)
        if amount is not None and self._first is not None and self._step is not None:
            factors, grain, bias = _following(layer, styles, noise)
            blend = backends.blend(self._first, kernel.shape[0])
            return blend(self._first, self._step, amount, factors, grain, bias, layer.clamp)
        y: Tensor = layer(x, styles, kernel, noise, 1.0, None)
        self._note(layer, y, styles, noise)
        return y

    def _amount(self, styles: Tensor) -> float | None:
        """Steps from the first of the known styles to these; None where they are not on the line, or too far."""
        if self._styles is None or self._direction is None or self._styles.shape != styles.shape:
            return None
        moved = styles - self._styles
        amount = float((moved * self._direction).sum() / self._direction.square().sum())
        off = (moved - amount * self._direction).abs().max()
        near = abs(amount) <= MOST_STEPS and bool(off <= _TOLERANCE * styles.abs().max())
        return amount if near else None

    def _note(self, layer: StyledConvolution, y: Tensor, styles: Tensor, noise: Noise) -> None:
        """Know the layer at these styles, too, unless what was clamped hides how large it was."""
        if y.dtype != torch.float32 or (layer.clamp is not None and bool(y.abs().max() >= layer.clamp)):
            return
        factors, grain, bias = _following(layer, styles, noise)
        maps = torch.where(y < 0.0, y / ops.LEAKY_SLOPE, y)
        maps = (maps if grain is None else maps.sub_(grain)).sub_(bias.reshape(1, -1, 1, 1))
        maps = maps.div_(factors.reshape(*factors.shape, 1, 1)).contiguous(memory_format=torch.channels_last)
        if self._first is None or self._styles is None or self._styles.shape != styles.shape:
            self._first, self._styles = maps, styles
            return
        if self._direction is not None and self._step is not None and self._off(styles):
            self._first, self._styles = self._first + self._step, self._styles + self._direction
        self._step, self._direction = maps - self._first, styles - self._styles
        if not bool(self._direction.any()):
            self._step = self._direction = None

    def _off(self, styles: Tensor) -> bool:
        """Whether these styles are off the line, rather than far along it."""
        assert self._styles is not None
        assert self._direction is not None
        moved = styles - self._styles
        amount = (moved * self._direction).sum() / self._direction.square().sum()
        return bool((moved - amount * self._direction).abs().max() > _TOLERANCE * styles.abs().max())


def _following(layer: StyledConvolution, styles: Tensor, noise: Noise) -> tuple[Tensor, Tensor | None, Tensor]:
    """Factors (N, O), noise (1, 1, H, W) and bias (O,) that follow the convolution, the activation's gain included."""
    gain = ops.ACTIVATION_GAIN
    grain = None
    if noise == "constant":
        grain = layer.noise.reshape(-1, 1, *layer.noise.shape[-2:]) * (layer.noise_strength * gain)
    return ops.demodulation(layer.weight, styles) * gain, grain, layer.bias * gain
