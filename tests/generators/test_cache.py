from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from faceloom.errors import UsageError
from faceloom.generators.cache import Cancelled, PrefixCache, PrefixCaches
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config
from faceloom.inversion.tuning import put


def make(architecture: Architecture = "skip") -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(32, (12, 8, 8, 8), z_dim=6, w_dim=7, mapping_layers=2, architecture=architecture)
    return StyleGAN2(config).requires_grad_(False)


def drawn_blocks(cache: PrefixCache, ws: Tensor, resolution: int | None = None) -> list[int]:
    with patch.object(cache.generator, "features", wraps=cache.generator.features) as features:
        cache.synthesize(ws, resolution=resolution)
    return [call.args[0] for call in features.call_args_list]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    moves=st.lists(st.tuples(st.integers(0, 7), st.sampled_from([None, 4, 8, 16, 32])), min_size=1, max_size=6),
    kilobytes=st.sampled_from([0, 20, 60, 1000]),
)
def test_what_is_drawn_is_bit_for_bit_the_same(moves: list[tuple[int, int | None]], kilobytes: int) -> None:
    generator = make()
    cache = PrefixCache(generator, kilobytes << 10)
    ws = generator.map(torch.randn(1, 6))
    for row, resolution in moves:
        ws = ws.clone()
        ws[:, row] += 0.5
        assert torch.equal(cache.synthesize(ws, resolution=resolution), generator.synthesize(ws, resolution=resolution))
        assert cache.nbytes <= kilobytes << 10


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_other_architectures(architecture: Architecture) -> None:
    generator = make(architecture)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(2, 6))
    for row in (7, 6, 5, 0):
        ws = ws.clone()
        ws[:, row] += 0.5
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))


def test_only_what_changed_is_drawn() -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    assert drawn_blocks(cache, ws) == [0, 1, 2, 3]
    assert drawn_blocks(cache, ws) == []
    # Rows: 0 | 1, 2 | 3, 4 | 5, 6 and 7 for the last toRGB, whose maps are not kept.
    for row, blocks in ((7, [3]), (6, [3]), (5, [3]), (4, [2, 3]), (0, [0, 1, 2, 3])):
        ws = ws.clone()
        ws[:, row] += 1.0
        assert drawn_blocks(cache, ws) == blocks
    assert drawn_blocks(cache, ws, 16) == []
    ws = ws + 0.1
    assert drawn_blocks(cache, ws, 8) == [0, 1]
    assert drawn_blocks(cache, ws) == [2, 3]


def test_maps_of_a_preview_that_could_not_be_kept_are_not_made() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    maps = 4 * 8 * 16 * 16
    for room, made in ((maps - 1, False), (maps, True)):
        cache = PrefixCache(generator, room)
        with patch.object(generator, "paint", wraps=generator.paint) as paint:
            assert torch.equal(cache.synthesize(ws, resolution=16), generator.synthesize(ws, resolution=16))
        assert (2 in [call.args[0] for call in paint.call_args_list]) is made


def test_cancelling_stops_between_layers_and_keeps_what_is_done() -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    answers = iter([False] * 4 + [True])  # conv rgb | up conv rgb
    with pytest.raises(Cancelled):
        cache.synthesize(ws, cancelled=lambda: next(answers))
    assert drawn_blocks(cache, ws) == [2, 3]
    assert torch.equal(cache.synthesize(ws, cancelled=lambda: True), generator.synthesize(ws))  # nothing left to draw


def test_changed_weights_noise_and_batches_are_noticed() -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    first = cache.synthesize(ws)
    first.zero_()  # the caller's own copy
    assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
    assert torch.equal(cache.synthesize(ws, "none"), generator.synthesize(ws, "none"))
    generator.const.add_(1.0)
    assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
    both = torch.cat([ws, ws + 0.3])
    assert torch.equal(cache.synthesize(both), generator.synthesize(both))
    cache.clear()
    assert cache.nbytes == 0


def test_other_tensors_and_layers_are_noticed() -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    cache.synthesize(ws)
    for _ in range(2):  # from a parameter to a buffer, and from that to another
        layer = generator.get_submodule("blocks.0.to_rgb")
        assert isinstance(layer.weight, Tensor)
        put(generator, "blocks.0.to_rgb.weight", layer.weight + 1.0)
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
    generator.blocks[1] = StyleGAN2(generator.config).requires_grad_(False).blocks[1]
    assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))


def test_random_noise_is_never_kept() -> None:
    torch.manual_seed(1)
    generator = make()
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.5)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    assert not torch.equal(cache.synthesize(ws, "random"), cache.synthesize(ws, "random"))


def test_wrong_calls() -> None:
    with pytest.raises(UsageError, match="cannot be negative"):
        PrefixCache(make(), -1)
    with pytest.raises(UsageError, match="cannot stop at 12 px"):
        PrefixCache(make()).synthesize(torch.zeros(1, 8, 7), resolution=12)


def test_a_few_generators_have_caches_of_their_own() -> None:
    generators = [make() for _ in range(3)]
    caches = PrefixCaches(most=2)
    first = caches.of(generators[0])
    assert caches.of(generators[1]) is not first
    assert caches.of(generators[0]) is first
    caches.of(generators[2])
    assert caches.of(generators[0]) is first
    assert len(caches._caches) == 2
