"""The Fréchet distance, against closed forms and scipy's matrix root."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from faceloom.encoders.features import POOLED_CHANNELS
from faceloom.errors import UsageError
from faceloom.metrics.frechet import frechet_distance, pooled_features


def vectors(count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    return torch.randn(count, width, generator=generator, dtype=torch.float64) @ mixing + 3


shapes = st.tuples(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12), st.integers(0, 1000))


@given(shapes)
def test_equal_sets_are_at_0_in_any_order(shape: tuple[int, int, int, int]) -> None:
    count, _, width, seed = shape
    points = vectors(count, width, seed)
    scale = float(points.square().sum())
    assert frechet_distance(points, points) <= 1e-12 * scale
    assert frechet_distance(points, points.flip(0)) <= 1e-12 * scale


@given(shapes)
def test_symmetric_and_not_negative(shape: tuple[int, int, int, int]) -> None:
    count, other, width, seed = shape
    first, second = vectors(count, width, seed), vectors(other, width, seed + 1)
    distance = frechet_distance(first, second)
    assert distance >= 0
    assert frechet_distance(second, first) == pytest.approx(distance, rel=1e-9)


@given(shapes, st.floats(0.1, 5))
def test_shift_and_scale_have_closed_forms(shape: tuple[int, int, int, int], amount: float) -> None:
    count, _, width, seed = shape
    points = vectors(count, width, seed)
    assert frechet_distance(points, points + amount) == pytest.approx(width * amount**2, rel=1e-6)
    centred = points - points.mean(dim=0)
    spread = float(centred.square().sum() / (count - 1))
    assert frechet_distance(centred, centred * (1 + amount)) == pytest.approx(amount**2 * spread, rel=1e-6)


@pytest.mark.parametrize(("count", "other"), [(50, 70), (50, 6), (5, 7)])
def test_agrees_with_the_matrix_root(count: int, other: int) -> None:
    first, second = vectors(count, 8, 1), vectors(other, 8, 2)
    one, two = (np.cov(points.numpy(), rowvar=False) for points in (first, second))
    shift = float((first.mean(dim=0) - second.mean(dim=0)).square().sum())
    jitter = 1e-10 * np.eye(8)
    root = sqrtm((one + jitter) @ (two + jitter))
    expected = shift + np.trace(one) + np.trace(two) - 2 * np.trace(root).real
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-4)


def test_features_of_pictures() -> None:
    generator = torch.Generator().manual_seed(0)
    sharp = torch.rand(6, 3, 64, 64, generator=generator) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    found = pooled_features([sharp[:4], sharp[4:]])
    assert tuple(found.shape) == (6, POOLED_CHANNELS)
    assert frechet_distance(found, found) < 1e-6
    assert frechet_distance(found, pooled_features([blurred])) > 1
    assert tuple(pooled_features([]).shape) == (0, POOLED_CHANNELS)


def test_refuses_what_has_no_distance() -> None:
    with pytest.raises(UsageError, match="two pictures or more"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(5, 4))
    with pytest.raises(UsageError, match="must be"):
        frechet_distance(torch.zeros(5, 4), torch.zeros(5, 3))
