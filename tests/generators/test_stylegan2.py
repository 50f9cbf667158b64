from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators import ops
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config, default_channels


def make(architecture: Architecture = "skip", *, c_dim: int = 0, conv_clamp: float | None = None) -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        16,
        (12, 8, 8),
        z_dim=6,
        w_dim=7,
        c_dim=c_dim,
        mapping_layers=2,
        architecture=architecture,
        conv_clamp=conv_clamp,
    )
    generator = StyleGAN2(config)
    for block in generator._blocks:
        for layer in (block.up, block.conv):
            if layer is not None:
                torch.nn.init.constant_(layer.noise_strength, 0.3)
    return generator.requires_grad_(False)


def textbook_modulation(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """Equations 1 and 3 as they stand in the paper, one image at a time, in float64."""
    out = []
    for image, style in zip(x.double(), styles.double(), strict=True):
        modulated = weight.double() * style.reshape(1, -1, 1, 1)
        norm = (modulated.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        out.append(functional.conv2d(image[None], modulated / norm, padding=1))
    return torch.cat(out)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [4, 32])
def test_both_ways_of_modulating_agree_with_the_paper(count: int, size: int) -> None:
    torch.manual_seed(1)
    x, weight, styles = torch.randn(count, 5, size, size), torch.randn(6, 5, 3, 3), torch.randn(count, 5)
    got = ops.modulated_convolution(x, weight, styles)
    assert torch.allclose(got.double(), textbook_modulation(x, weight, styles), atol=1e-5)


@pytest.mark.parametrize("side", [5, 9])  # fewer and more numbers than the filters have
def test_up_convolution_is_zero_insertion_convolution_and_filter(side: int) -> None:
    torch.manual_seed(2)
    x, weight, kernel = torch.randn(2, 3, side, side), torch.randn(4, 3, 3, 3).double(), ops.fir_kernel().double()
    x, wide = x.double(), 2 * side
    spread = torch.zeros(2, 3, wide, wide, dtype=torch.float64)
    spread[:, :, ::2, ::2] = x
    # A true convolution: the filter is mirrored with respect to PyTorch's correlation.
    convolved = functional.conv2d(functional.pad(spread, (2, 2, 2, 2)), weight.flip((2, 3)))
    planes = functional.pad(convolved, (1, 1, 1, 1)).reshape(-1, 1, wide + 4, wide + 4)
    want = functional.conv2d(planes, kernel[None, None] * 4.0).reshape(2, 4, wide + 1, wide + 1)[:, :, :wide, :wide]
    assert torch.allclose(ops.convolve_up(x, weight, kernel), want, atol=1e-10)


def test_upsampling_keeps_a_flat_picture_flat_inside() -> None:
    up = ops.upsample(torch.full((1, 2, 8, 8), 3.0), ops.fir_kernel())
    assert up.shape == (1, 2, 16, 16)
    assert torch.allclose(up[:, :, 2:-2, 2:-2], torch.tensor(3.0), atol=1e-5)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_shapes_of_every_architecture(architecture: Architecture) -> None:
    generator = make(architecture)
    ws = generator.map(torch.randn(2, 6))
    assert ws.shape == (2, generator.num_ws, 7)
    assert generator.num_ws == 6
    images = generator.synthesize(ws)
    assert images.shape == (2, 3, 16, 16)
    assert bool(torch.isfinite(images).all())


def test_multiplications_are_those_of_the_convolutions() -> None:
    # 4 px: one 3x3 and RGB; then twice: one from half the size, one 3x3 and RGB.
    first = 16 * 12 * (9 * 12 + 3)
    second = 16 * 9 * 12 * 8 + 64 * 8 * (9 * 8 + 3)
    third = 64 * 9 * 8 * 8 + 256 * 8 * (9 * 8 + 3)
    assert make().config.multiplications == first + second + third


def test_a_batch_is_its_images_one_by_one() -> None:
    generator = make()
    ws = generator.map(torch.randn(3, 6))
    alone = torch.cat([generator.synthesize(one[None]) for one in ws])
    assert torch.allclose(generator.synthesize(ws), alone, atol=1e-4)


def test_truncation_pulls_to_the_mean_up_to_the_cutoff() -> None:
    generator = make()
    generator.w_mean.fill_(0.5)
    z = torch.randn(2, 6)
    full, half = generator.map(z), generator.map(z, truncation=0.5, cutoff=2)
    assert torch.allclose(half[:, :2], 0.5 + 0.5 * (full[:, :2] - 0.5))
    assert torch.equal(half[:, 2:], full[:, 2:])
    assert torch.allclose(generator.map(z, truncation=0.0), torch.tensor(0.5))


def test_noise_modes() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    constant, none = generator.synthesize(ws), generator.synthesize(ws, "none")
    assert torch.equal(constant, generator.synthesize(ws, "constant"))
    assert not torch.allclose(constant, none)
    styles = generator.styles(ws)
    drawn = [
        generator.synthesize_styles(styles, "random", random=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])


def test_stopping_early_is_the_prefix_of_the_skip_path() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    small = generator.synthesize(ws, resolution=8)
    assert small.shape == (1, 3, 8, 8)
    few, all_ = generator.styles(ws, 8), generator.styles(ws)
    assert len(few) == 5
    assert all(map(torch.equal, few, all_))
    for styles in (few, all_):
        assert torch.equal(generator.synthesize_styles(styles, resolution=8), small)
    with pytest.raises(UsageError, match="style vectors of 2 blocks"):
        generator.synthesize_styles(few)
    with pytest.raises(UsageError, match="cannot stop at 8 px"):
        make("resnet").synthesize(ws, resolution=8)


def test_styles_share_rows_between_to_rgb_and_the_next_block() -> None:
    generator = make()
    ws = torch.zeros(1, 6, 7)
    before = generator.styles(ws)
    ws[:, 1] = 1.0
    changed = [not torch.equal(a, b) for a, b in zip(before, generator.styles(ws), strict=True)]
    # Layers in order: conv4 rgb4 | up8 conv8 rgb8 | up16 conv16 rgb16.
    assert changed == [False, True, True, False, False, False, False, False]


def test_conditional_generators_want_labels() -> None:
    generator = make(c_dim=3)
    z = torch.randn(2, 6)
    first = generator.map(z, torch.eye(3)[:2])
    assert not torch.allclose(first, generator.map(z, torch.eye(3)[1:]))
    with pytest.raises(UsageError, match="conditional"):
        generator.map(z)
    with pytest.raises(UsageError, match="not conditional"):
        make().map(z, torch.eye(3)[:2])


def test_clamping_bounds_activations() -> None:
    ws = make().map(torch.randn(1, 6)) * 50
    assert not torch.allclose(make(conv_clamp=0.5).synthesize(ws), make().synthesize(ws))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g.map(torch.zeros(2, 5)), r"z must have the shape \(N, 6\)"),
        (lambda g: g.synthesize(torch.zeros(1, 5, 7)), r"ws must have the shape \(N, 6, 7\)"),
        (lambda g: g.synthesize(torch.zeros(1, 6, 7), "loud"), "noise is"),
    ],
)
def test_wrong_calls_say_what_is_wanted(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=message):
        call(make())


def test_config_round_trip_and_refusals() -> None:
    config = make("resnet", conv_clamp=256.0).config
    assert StyleGAN2Config.from_dict(config.to_dict()) == config
    with pytest.raises(CheckpointError, match="power of two"):
        StyleGAN2Config(24, (8, 8, 8))
    with pytest.raises(CheckpointError, match="channel counts"):
        StyleGAN2Config(16, (8, 8))
    with pytest.raises(CheckpointError, match="malformed"):
        StyleGAN2Config.from_dict({"resolution": 16, "channels": [8, 8, 8], "colour": 1})
    assert default_channels(256, 8192, 256) == (256, 256, 256, 256, 128, 64, 32)


def test_fingerprint_follows_the_weights() -> None:
    first, same, other = make(), make(), make()
    other.const[0, 0, 0, 0] += math.pi
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_gradients_reach_the_codes_in_double_precision() -> None:
    generator = make().double()
    ws = torch.randn(1, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda codes: generator.synthesize(codes).mean(), (ws,), eps=1e-6, atol=1e-6)
