from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from faceloom.generators.backends import use_backend
from faceloom.generators.cache import PrefixCache
from faceloom.generators.style_lines import MOST_STEPS
from faceloom.generators.stylegan2 import StyledConvolution, StyleGAN2, StyleGAN2Config
from faceloom.settings import BackendName


@pytest.fixture(params=["plain", "fused"])
def drawn_by(request: pytest.FixtureRequest) -> Iterator[BackendName]:
    with use_backend(request.param):
        yield request.param


def make(channels: int = 8, clamp: float | None = None) -> StyleGAN2:
    torch.manual_seed(0)
    sizes = (12, 12, 8, 8, channels)
    generator = StyleGAN2(StyleGAN2Config(64, sizes, z_dim=6, w_dim=7, mapping_layers=2, conv_clamp=clamp))
    for module in generator.modules():
        if isinstance(module, StyledConvolution):
            module.noise_strength.data.fill_(0.3)
            module.bias.data.normal_(0.0, 0.2)
    return generator.requires_grad_(False)


def moves(ws: Tensor, amounts: list[float], row: int = -3) -> list[Tensor]:
    """Codes moved in the last block's rows, or from `row` on, along one direction."""
    direction = torch.zeros_like(ws)
    direction[:, row:] = torch.randn_like(direction[:, row:]) * 0.1
    return [ws + amount * direction for amount in amounts]


def convolved(cache: PrefixCache, ws: Tensor) -> int:
    """How many layers were convolved to draw ws; the picture is compared with the generator's."""
    with patch.object(StyledConvolution, "forward", autospec=True, side_effect=StyledConvolution.forward) as forward:
        images = cache.synthesize(ws)
        count: int = forward.call_count
    wanted = cache.generator.synthesize(ws)
    assert float((images - wanted).abs().max()) <= 1e-4 * max(1.0, float(wanted.abs().max()))
    return count


@pytest.mark.parametrize("people", [1, 2])
@pytest.mark.parametrize("channels", [8, 5])
def test_a_slider_needs_one_convolution_less(drawn_by: BackendName, people: int, channels: int) -> None:
    generator = make(channels)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(people, 6))
    every = 2 * len(generator.blocks) - 1
    counts = [convolved(cache, one) for one in moves(ws, [0.0, 1.0, 1.5, 2.0, -3.0, 0.2, 4.0])]
    assert counts == [every, 2, 2, 2, 2, 1, 1]


def test_two_sliders_take_turns(drawn_by: BackendName) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    one = moves(ws, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    other = moves(one[-1], [1.0, 2.0, 3.0, 4.0, 5.0])
    assert [convolved(cache, codes) for codes in one + other] == [9, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]


def test_codes_off_any_line_are_not_kept(drawn_by: BackendName) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    cache.synthesize(ws)
    bytes_before = cache.nbytes
    for _ in range(6):
        ws = moves(ws, [1.0])[0]
        assert convolved(cache, ws) == 2
        assert cache.nbytes == bytes_before


def test_far_along_the_line_it_is_convolved_again(drawn_by: BackendName) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    far = 1.2 + 2.0 * MOST_STEPS * 0.1
    codes = moves(ws, [0.0, 1.0, 1.1, 1.2, 1.3, far, far + 10.0, 1.5])
    assert [convolved(cache, one) for one in codes] == [9, 2, 2, 2, 2, 2, 1, 1]


def test_what_changes_before_ends_the_line(drawn_by: BackendName) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    amounts = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    for codes in moves(ws, amounts):
        convolved(cache, codes)
    assert [convolved(cache, codes) for codes in moves(ws + 0.1, amounts)] == [9, 2, 2, 2, 2, 1]


def test_other_noise_ends_the_line(drawn_by: BackendName) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    codes = moves(ws, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for one in codes[:-1]:
        cache.synthesize(one)
    images = cache.synthesize(codes[-1], "none")
    torch.testing.assert_close(images, generator.synthesize(codes[-1], "none"), atol=1e-4, rtol=0.0)


def test_clamped_maps_are_not_taken_for_a_line(drawn_by: BackendName) -> None:
    generator = make(clamp=0.5)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    assert [convolved(cache, codes) for codes in moves(ws, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])] == [9, 2, 2, 2, 2, 2]


def test_a_clamp_that_is_met_along_the_line(drawn_by: BackendName) -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    codes = moves(ws, [0.0, 1.0, 2.0, 3.0, 4.0, -9.0])
    reach = [float(last_maps(generator, one).abs().max()) for one in codes]
    assert reach[-1] > 1.01 * max(reach[:-1])
    layer = last_layer(generator)
    layer.clamp = 0.5 * (reach[-1] + max(reach[:-1]))
    cache = PrefixCache(generator)
    assert [convolved(cache, one) for one in codes] == [9, 2, 2, 2, 2, 1]


def test_lines_count_among_the_bytes_and_are_given_up_first() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    codes = moves(ws, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    roomy = PrefixCache(generator)
    sizes = []
    for one in codes:
        roomy.synthesize(one)
        sizes.append(roomy.nbytes)
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[3] == sizes[0] + 4 * 8 * 64 * 64
    assert sizes[4] == sizes[5] == sizes[0] + 2 * 4 * 8 * 64 * 64
    tight = PrefixCache(generator, sizes[0])
    assert [convolved(tight, one) for one in codes] == [9, 2, 2, 2, 2, 2]
    assert tight.nbytes == sizes[0]


def last_layer(generator: StyleGAN2) -> StyledConvolution:
    layer = list(generator.modules())
    return next(one for one in reversed(layer) if isinstance(one, StyledConvolution) and one.up)


def last_maps(generator: StyleGAN2, ws: Tensor) -> Tensor:
    """What the last layer that doubles the size gives."""
    found: list[Tensor] = []
    hook = last_layer(generator).register_forward_hook(lambda module, given, y: found.append(y))
    generator.synthesize(ws)
    hook.remove()
    return found[0]
