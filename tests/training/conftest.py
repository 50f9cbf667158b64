from __future__ import annotations

import numpy as np
import pytest

from faceloom.training.config import TrainingConfig
from faceloom.training.images import FaceSet


@pytest.fixture
def small() -> TrainingConfig:
    """The GAN recipe in miniature."""
    return TrainingConfig(
        resolution=8,
        channels=(8, 8),
        encoder_widths=(4, 8),
        w_dim=4,
        mapping_layers=2,
        mapping_gain=0.01,
        minutes=1.0,
        batch=8,
        momentum=0.0,
        warm=0.0,
        half=0.0,
        perceptual=0.0,
        adversarial=1.0,
        adversarial_from=0.0,
        path_length=2.0,
        reconstructed=0.5,
        judge_reconstructions=False,
        augment=0.6,
        ema_steps=10.0,
    )


@pytest.fixture
def squares() -> FaceSet:
    """Plain pictures of 8 px, each of one colour with another one's centre."""
    random = np.random.default_rng(0)
    pixels = np.repeat(random.integers(0, 256, (64, 1, 1, 3)), 8, axis=1).repeat(8, axis=2).astype(np.uint8)
    pixels[:, 2:6, 2:6] = random.integers(0, 256, (64, 1, 1, 3))
    landmarks = random.uniform(0.2, 0.8, (64, 68, 2))
    return FaceSet(pixels, landmarks, tuple(f"squares/{index}.png" for index in range(64)))
