from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceloom.training.augmentation import Augmentation, _about_grey, _colour


def images(count: int = 8, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_without_strength_nothing_changes() -> None:
    assert torch.allclose(Augmentation()(images()), images(), atol=1e-5)


def test_about_as_many_images_change_as_the_strength_says() -> None:
    torch.manual_seed(0)
    augmentation = Augmentation()
    augmentation.strength.fill_(1.0)
    moved = (augmentation(images(64)) - images(64)).abs().amax(dim=(1, 2, 3))
    assert (moved > 0.05).float().mean() > 0.95
    augmentation.strength.fill_(0.05)  # some ten transformations, each on one in twenty
    share = float(((augmentation(images(256)) - images(256)).abs().amax(dim=(1, 2, 3)) > 0.05).float().mean())
    assert 0.15 < share < 0.6


def test_gradients_reach_the_images() -> None:
    torch.manual_seed(0)
    augmentation, seen = Augmentation(), images().requires_grad_()
    augmentation.strength.fill_(0.5)
    augmentation(seen).square().sum().backward()
    assert seen.grad is not None
    assert (seen.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_the_strength_follows_what_the_discriminator_tells() -> None:
    augmentation = Augmentation(target=0.6, rise=1000)
    augmentation.observe(torch.ones(32, 1))
    augmentation.adapt(100)
    assert math.isclose(float(augmentation.strength), 0.1, rel_tol=1e-5)
    augmentation.observe(torch.tensor([[1.0], [1.0], [1.0], [-1.0]]))  # the sum before is forgotten: r is 0.5
    augmentation.adapt(50)
    assert math.isclose(float(augmentation.strength), 0.05, rel_tol=1e-5)
    for _ in range(3):
        augmentation.observe(-torch.ones(4, 1))
        augmentation.adapt(100)
    assert float(augmentation.strength) == 0.0


@settings(max_examples=20, deadline=None)
@given(st.floats(-math.pi, math.pi))
def test_turning_the_hue_keeps_greys_and_distances(angle: float) -> None:
    turn = _about_grey(torch.tensor([angle]))[0]
    assert torch.allclose(turn @ torch.ones(3), torch.ones(3), atol=1e-5)
    assert torch.allclose(turn @ turn.t(), torch.eye(3), atol=1e-5)


def test_colours_keep_greys_grey() -> None:
    torch.manual_seed(0)
    linear, offset = _colour(64, torch.ones(()))
    grey = linear @ torch.full((3, 1), 0.3) + offset
    assert torch.allclose(grey, grey.mean(dim=1, keepdim=True).expand_as(grey), atol=1e-4)
    assert grey.std(dim=0).max() > 0.1
