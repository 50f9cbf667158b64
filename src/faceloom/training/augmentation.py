"""Augmentations that the discriminator sees, of real and drawn images alike, as strong as it needs them.

Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data": what is done to images and
with which distributions (appendix B: pixel blitting, geometric, colour; the set that serves best, figure 4), and how
the strength follows the discriminator (section 3). Images are resampled once, bilinearly, instead of through the
paper's wavelet filters: real and drawn ones are blurred alike.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ADAPT_EVERY = 4
"""Steps between changes of the strength, as in the paper."""


class Augmentation(nn.Module):
    """Images (N, 3, S, S) to augmented ones, each transformation applied with probability `strength`.

    The strength follows r = E[sign(D(real))]: it rises while the discriminator knows more real images for real than
    `target` says, a sign that it remembers them, and else falls. Nothing waits for the device.

    Args:
        target: of r, 0.6 in the paper.
        rise: images in which the strength goes from 0 to 1.

    Attributes:
        strength: () in [0, 1]; 0 at first.
    """

    strength: Tensor
    sign_sum: Tensor
    sign_count: Tensor

    def __init__(self, target: float = 0.6, rise: int = 200_000) -> None:
        super().__init__()
        self.target, self.rise = target, rise
        for name in ("strength", "sign_sum", "sign_count"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        """Augment; differentiable once with respect to the images."""
        place = _place(len(images), images.shape[-1], self.strength)
        grid = functional.affine_grid(place[:, :2], list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        linear, offset = _colour(len(images), self.strength)
        mixed = torch.einsum("nij,njhw->nihw", linear, moved) + offset.unsqueeze(3)
        return mixed.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def observe(self, real_scores: Tensor) -> None:
        """Take note of the discriminator's scores of augmented real images, (N, 1)."""
        self.sign_sum += real_scores.sign().sum()
        self.sign_count += real_scores.numel()

    @torch.no_grad()
    def adapt(self, images: int) -> None:
        """Change the strength, `images` real images after the last change."""
        told = self.sign_sum / self.sign_count.clamp_min(1.0)
        self.strength += (told - self.target).sign() * (images / self.rise)
        self.strength.clamp_(0.0, 1.0)
        self.sign_sum.zero_()
        self.sign_count.zero_()


def _where(chance: Tensor, values: Tensor, neutral: float) -> Tensor:
    """Each value (N,) with a probability, else `neutral`."""
    return torch.where(torch.rand_like(values) < chance, values, neutral)


def _uniform(count: int, reach: float, like: Tensor) -> Tensor:
    return (torch.rand(count, device=like.device) * 2.0 - 1.0) * reach


def _lognormal(count: int, deviation: float, like: Tensor) -> Tensor:
    """Powers of two with this deviation of the exponent."""
    return torch.exp2(torch.randn(count, device=like.device) * deviation)


def _matrix(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    """(N, R, R) from entries that are (N,) or numbers."""
    filled = [entry if isinstance(entry, Tensor) else torch.full_like(like, entry) for row in rows for entry in row]
    return torch.stack(filled, dim=1).reshape(len(like), len(rows), len(rows))


def _turn(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return _matrix([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], angle)


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return _matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def _shift(x: Tensor, y: Tensor) -> Tensor:
    return _matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


def _place(count: int, size: int, p: Tensor) -> Tensor:
    """(N, 3, 3): where each pixel of the outcome is taken from, in coordinates from -1 to 1.

    All distributions are symmetric, so that they need not be inverted.
    """
    # Mirrored, turned by quarters, moved by whole pixels: up to an eighth of the side, which is 2.
    flip = _where(p, torch.randint(2, (count,), device=p.device).float() * -2.0 + 1.0, 1.0)
    quarter = _where(p, torch.randint(4, (count,), device=p.device).float(), 0.0)
    pixel = 2.0 / size
    gate = torch.rand(count, device=p.device) < p
    steps = [torch.where(gate, (_uniform(count, 0.25, p) / pixel).round() * pixel, 0.0) for _ in range(2)]
    matrix = _scale(flip, torch.ones_like(flip)) @ _turn(quarter * (math.pi / 2.0)) @ _shift(*steps)
    # Scaled, turned before and after it is stretched, moved.
    zoom = _where(p, _lognormal(count, 0.2, p), 1.0)
    half_chance = 1.0 - (1.0 - p).sqrt()
    before, after = (_turn(_where(half_chance, _uniform(count, math.pi, p), 0.0)) for _ in range(2))
    stretch = _where(p, _lognormal(count, 0.2, p), 1.0)
    gate = torch.rand(count, device=p.device) < p
    move = [torch.where(gate, torch.randn(count, device=p.device) * 0.25, 0.0) for _ in range(2)]
    return matrix @ _scale(zoom, zoom) @ before @ _scale(stretch, 1.0 / stretch) @ after @ _shift(*move)


def _colour(count: int, p: Tensor) -> tuple[Tensor, Tensor]:
    """Maps of colours (N, 3, 3), and offsets (N, 3, 1): brightness, contrast, luma flip, hue, saturation."""
    bright = _where(p, torch.randn(count, device=p.device) * 0.2, 0.0)
    contrast = _where(p, _lognormal(count, 0.5, p), 1.0)
    flipped = _where(p, torch.randint(2, (count,), device=p.device).float(), 0.0)
    hue = _where(p, _uniform(count, math.pi, p), 0.0)
    saturation = _where(p, _lognormal(count, 1.0, p), 1.0)
    identity = torch.eye(3, device=p.device)
    grey = torch.full((3, 3), 1.0 / 3.0, device=p.device)  # onto the axis from black to white
    linear = contrast.reshape(-1, 1, 1) * identity
    linear = (identity - 2.0 * grey * flipped.reshape(-1, 1, 1)) @ linear
    linear = _about_grey(hue) @ linear
    linear = (grey + (identity - grey) * saturation.reshape(-1, 1, 1)) @ linear
    # Brightness comes first: a grey offset, which only contrast and the flip change.
    return linear, linear.sum(dim=2, keepdim=True) * bright.reshape(-1, 1, 1)


def _about_grey(angle: Tensor) -> Tensor:
    """Rotations (N, 3, 3) of colours about the axis from black to white (Rodrigues' formula)."""
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3.0)
    mean = (1.0 - cos) / 3.0
    return _matrix(
        [
            [cos + mean, mean - sin, mean + sin],
            [mean + sin, cos + mean, mean - sin],
            [mean - sin, mean + sin, cos + mean],
        ],
        angle,
    )
