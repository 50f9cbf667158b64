from __future__ import annotations

import pytest
import torch

from faceloom.directions.calibration import (
    conditioned,
    draw_pair,
    factor_of,
    judged_deviations,
    judged_effect,
    probed_effects,
)
from faceloom.directions.direction import Direction, Probe
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config


class Mirror:
    """An encoder that gives what it is told, whatever it sees."""

    resolution = 8

    def __init__(self, generator: StyleGAN2) -> None:
        self.generator = generator

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean(dim=(1, 2, 3))
        return means[:, None, None].expand(-1, self.generator.num_ws, self.generator.w_dim)


class Brightness:
    """A judge of one score."""

    name = "brightness"

    def score_aligned(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"light": images.mean(dim=(1, 2, 3))}


@pytest.fixture
def generator() -> StyleGAN2:
    torch.manual_seed(2)
    return StyleGAN2(StyleGAN2Config(8, (6, 4), z_dim=4, w_dim=4, mapping_layers=1)).eval().requires_grad_(False)


def test_effects_are_differences_of_readings(generator: StyleGAN2) -> None:
    codes, step = torch.randn(5, 4), torch.ones(generator.num_ws, 4) * 0.5
    pair = draw_pair(generator, codes, step)
    gap = float((pair[1].mean(dim=(1, 2, 3)) - pair[0].mean(dim=(1, 2, 3))).mean())
    probes = [Probe("light", torch.tensor([1.0, 0, 0, 0]), 7.0), Probe("twice", torch.tensor([1.0, 1, 0, 0]), 0.0)]
    found = probed_effects(Mirror(generator), pair, probes)
    assert found["light"] == pytest.approx(gap, abs=1e-5)
    assert found["twice"] == pytest.approx(2 * gap, abs=1e-5)
    judges = [Brightness()]
    deviations = judged_deviations(judges, generator, codes)  # type: ignore[arg-type]
    judged = judged_effect(judges, "light", pair, deviations)  # type: ignore[arg-type]
    assert judged == pytest.approx(gap / deviations["brightness", "light"], rel=1e-3)
    assert judged_effect(judges, "age", pair, deviations) is None  # type: ignore[arg-type]
    assert factor_of(0.8) == pytest.approx(1.25)
    assert (factor_of(0.01), factor_of(-1.0)) == (2.0, 1.0)


def test_measured_side_effects_are_taken_out() -> None:
    axes = {name: torch.eye(3)[index].expand(2, -1) for index, name in enumerate(("age", "glasses", "grey"))}
    moves = [Direction(name, axis.clone(), (0, 2), (-2, 2), "a", "b") for name, axis in axes.items()]
    effects = {
        "age": {"age": 1.0, "glasses": 0.5, "grey": 0.6},
        "glasses": {"age": 0.05, "glasses": 1.0, "grey": 0.0},
        "grey": {"age": 0.0, "glasses": 0.0, "grey": 1.0},
    }
    (age, glasses, _), predicted = conditioned(moves, effects, {"age": ["grey"]}, least=0.15)
    assert predicted["age"]["glasses"] == pytest.approx(0.0, abs=1e-6)
    assert predicted["age"]["age"] == pytest.approx(1.0)
    assert age.vector[0, 1] < -0.4  # glasses are taken off again
    assert age.vector[0, 2] == 0.0  # grey hair belongs to age
    assert torch.equal(glasses.vector, moves[1].vector)  # 5 % is nothing
    everything, _ = conditioned(moves, effects, {"age": ["grey"]})
    assert not torch.equal(everything[1].vector, moves[1].vector)
