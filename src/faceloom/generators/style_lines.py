"""Moving a style along a line, without convolving again.

Before demodulation a modulated convolution is linear in the styles that scale its input. While the maps before a layer
stay as they are, its outcomes at two styles give it at every style on the line through them; and a slider moves styles
along a line. What follows (demodulation, noise, bias, leaky ReLU) is done anew each time.

Source of the layer: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN", equations 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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

    Three styles on a line announce a slider. The third and the fourth are kept, from the fifth on none is convolved.

    Args:
        index: of the block.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self._recent: list[Tensor] = []
        self._forget()

    def _forget(self) -> None:
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
        amount = None if self._direction is None else _steps(self._styles, self._direction, styles)
        if amount is not None and abs(amount) <= MOST_STEPS and self._first is not None and self._step is not None:
            factors, grain, bias = _following(layer, styles, noise)
            blend = backends.blend(self._first, kernel.shape[0])
            return blend(self._first, self._step, amount, factors, grain, bias, layer.clamp)
        y: Tensor = layer(x, styles, kernel, noise, 1.0, None)
        if amount is None:
            before, self._recent = self._recent, [*self._recent[-1:], styles]
            if len(before) < 2 or _steps(before[0], before[1] - before[0], styles) is None:
                self._forget()
                return y
        self._note(layer, y, styles, noise)
        return y

    def _note(self, layer: StyledConvolution, y: Tensor, styles: Tensor, noise: Noise) -> None:
        """Know the layer at these styles, too, unless what was clamped hides how large it was."""
        if y.dtype != torch.float32 or (layer.clamp is not None and bool(y.abs().max() >= layer.clamp)):
            return
        factors, grain, bias = _following(layer, styles, noise)
        inverse = (1.0 / factors).reshape(*factors.shape, 1, 1)
        maps = functional.leaky_relu(y, 1.0 / ops.LEAKY_SLOPE)  # the inverse of the one that was done
        maps = maps if grain is None else maps.sub_(grain)
        maps = maps.sub_(bias.reshape(1, -1, 1, 1)).mul_(inverse).contiguous(memory_format=torch.channels_last)
        if self._first is None or self._styles is None:
            self._first, self._styles = maps, styles
        else:
            self._step, self._direction = maps.sub_(self._first), styles - self._styles


def _steps(origin: Tensor | None, direction: Tensor, styles: Tensor) -> float | None:
    """Steps of `direction` from `origin` to these styles (N, I); None where they are not on the line."""
    if origin is None or origin.shape != styles.shape or not bool(direction.any()):
        return None
    moved = styles - origin
    amount = float((moved * direction).sum() / direction.square().sum())
    off = (moved - amount * direction).abs().max()
    return amount if bool(off <= _TOLERANCE * styles.abs().max()) else None


def _following(layer: StyledConvolution, styles: Tensor, noise: Noise) -> tuple[Tensor, Tensor | None, Tensor]:
    """Factors (N, O), noise (1, 1, H, W) and bias (O,) that follow the convolution, the activation's gain included."""
    gain = ops.ACTIVATION_GAIN
    grain = None
    if noise == "constant":
        grain = layer.noise.reshape(-1, 1, *layer.noise.shape[-2:]) * (layer.noise_strength * gain)
    return ops.demodulation(layer.weight, styles) * gain, grain, layer.bias * gain
