"""The colours of one picture on another: each tone gets the colour that the reference has for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceloom.domains.colour import to_lab, to_rgb
from faceloom.types import Pixels

Float = NDArray[np.float32]

_TONES = 33
_OWN = 0.25  # of the picture's own colours that stays


class Palette:
    """The tones of a reference and the colour of each.

    Matching tones by rank is histogram matching; a colour for each tone is what painters call a gradient map.

    Args:
        reference: (H, W, 3) uint8 RGB.
    """

    def __init__(self, reference: Pixels) -> None:
        lab = to_lab(reference.reshape(-1, 3).astype(np.float32) / 255.0)
        lab = lab[np.argsort(lab[:, 0], kind="stable")]
        groups = np.array_split(lab, _TONES)
        self.tones = np.array([group.mean(axis=0) for group in groups], np.float32)

    def apply(self, picture: Pixels, *, keep_colour: bool = False) -> Pixels:
        """A picture (H, W, 3) uint8 RGB in the reference's tones, and in its colours where not `keep_colour`."""
        lab = to_lab(picture.astype(np.float32) / 255.0)
        light = lab[..., 0]
        levels = np.quantile(light, np.linspace(0.0, 1.0, 129))
        rank = np.interp(light, levels + 1e-6 * np.arange(129), np.linspace(0.0, _TONES - 1.0, 129))
        columns = [np.interp(rank, np.arange(_TONES), self.tones[:, channel]) for channel in range(3)]
        mapped = np.stack(columns, axis=-1).astype(np.float32)
        # Half of the way in tone: a bright painting does not make night of a dark room's portrait, nor the reverse.
        result = np.concatenate([0.5 * (light[..., None] + mapped[..., :1]), mapped[..., 1:]], axis=-1)
        result[..., 1:] = lab[..., 1:] if keep_colour else mapped[..., 1:] + _OWN * lab[..., 1:]
        pixels: Pixels = np.rint(to_rgb(result) * 255.0).clip(0, 255).astype(np.uint8)
        return pixels
