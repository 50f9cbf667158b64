from __future__ import annotations

import pytest
import torch

from faceloom.errors import UsageError
from faceloom.metrics.coverage import precision_recall


def normal(count: int, seed: int, *, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_two_draws_of_one_distribution_cover_each_other() -> None:
    precision, recall = precision_recall(normal(400, 1), normal(400, 2))
    assert 0.75 < precision <= 1.0
    assert 0.75 < recall <= 1.0


def test_equal_sets_cover_each_other_wholly() -> None:
    assert precision_recall(normal(50, 1), normal(50, 1)) == (1.0, 1.0)


def test_a_narrow_set_is_precise_but_does_not_cover() -> None:
    precision, recall = precision_recall(normal(400, 1, scale=0.3), normal(400, 2))
    assert precision > 0.95
    assert recall < 0.3


def test_distant_sets_share_nothing() -> None:
    assert precision_recall(normal(60, 1, shift=100.0), normal(60, 2)) == (0.0, 0.0)


def test_agrees_with_the_definition_written_out() -> None:
    generated, real = normal(30, 3), normal(25, 4)

    def share(points: torch.Tensor, centres: torch.Tensor) -> float:
        inside = 0
        for point in points:
            for centre in centres:
                others = sorted(float((centre - other).norm()) for other in centres)
                if float((point - centre).norm()) <= others[3]:
                    inside += 1
                    break
        return inside / len(points)

    found = precision_recall(generated.double(), real.double())
    assert found == (share(generated.double(), real.double()), share(real.double(), generated.double()))


@pytest.mark.parametrize(("generated", "real"), [((3, 8), (9, 8)), ((9, 8), (9, 7)), ((9,), (9, 8))])
def test_sets_that_are_too_small_or_of_another_shape_are_refused(generated: tuple[int], real: tuple[int]) -> None:
    with pytest.raises(UsageError, match=r"sets must be|need more than 3"):
        precision_recall(torch.randn(generated), torch.randn(real))
