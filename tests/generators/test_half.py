"""Drawing in 16 bits, on the CPU, which can do it, too, if slowly."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from faceloom.generators.backends import use_backend
from faceloom.generators.cache import PrefixCache
from faceloom.generators.stylegan2 import StyledConvolution, StyleGAN2, StyleGAN2Config
from faceloom.model import load_model

LEVEL = 2.0 / 255.0
"""One step of an 8-bit picture."""


def network(architecture: Literal["skip", "resnet", "orig"] = "skip", clamp: float | None = None) -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        64, (32, 32, 24, 16, 8), z_dim=16, w_dim=16, mapping_layers=2, architecture=architecture, conv_clamp=clamp
    )
    made = StyleGAN2(config).eval()
    for layer in convolutions(made):
        torch.nn.init.constant_(layer.noise_strength, 0.1)
    return made


def convolutions(generator: StyleGAN2) -> list[StyledConvolution]:
    return [one for one in generator.modules() if isinstance(one, StyledConvolution)]


def drawn(
    generator: StyleGAN2, ws: torch.Tensor, name: Literal["plain", "half"], resolution: int | None = None
) -> torch.Tensor:
    with use_backend(name), torch.no_grad():
        return generator.synthesize(ws, resolution=resolution)


def test_the_embedded_model_draws_the_same_picture() -> None:
    generator = load_model("default").generator
    assert isinstance(generator, StyleGAN2)
    ws = generator.map(torch.randn(3, generator.z_dim, generator=torch.Generator().manual_seed(0)), truncation=0.7)
    exact, half = drawn(generator, ws, "plain"), drawn(generator, ws, "half")
    assert half.dtype == torch.float32
    assert not torch.equal(half, exact)
    assert (half - exact).abs().mean() < 0.25 * LEVEL
    assert (half - exact).abs().max() < 3.0 * LEVEL


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("clamp", [None, 256.0])
def test_every_architecture_draws_the_same_picture(
    architecture: Literal["skip", "resnet", "orig"], clamp: float | None
) -> None:
    generator = network(architecture, clamp)
    ws = generator.map(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)))
    exact, half = drawn(generator, ws, "plain"), drawn(generator, ws, "half")
    assert (half - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_filters_and_styles_of_any_size_stay_in_range(factor: float) -> None:
    generator = network()
    with torch.no_grad():
        for layer in convolutions(generator):
            layer.affine.bias.mul_(factor)
            layer.weight.mul_(factor)
    ws = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(2)))
    exact, half = drawn(generator, ws, "plain"), drawn(generator, ws, "half")
    assert (half - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_large_activations_are_drawn_as_they_are(architecture: Literal["skip", "resnet", "orig"]) -> None:
    generator = network(architecture)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in convolutions(generator):
            layer.bias.copy_(1_000.0 * torch.randn(layer.bias.shape, generator=random))
    ws = generator.map(torch.randn(2, 16, generator=torch.Generator().manual_seed(2)))
    exact, half = drawn(generator, ws, "plain"), drawn(generator, ws, "half")
    assert (half - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize("sign", [-1.0, 1.0, 0.0])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_activations_beyond_the_range_are_bounded(architecture: Literal["skip", "resnet", "orig"], sign: float) -> None:
    generator = network(architecture)
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in convolutions(generator):
            signs = torch.randn(layer.bias.shape, generator=random).sign() if sign == 0.0 else sign
            layer.bias.copy_(300_000.0 * signs * torch.ones_like(layer.bias))
    ws = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(2)))
    assert torch.isfinite(drawn(generator, ws, "half")).all()


def test_small_maps_and_gradients_keep_32_bits() -> None:
    generator = network()
    ws = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(3))).detach()
    assert torch.equal(drawn(generator, ws, "half", 16), drawn(generator, ws, "plain", 16))
    gradients: list[torch.Tensor] = []
    names: tuple[Literal["plain", "half"], ...] = ("plain", "half")
    for name in names:
        wanted = ws.clone().requires_grad_(True)
        with use_backend(name):
            gradients += torch.autograd.grad(generator.synthesize(wanted).square().sum(), wanted)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_late_styles_that_want_gradients_follow_maps_in_16_bits() -> None:
    generator = network().requires_grad_(False)
    ws = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(3))).detach()
    late = ws[:, -2:].clone().requires_grad_(True)
    with use_backend("half"):
        image = generator.synthesize(torch.cat([ws[:, :-2], late], dim=1))
    (gradient,) = torch.autograd.grad(image.sum(), late)
    assert gradient.any()
    assert torch.isfinite(gradient).all()


def test_a_cache_starts_anew_where_the_arithmetic_changes() -> None:
    generator = network()
    ws = generator.map(torch.randn(1, 16, generator=torch.Generator().manual_seed(4)))
    cache = PrefixCache(generator)
    exact = cache.synthesize(ws)
    full = cache.nbytes
    with use_backend("half"):
        assert torch.equal(cache.synthesize(ws), drawn(generator, ws, "half"))
        assert cache.nbytes < full
    assert torch.equal(cache.synthesize(ws), exact)
