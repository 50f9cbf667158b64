from __future__ import annotations

import torch

from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.inversion.wspace import Gaussian, measure_w


def test_whitening_and_back(generator: StyleGAN2) -> None:
    space = measure_w(generator)
    ws = generator.map(torch.randn(2000, 8))
    for there, back in ((space.to_pn, space.from_pn), (space.w.whiten, space.w.color)):
        white = there(ws)
        assert torch.allclose(back(white), ws, atol=1e-3 * float(ws.abs().max()))
        assert float(white[:, 0].mean(dim=0).abs().max()) < 0.15


def test_codes_of_the_mapping_network_are_at_distance_one(generator: StyleGAN2) -> None:
    space = measure_w(generator)
    ws = generator.map(torch.randn(500, 8))
    assert 0.6 < float(space.distance(ws).square().mean().sqrt()) < 1.1
    assert float(space.distance(ws + 3 * space.deviation).mean()) > 2.0


def test_statistics_are_measured_once_and_seeded(generator: StyleGAN2) -> None:
    assert measure_w(generator) is measure_w(generator)
    one, other = (measure_w(generator, samples=500) for _ in range(2))
    assert torch.equal(one.w.mean, other.w.mean)
    ws = generator.map(torch.randn(4000, 8))[:, 0]
    assert torch.allclose(measure_w(generator).w.mean, ws.mean(dim=0), atol=0.1 * float(ws.std()))


def test_a_conditional_generator_has_a_w_too() -> None:
    torch.manual_seed(0)
    config = StyleGAN2Config(8, (8, 8), z_dim=8, w_dim=8, c_dim=3, mapping_layers=2, mapping_gain=1.0)
    assert measure_w(StyleGAN2(config).requires_grad_(False)).deviation > 0


def test_a_flat_axis_does_not_blow_up() -> None:
    points = torch.randn(200, 3) * torch.tensor([1.0, 1.0, 0.0])
    assert bool(torch.isfinite(Gaussian.fit(points).whiten(points)).all())
