from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion.likeness import Calibration, assess, calibrate, calibration_file

FACES = [np.random.default_rng(seed).integers(0, 255, (16, 16, 3)).astype(np.uint8) for seed in range(8)]


def test_a_face_is_placed_among_ordinary_ones() -> None:
    known = Calibration("x", 11, tuple(i / 10 for i in range(11)), tuple(i / 100 for i in range(11)))
    assert known.judge(0.05, 0.0).share == pytest.approx(0.1)
    assert known.judge(0.05, 0.08).share == pytest.approx(0.8)
    assert not known.judge(0.5, 0.05).poor
    poor = known.judge(2.0, 0.0)
    assert poor.poor
    assert "worse than 100%" in str(poor)


def test_calibrations_survive_and_damage_is_told(
    tmp_path: Path, generator: StyleGAN2, encoder: ResidualEncoder
) -> None:
    known = calibrate(generator, encoder, FACES)
    assert known.faces == 8
    assert list(known.perceptual) == sorted(known.perceptual)
    known.save(tmp_path / "likeness.json")
    assert Calibration.load(tmp_path / "likeness.json") == known
    (tmp_path / "bad.json").write_text('{"generator": "x", "faces": 3, "perceptual": [2, 1], "pixel": [1, 2]}')
    for name in ("bad.json", "none.json"):
        with pytest.raises(CheckpointError, match="faceloom benchmark likeness"):
            Calibration.load(tmp_path / name)
    with pytest.raises(UsageError, match="too few"):
        calibrate(generator, encoder, FACES[:3])


def test_a_model_that_knows_no_ordinary_faces_says_nothing(
    tmp_path: Path, generator: StyleGAN2, encoder: ResidualEncoder
) -> None:
    images = torch.zeros(2, 3, 16, 16)
    assert assess(str(tmp_path), generator, encoder, images) == [None, None]
    Calibration("another", 8, (0.0, 1.0), (0.0, 1.0)).save(tmp_path / "likeness.json")
    assert assess(str(tmp_path), generator, encoder, images) == [None, None]
    own = tmp_path / "own"
    own.mkdir()
    calibrate(generator, encoder, FACES).save(own / "likeness.json")
    found = assess(str(own), generator, encoder, images)
    assert all(one is not None for one in found)
    assert assess(str(own), generator, None, images) == [None, None]


def test_the_embedded_model_keeps_it_beside_its_weights() -> None:
    folder = resources.files("faceloom") / "assets" / "default"
    assert calibration_file("default") == Path(str(folder)) / "likeness.json"
