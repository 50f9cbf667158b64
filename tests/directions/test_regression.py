from __future__ import annotations

import numpy as np
import pytest

from faceloom.directions.regression import regress
from faceloom.errors import DirectionError


def faces(count: int = 2000) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Codes in which two correlated attributes move along two known vectors."""
    random = np.random.default_rng(0)
    first = random.standard_normal(count)
    second = 0.7 * first + 0.7 * random.standard_normal(count)
    ways = (np.eye(12)[0] * 2.0, np.eye(12)[1] * 2.0)
    codes = np.outer(first, ways[0]) + np.outer(second, ways[1]) + 0.3 * random.standard_normal((count, 12))
    return codes, first, second, ways


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_correlated_attributes_are_told_apart() -> None:
    codes, first, second, ways = faces()
    slopes = regress(codes, {"first": first * 10 + 40, "second": second})
    assert cosine(slopes["first"].vector, ways[0]) > 0.99
    assert cosine(slopes["second"].vector, ways[1]) > 0.99
    assert slopes["first"].explained > 0.9
    assert slopes["first"].mean == pytest.approx(40, abs=1)


def test_one_unit_is_one_deviation() -> None:
    codes, first, second, ways = faces()
    slope = regress(codes, {"first": first, "second": second})["first"]
    assert np.linalg.norm(slope.vector) == pytest.approx(np.linalg.norm(ways[0]) * first.std(), rel=0.05)


def test_missing_labels_are_filled_in() -> None:
    codes, first, second, ways = faces()
    first[300:] = np.nan
    slope = regress(codes, {"first": first, "second": second})["first"]
    assert slope.labels == 300
    assert cosine(slope.vector, ways[0]) > 0.98


def test_noise_explains_nothing() -> None:
    codes, first, *_ = faces()
    shuffled = np.random.default_rng(1).permutation(first)
    assert regress(codes, {"x": shuffled})["x"].explained < 0.02


def test_hopeless_labels_are_refused() -> None:
    codes, first, *_ = faces()
    few = np.where(np.arange(len(first)) < 3, first, np.nan)
    with pytest.raises(DirectionError, match="3 labels; 50 are needed"):
        regress(codes, {"x": few})
    with pytest.raises(DirectionError, match="all labels of 'x' are alike"):
        regress(codes, {"x": np.ones(len(first))})
    with pytest.raises(DirectionError, match="not finite"):
        regress(np.full_like(codes, np.nan), {"x": first})
