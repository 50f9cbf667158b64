"""Tiny networks that inversion is tested on."""

from __future__ import annotations

import pytest
import torch

from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.inversion.losses import PixelLoss

CONFIG = StyleGAN2Config(16, (12, 12, 8), z_dim=8, w_dim=8, mapping_layers=2, mapping_gain=1.0)


@pytest.fixture
def generator() -> StyleGAN2:
    torch.manual_seed(0)
    return StyleGAN2(CONFIG).requires_grad_(False)


@pytest.fixture
def encoder() -> ResidualEncoder:
    torch.manual_seed(1)
    return ResidualEncoder(ResidualEncoderConfig(16, (8, 8, 8), 8, 6, features=16)).requires_grad_(False).eval()


@pytest.fixture
def images(generator: StyleGAN2) -> torch.Tensor:
    """Two pictures that the generator can draw, from codes in W."""
    torch.manual_seed(2)
    return generator.synthesize(generator.map(torch.randn(2, 8)))


@pytest.fixture
def loss() -> PixelLoss:
    """One that needs no large network."""
    return PixelLoss()
