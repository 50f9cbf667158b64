from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceloom.directions.components import sample_codes
from faceloom.directions.direction import Direction
from faceloom.directions.drawing import style_sizes, synthesize_moved
from faceloom.directions.strips import direction_sheet
from faceloom.directions.stylespace import (
    REGIONS,
    channels_of,
    in_style_space,
    label_channels,
    region_channels,
    region_mask,
)
from faceloom.errors import DirectionError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config


@pytest.fixture
def generator() -> StyleGAN2:
    torch.manual_seed(7)
    made = StyleGAN2(StyleGAN2Config(16, (6, 6, 6), z_dim=8, w_dim=8, mapping_layers=1))
    return made.eval().requires_grad_(False)


def test_a_local_channel_is_found_by_its_region(generator: StyleGAN2) -> None:
    # One channel of the constant lives in the upper left corner only, and its filter reaches no further than 3x3.
    generator.const.data[:, 0] = 0.0
    generator.const.data[0, 0, 0, 0] = 30.0
    mask = torch.zeros(16, 16)
    mask[:7, :7] = 1.0
    found = region_channels(generator, mask, count=3, people=4, probes=8, samples=200)
    assert "s-0-0" in found.names()
    one = found["s-0-0"]
    assert one.space == "s"
    assert one.layers == (0, 1)
    assert one.vector.shape == (sum(style_sizes(generator)),)
    assert found.names() == region_channels(generator, mask, count=3, people=4, probes=8, samples=200).names()


def test_regions_are_parts_of_the_picture(generator: StyleGAN2) -> None:
    for name in REGIONS:
        assert 0 < region_mask(name, 64).mean() < 0.6
    with pytest.raises(UsageError, match="there is no region 'tail'"):
        region_mask("tail", 64)
    with pytest.raises(DirectionError, match="the region is empty"):
        region_channels(generator, torch.zeros(16, 16), samples=50)


def test_a_label_finds_its_channel(generator: StyleGAN2) -> None:
    codes = sample_codes(generator, 500)
    styles = torch.cat(generator.styles(codes.unsqueeze(1).expand(-1, generator.num_ws, -1)), dim=1)
    with_it = (styles[:, 9] < styles[:, 9].median()).double().numpy()
    best = next(iter(label_channels(generator, codes, with_it, count=4)))
    assert best.vector.nonzero().flatten().tolist() == [9]
    assert best.vector[9] < 0  # those with it have less
    with pytest.raises(DirectionError, match="3 faces have the attribute and 497 do not"):
        label_channels(generator, codes, np.r_[np.ones(3), np.zeros(497)])


def test_a_direction_draws_the_same_in_s(generator: StyleGAN2) -> None:
    vector = torch.randn(generator.num_ws, 8) * 0.3
    direction = Direction("x", vector, (0, generator.num_ws), (-2, 2), "a", "b")
    same = in_style_space(generator, direction)
    codes = sample_codes(generator, 10)[:2].unsqueeze(1).expand(-1, generator.num_ws, -1)
    wanted = generator.synthesize(codes + vector)
    assert torch.allclose(synthesize_moved(generator, codes, same.vector), wanted, atol=1e-3)
    bent = in_style_space(generator, replace(direction, bend=0.3 * vector.flip(0)))
    wanted = generator.synthesize(codes - vector + 0.3 * vector.flip(0))
    assert torch.allclose(synthesize_moved(generator, codes, bent.step(-1.0)), wanted, atol=1e-3)
    few = in_style_space(generator, direction, [1, 4])
    assert set(few.vector.nonzero().flatten().tolist()) <= {1, 4}
    assert few.layers == (0, 1)
    with pytest.raises(DirectionError, match="zero everywhere"):
        in_style_space(generator, direction, [])


def test_channels_of_a_set(generator: StyleGAN2) -> None:
    codes = sample_codes(generator, 60)
    found = label_channels(generator, codes, codes[:, 0].double().numpy(), count=3)
    assert len(channels_of(found)) == 3


def test_the_sheet_has_a_row_for_each_direction(generator: StyleGAN2) -> None:
    vector = torch.ones(generator.num_ws, 8)
    w = Direction("x", vector, (0, generator.num_ws), (-1, 2), "a", "b")
    codes = sample_codes(generator, 10)[:2]
    one, two = (direction_sheet(generator, some, codes, cell=24) for some in ([w], [w, in_style_space(generator, w)]))
    assert two.shape[0] > one.shape[0]
