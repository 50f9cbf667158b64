from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from faceloom.encoders.irse import IRSEConfig, IRSEEncoder, RefiningEncoder
from faceloom.errors import CheckpointError, UsageError

STAGES = ((4, 2), (6, 1), (8, 2))
HALVINGS = (3, 3, 4, 5)


def make(inputs: int = 3, *, offsets: bool = False, pyramid: bool = True) -> IRSEEncoder:
    torch.manual_seed(0)
    halvings = HALVINGS if pyramid else (3, 3, 3, 3)
    config = IRSEConfig(inputs, STAGES, halvings, pyramid, offsets, stem=4, squeeze=2, w_dim=5, resolution=64)
    return IRSEEncoder(config).requires_grad_(False).eval()


class Painter(nn.Module):
    """Stands in for a generator: paints the mean of a code, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def synthesize(self, ws: Tensor) -> Tensor:
        self.seen.append(ws)
        return ws.mean(dim=(1, 2)).reshape(-1, 1, 1, 1).expand(-1, 3, 128, 128)


@pytest.mark.parametrize("pyramid", [True, False])
def test_codes_have_a_row_for_each_head(pyramid: bool) -> None:
    encoder = make(pyramid=pyramid)
    codes = encoder(torch.randn(2, 3, 64, 64))
    assert codes.shape == (2, 4, 5)
    assert len(encoder.laterals) == (2 if pyramid else 0)
    assert bool(torch.isfinite(codes).all())
    assert float((codes[0] - codes[1]).abs().max()) > 1e-4


def test_offsets_are_from_the_first_row() -> None:
    plain, offset = make(), make(offsets=True)
    images = torch.randn(1, 3, 64, 64)
    wanted = plain.codes(images)
    wanted[:, 1:] += wanted[:, :1].clone()
    assert torch.allclose(offset.codes(images), wanted, atol=1e-6)


def test_the_mean_is_added_once() -> None:
    encoder = make()
    encoder.w_mean.copy_(torch.randn(4, 5))
    images = torch.randn(1, 3, 64, 64)
    assert torch.allclose(encoder(images) - encoder.codes(images), encoder.w_mean, atol=1e-6)


def test_images_of_a_batch_do_not_depend_on_each_other() -> None:
    encoder = make()
    images = torch.randn(3, 3, 64, 64)
    assert torch.allclose(encoder(images), torch.cat([encoder(image[None]) for image in images]), atol=1e-5)


def test_other_sizes_are_brought_to_its_own() -> None:
    encoder = make()
    images = torch.rand(1, 3, 150, 150)
    small = functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    assert torch.equal(encoder(images), encoder(small))
    with pytest.raises(UsageError, match=r"images must have the shape \(N, 3, H, W\)"):
        encoder(torch.rand(1, 6, 64, 64))


def test_refinement_starts_at_the_mean_and_looks_at_each_guess() -> None:
    encoder, painter = make(6, pyramid=False), Painter()
    encoder.w_mean.copy_(torch.randn(4, 5))
    refining = RefiningEncoder(encoder, painter, steps=3)
    images = torch.rand(2, 3, 100, 100)
    ws = refining(images)
    assert [guess.shape[0] for guess in painter.seen] == [1, 2, 2]
    assert torch.equal(painter.seen[0][0], encoder.w_mean)
    resized = functional.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    last = painter.synthesize(painter.seen[2])[..., :64, :64]
    assert torch.allclose(ws, painter.seen[2] + encoder.codes(torch.cat([resized, last], dim=1)), atol=1e-5)
    assert (refining.resolution, refining.num_ws, refining.w_dim) == (64, 4, 5)


def test_refinement_refuses_what_it_cannot_do() -> None:
    with pytest.raises(CheckpointError, match="6 channels"):
        RefiningEncoder(make(3), Painter())
    with pytest.raises(UsageError, match="1 step or more"):
        RefiningEncoder(make(6), Painter(), steps=0)
    with pytest.raises(UsageError, match="images must have"):
        RefiningEncoder(make(6), Painter())(torch.rand(1, 6, 64, 64))


def test_configurations_survive_json() -> None:
    config = make(offsets=True).config
    assert IRSEConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for broken in ({}, {**config.to_dict(), "unknown": 1}, {**config.to_dict(), "stages": [1]}):
        with pytest.raises(CheckpointError, match="malformed"):
            IRSEConfig.from_dict(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"halvings": ()}, "beyond all reason"),
        ({"halvings": (3, 7)}, "do not fit"),
        ({"halvings": (3, 4), "pyramid": False}, "do not fit"),
        ({"stages": ((4, 1), (4, 1))}, "cannot read 64 px"),
        ({"stages": ((4, 1000), (4, 1), (4, 1))}, "beyond all reason"),
        ({"stages": ((4, 0), (4, 1), (4, 1))}, "beyond all reason"),
        ({"resolution": 100}, "cannot read 100 px"),
        ({"resolution": 48}, "do not fit"),
        ({"w_dim": 1 << 20}, "beyond all reason"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        IRSEConfig(**{**vars(make().config), **change})
