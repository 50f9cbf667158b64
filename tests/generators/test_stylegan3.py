from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from faceloom.errors import CheckpointError, UsageError
from faceloom.generators import resampling
from faceloom.generators.resampling import Signal
from faceloom.generators.stylegan3 import StyleGAN3, StyleGAN3Config


def make(
    *, c_dim: int = 0, kernel: int = 3, radial: bool = False, conv_clamp: float | None = 256.0, margin: int = 4
) -> StyleGAN3:
    torch.manual_seed(0)
    channels = (8, 8, 8, 6, 6, 4)
    config = StyleGAN3Config(
        16, channels, z_dim=6, w_dim=7, c_dim=c_dim, kernel=kernel, radial=radial, conv_clamp=conv_clamp, margin=margin
    )
    return StyleGAN3(config).requires_grad_(False).eval()


def test_the_published_network_has_its_published_layers() -> None:
    # The names of the layers of NVIDIA's 1024-px networks hold their sizes.
    config = StyleGAN3Config(1024, (512,) * 14)
    sizes = [plan.after.size for plan in config.layers]
    assert sizes == [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert config.num_ws == 16


def test_layers_fit_together() -> None:
    config = StyleGAN3Config(256, (16,) * 14)
    for before, after in zip(config.layers, config.layers[1:], strict=False):
        assert before.after == after.before
    for plan in config.layers:
        inner = (plan.before.size + plan.kernel - 1) * plan.up + sum(plan.padding) - plan.up_taps + 1
        assert (inner - plan.down_taps) // plan.down + 1 == plan.after.size


def zero_inserted(x: Tensor, taps: Tensor, factor: int, padding: tuple[int, int]) -> Tensor:
    """Upsampling as its definition says, slowly."""
    batch, channels, height, width = x.shape
    spread = torch.zeros(batch, channels, height * factor, width * factor, dtype=x.dtype)
    spread[:, :, ::factor, ::factor] = x
    spread = functional.pad(spread, (*padding, *padding))
    square = (torch.outer(taps, taps) * factor**2).flip((0, 1)).expand(channels, 1, -1, -1)
    return functional.conv2d(spread, square, groups=channels)


@given(
    factor=st.integers(1, 4),
    count=st.integers(1, 13),
    first=st.integers(-6, 14),
    last=st.integers(-6, 14),
    size=st.integers(8, 12),
)
def test_upsampling_is_zero_insertion_and_filter(factor: int, count: int, first: int, last: int, size: int) -> None:
    if size * factor + first + last < count:
        return
    x, taps = torch.randn(2, 3, size, size + 1).double(), torch.randn(count).double()
    got = resampling.upsample(x, taps, factor, (first, last))
    assert torch.allclose(got, zero_inserted(x, taps, factor, (first, last)), atol=1e-10)


@given(factor=st.integers(1, 4), count=st.integers(1, 9))
def test_downsampling_by_a_line_and_by_its_square_agree(factor: int, count: int) -> None:
    x, taps = torch.randn(2, 3, 11, 13).double(), torch.randn(count).double()
    line = resampling.downsample(x, taps, factor)
    square = resampling.downsample(x, torch.outer(taps, taps), factor)
    assert torch.allclose(line, square, atol=1e-10)
    assert line.shape[2:] == ((11 - count) // factor + 1, (13 - count) // factor + 1)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("taps", [12, 13])
def test_filters_pass_what_they_should(taps: int, radial: bool) -> None:
    found = resampling.low_pass(taps, Signal(0, 32, 8.0, 8.0), 64, radial=radial)
    assert found is not None
    square = (found if radial else torch.outer(found, found)).double()
    place = (torch.arange(taps) - (taps - 1) / 2).double() / 64

    def response(x: float, y: float) -> float:
        wave_x, wave_y = torch.cos(2 * math.pi * x * place), torch.cos(2 * math.pi * y * place)
        return float(wave_y @ square @ wave_x)

    assert response(0, 0) == pytest.approx(1, abs=1e-5)
    assert abs(response(2, 0) - 1) < 0.1
    assert abs(response(20, 0)) < 0.05
    # Only the radial filter does along a diagonal what it does along an axis.
    anisotropy = abs(response(12 / math.sqrt(2), 12 / math.sqrt(2)) - response(12, 0))
    assert anisotropy < 0.01 if radial else anisotropy > 0.05


@pytest.mark.parametrize(("kernel", "radial"), [(3, False), (1, True)])
def test_shapes_of_both_configurations(kernel: int, radial: bool) -> None:
    generator = make(kernel=kernel, radial=radial)
    ws = generator.map(torch.randn(2, 6))
    assert ws.shape == (2, 8, 7)
    images = generator.synthesize(ws)
    assert images.shape == (2, 3, 16, 16)
    assert bool(torch.isfinite(images).all())
    assert float(images.std()) > 1e-4
    shapes = {tuple(filter_.shape) for name, filter_ in generator.state_dict().items() if "down_filter" in name}
    assert shapes == ({(12, 12), (12,)} if radial else {(12,)})


def test_images_of_a_batch_do_not_depend_on_each_other() -> None:
    generator = make()
    ws = generator.map(torch.randn(3, 6) * 3)
    alone = torch.cat([generator.synthesize(row[None]) for row in ws])
    assert torch.allclose(generator.synthesize(ws), alone, atol=1e-5)


def test_noise_changes_nothing_but_must_be_known() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    assert torch.equal(generator.synthesize(ws, "random"), generator.synthesize(ws, noise="none"))
    with pytest.raises(UsageError, match="noise is"):
        generator.synthesize(ws, "loud")  # type: ignore[arg-type]


def test_every_row_of_a_code_matters() -> None:
    generator = make()
    ws = generator.map(torch.randn(1, 6))
    torch.nn.init.normal_(generator.input.affine.weight)
    plain = generator.synthesize(ws)
    for row in range(generator.num_ws):
        changed = ws.clone()
        changed[:, row] += 1
        assert float((generator.synthesize(changed) - plain).abs().max()) > 1e-6


def shift(pixels: float, resolution: int = 16) -> Tensor:
    matrix = torch.eye(3)
    matrix[0, 2] = pixels / resolution
    return matrix


def test_the_picture_moves_with_its_input() -> None:
    # Alias-free: what a transform of the input moves, keeps its shape, but for what comes in over the margin.
    for kernel, radial in ((3, False), (1, True)):
        generator = make(kernel=kernel, radial=radial, margin=10)
        ws = generator.map(torch.randn(1, 6))
        plain, moved = generator.synthesize(ws), generator.synthesize(ws, transform=shift(4))
        error = (moved[..., :-4] - plain[..., 4:])[..., 2:-2, 2:-2]
        assert float(error.std()) < 1e-3 * float(plain.std())
        assert float((moved - plain).std()) > 0.3 * float(plain.std())


def test_transforms_can_differ_within_a_batch() -> None:
    generator = make()
    ws = generator.map(torch.randn(2, 6))
    both = generator.synthesize(ws, transform=torch.stack([torch.eye(3), shift(3)]))
    assert torch.allclose(both[:1], generator.synthesize(ws[:1]), atol=1e-6)
    assert torch.allclose(both[1:], generator.synthesize(ws[1:], transform=shift(3)), atol=1e-6)
    with pytest.raises(UsageError, match="transform must have the shape"):
        generator.synthesize(ws, transform=torch.eye(2))


def test_a_clamp_changes_the_picture() -> None:
    wide, tight = make(), make(conv_clamp=0.2)
    tight.load_state_dict(wide.state_dict())
    ws = wide.map(torch.randn(1, 6))
    assert not torch.allclose(tight.synthesize(ws), wide.synthesize(ws), atol=1e-3)
    assert torch.equal(make(conv_clamp=None).synthesize(ws), wide.synthesize(ws))


def test_truncation_and_labels() -> None:
    generator = make(c_dim=3)
    generator.w_mean.copy_(torch.randn(7))
    z, labels = torch.randn(2, 6), torch.eye(3)[:2]
    ws = generator.map(z, labels)
    assert torch.allclose(generator.map(z, labels, 0.0), generator.w_mean.expand(2, 8, 7))
    halfway = generator.map(z, labels, 0.5, cutoff=3)
    assert torch.allclose(halfway[:, :3], (ws[:, :3] + generator.w_mean) / 2, atol=1e-6)
    assert torch.equal(halfway[:, 3:], ws[:, 3:])
    with pytest.raises(UsageError, match="conditional"):
        generator.map(z)
    with pytest.raises(UsageError, match="not conditional"):
        make().map(z, labels)
    with pytest.raises(UsageError, match="z must have"):
        generator.map(torch.randn(2, 5), labels)
    with pytest.raises(UsageError, match="ws must have"):
        generator.synthesize(torch.randn(2, 7, 7))


def test_the_fingerprint_follows_the_weights() -> None:
    first, second = make(), make()
    assert first.fingerprint == second.fingerprint
    third = make()
    third.layers[0].get_parameter("bias").add_(1e-3)
    assert third.fingerprint != first.fingerprint


def test_configurations_survive_json() -> None:
    config = make(c_dim=2, kernel=1, radial=True).config
    assert StyleGAN3Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for broken in ({}, {**config.to_dict(), "unknown": 1}, {**config.to_dict(), "channels": None}):
        with pytest.raises(CheckpointError, match="malformed"):
            StyleGAN3Config.from_dict(broken)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 48},
        {"resolution": 1 << 20},
        {"channels": ()},
        {"channels": (1 << 20,) * 6},
        {"critical": 6},
        {"kernel": 2},
        {"mapping_layers": 0},
        {"first_cutoff": 0.0},
        {"first_stopband": math.nan},
        {"margin": -1},
        {"c_dim": -1},
        {"output_scale": math.inf},
        {"conv_clamp": -1.0},
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        StyleGAN3Config(**{**vars(make().config), **change})


def test_a_fresh_input_stays_within_its_band() -> None:
    generator = StyleGAN3(StyleGAN3Config(64, (256,) * 6))
    radii = np.asarray(generator.input.freqs.norm(dim=1))
    assert radii.max() <= generator.input.signal.cutoff * 1.01
    # Uniform on the disc, half of the waves lie beyond 1/sqrt(2) of its radius.
    assert np.mean(radii > generator.input.signal.cutoff / math.sqrt(2)) == pytest.approx(0.5, abs=0.15)
