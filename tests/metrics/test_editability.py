from __future__ import annotations

import pytest
import torch

from faceloom.errors import MissingExtraError, UsageError
from faceloom.metrics.editability import latent_editing_consistency, row_deviation
from faceloom.metrics.likeness import IdentityLoss


def test_an_edit_that_can_be_undone_is_consistent() -> None:
    codes, move, spread = torch.randn(3, 4, 8), torch.randn(4, 8), torch.full((8,), 2.0)
    assert torch.allclose(latent_editing_consistency(codes, codes + move, move, spread), torch.zeros(3), atol=1e-6)
    lost = latent_editing_consistency(codes, codes, move, spread)
    assert torch.allclose(lost, (move / 2).square().mean().sqrt().expand(3))
    with pytest.raises(UsageError, match="same rows"):
        latent_editing_consistency(codes, codes[:2], move, spread)


def test_rows_of_w_do_not_differ() -> None:
    flat = torch.randn(2, 1, 8).expand(-1, 5, -1)
    assert torch.allclose(row_deviation(flat, torch.ones(8)), torch.zeros(2), atol=1e-6)
    assert bool((row_deviation(flat + torch.randn(2, 5, 8), torch.ones(8)) > 0.5).all())


def test_identity_is_a_loss_with_gradients() -> None:
    try:
        loss = IdentityLoss()
    except MissingExtraError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    faces = torch.nn.functional.interpolate(torch.randn(2, 3, 6, 6), (64, 64), mode="bicubic").clamp(-1, 1)
    compare = loss.against(faces)
    assert torch.allclose(compare(faces), torch.zeros(2), atol=1e-4)
    other = faces.flip(0).clone().requires_grad_(True)
    apart = compare(other)
    assert bool((apart > 0.01).all())
    (gradient,) = torch.autograd.grad(apart.sum(), other)
    assert float(gradient.abs().sum()) > 0
