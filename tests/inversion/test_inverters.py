from __future__ import annotations

import pytest
import torch

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.hybrid import HybridInverter
from faceloom.inversion.losses import PerceptualDistance, face_weight, pixel_distance
from faceloom.inversion.protocol import Step


def targets(generator: StyleGAN2, count: int = 2) -> torch.Tensor:
    return generator.synthesize(generator.map(torch.randn(count, 8)))


def test_refinement_comes_nearer_than_the_encoder(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    images = targets(generator)
    steps: list[Step] = []
    inverter = HybridInverter(generator, encoder, torch.ones(8), steps=80, closeness=0.0, perceptual=0.0, rate=0.2)
    refined = inverter.invert(images, steps.append).codes
    encoded = EncoderInverter(encoder).invert(images).codes
    assert refined.shape == encoded.shape == (2, 6, 8)
    near, far = (pixel_distance(generator.synthesize(ws), images) for ws in (refined, encoded))
    assert bool((near < 0.5 * far).all())
    assert [step.number for step in steps] == list(range(1, 81))
    assert steps[-1].loss < steps[0].loss


def test_closeness_holds_the_code(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    images = targets(generator)
    start = encoder(images)
    moved = [
        (
            HybridInverter(generator, encoder, torch.ones(8), closeness=closeness, perceptual=0.0).invert(images).codes
            - start
        )
        .norm()
        .item()
        for closeness in (0.0, 0.5, 50.0)
    ]
    assert moved[0] > moved[1] > moved[2]


def test_no_steps_is_the_encoder(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    images = targets(generator)
    assert torch.equal(HybridInverter(generator, encoder, torch.ones(8), steps=0).invert(images).codes, encoder(images))
    with pytest.raises(UsageError, match="negative"):
        HybridInverter(generator, encoder, torch.ones(8), steps=-1)


def test_the_same_face_gives_the_same_code(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    images = targets(generator, 1)
    first, second = (HybridInverter(generator, encoder, torch.ones(8), steps=5).invert(images).codes for _ in range(2))
    assert torch.equal(first, second)


def test_hybrid_inverts_a_batch_as_its_faces_alone(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    images = targets(generator)
    inverter = HybridInverter(generator, encoder, torch.ones(8), steps=5)
    together, alone = inverter.invert(images).codes, torch.cat([inverter.invert(one[None]).codes for one in images])
    assert torch.allclose(together, alone, atol=1e-3)


def test_faces_of_any_size_are_brought_to_the_generators(generator: StyleGAN2, encoder: ResidualEncoder) -> None:
    large = torch.nn.functional.interpolate(targets(generator, 1), (40, 40))
    assert HybridInverter(generator, encoder, torch.ones(8), steps=2).invert(large).codes.shape == (1, 6, 8)


def test_the_face_weighs_more_than_the_background() -> None:
    weight = face_weight(64)[0, 0]
    assert weight.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert weight[32, 32] > 2.5 * weight[0, 0]


def test_perceptual_distance_grows_with_blur() -> None:
    torch.manual_seed(0)
    image = torch.nn.functional.interpolate(torch.randn(1, 3, 24, 24), (48, 48), mode="bilinear").clamp(-1, 1)
    distance = PerceptualDistance()
    values = [distance(torch.nn.functional.avg_pool2d(image, k, 1, k // 2), image).item() for k in (1, 3, 7)]
    assert values[0] == pytest.approx(0.0, abs=1e-6)
    assert values[0] < values[1] < values[2]
