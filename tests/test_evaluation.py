from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceloom.cli.evaluate import evaluate
from faceloom.editor import make_inverter
from faceloom.errors import UsageError
from faceloom.evaluation import (
    evaluate_reconstruction,
    evaluate_samples,
    reconstruction_sheet,
    sample_sheet,
    samples,
)
from faceloom.model import load_model
from faceloom.training.images import FaceSet
from faceloom.training.packing import pack


def row(table: str, start: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_model_that_draws_the_reference_itself_is_at_the_floor() -> None:
    model = load_model()
    own = samples(model, 48, 1.0, seed=1)
    table = evaluate_samples(model, own, seed=2).markdown()
    assert float(row(table, "ratio")[1]) < 1.6
    noise = np.random.default_rng(0).integers(0, 256, own.shape, dtype=np.uint8)
    assert float(row(evaluate_samples(model, noise, seed=2).markdown(), "ratio")[1]) > 3.0
    assert float(row(evaluate_samples(model, noise, seed=2).markdown(), "precision")[1]) == 0.0


def test_reconstructions_of_the_models_own_faces_are_near_them() -> None:
    model = load_model()
    own = samples(model, 6, 0.7, seed=3)
    seen: list[tuple[int, int]] = []
    quality, drawn = evaluate_reconstruction(
        model, make_inverter("encoder", model), own, progress=lambda done, total: seen.append((done, total))
    )
    assert drawn.shape == own.shape
    assert seen[-1] == (6, 6)
    assert float(row(quality.markdown(), "PSNR")[1]) > 20.0
    assert 0.0 < float(row(quality.markdown(), "SSIM")[1]) <= 1.0


def test_the_same_seed_draws_the_same_faces() -> None:
    model = load_model()
    assert np.array_equal(samples(model, 3, 0.7, seed=5), samples(model, 3, 0.7, seed=5))
    assert not np.array_equal(samples(model, 3, 0.7, seed=5), samples(model, 3, 0.7, seed=6))


def test_sheets_show_every_face() -> None:
    model = load_model()
    size = model.generator.resolution
    sheet = sample_sheet(model, 0.7, count=10)
    assert sheet.shape[0] >= 2 * max(96, size)
    faces = samples(model, 4, 0.7, seed=0)
    assert reconstruction_sheet(faces, faces).shape[0] >= 2 * max(96, size)


def test_too_few_faces_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        evaluate_samples(load_model(), np.zeros((5, 32, 32, 3), np.uint8))
    assert torch.is_grad_enabled()


def test_packed_faces_are_evaluated(tmp_path: Path) -> None:
    model = load_model()
    own = samples(model, 24, 1.0, seed=1)
    faces = FaceSet(own, np.zeros((24, 68, 2)), tuple(f"a/{number}.png" for number in range(24)))
    pack(faces, tmp_path / "faces.zip", 2**21)
    out = tmp_path / "out"
    result = CliRunner().invoke(evaluate, ["--data", str(tmp_path / "faces.zip"), "--all", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "dB, 24 faces |" in (out / "evaluation.md").read_text(encoding="utf-8")
