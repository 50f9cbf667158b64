from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from faceloom.cli.train import train
from faceloom.errors import FaceloomError
from faceloom.training.config import RECIPES, TrainingConfig
from faceloom.training.images import FaceSet
from faceloom.training.packing import pack


def call(*words: object) -> str:
    result = CliRunner().invoke(train, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def packed(small: TrainingConfig, squares: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(RECIPES, "gan128", replace(small, minutes=0.05))
    larger = replace(small, minutes=0.02, resolution=16, channels=(*small.channels, 4))
    monkeypatch.setitem(RECIPES, "gan256", larger)
    twice = FaceSet(squares.pixels.repeat(2, axis=1).repeat(2, axis=2), squares.landmarks, squares.names)
    pack(twice, tmp_path / "faces.zip", 2**20)
    return tmp_path / "faces.zip"


def test_a_run_ends_after_so_many_images(packed: Path, tmp_path: Path) -> None:
    words = ("--data", packed, "--recipe", "gan128", "--no-export", "--images", 24, "-o", tmp_path / "out")
    assert "finished, 24 images" in call(*words)
    with pytest.raises(FaceloomError, match="give one of them"):
        call(*words, "--minutes", 1)


@pytest.mark.parametrize("other", [("--sharpen", 0.2), ("--adversarial", 1), ("--recipe", "gan128")])
def test_a_critic_stands_alone(packed: Path, tmp_path: Path, other: tuple[str, object]) -> None:
    with pytest.raises(FaceloomError, match="stands alone"):
        call("--data", packed, "-o", tmp_path / "out", "--critic", 0.3, *other)
    assert not (tmp_path / "out").exists()


def test_detail_is_left_to_a_critic_alone(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceloomError, match="leaves detail to a critic"):
        call("--data", packed, "-o", tmp_path / "out", "--compare-at", 64)
    assert not (tmp_path / "out").exists()


def test_a_run_is_carried_from_call_to_call_and_grows(packed: Path, tmp_path: Path) -> None:
    words = ("--data", packed, "--recipe", "gan128", "--no-export", "--precision", "bf16")
    home, calls = tmp_path / "home", 0
    while "finished" not in (
        said := call(*words, "-o", tmp_path / f"out{calls}", "--portable", home, "--call-minutes", 0.03)
    ):
        assert "of 0.05 minutes" in said
        calls += 1
        assert calls < 6
    assert calls >= 1
    record = json.loads((home / "run.json").read_text())
    assert record["progress"]["seconds"] >= 3.0
    assert record["progress"]["images"] % 8 == 0
    assert any("PSNR" in line for line in record["log"])
    assert {path.name for path in home.iterdir()} == {"run.json", "part-0.safetensors", "sheet.jpg", "samples.jpg"}
    assert (tmp_path / "out0" / "samples.png").exists()
    assert not (tmp_path / "out0" / "faces.npz").exists()
    assert not (tmp_path / "out0" / "model").exists()
    grown = tmp_path / "grown"
    said = call(
        "--data",
        packed,
        "--recipe",
        "gan256",
        "--start",
        home,
        "-o",
        grown,
        "--portable",
        grown / "home",
        "--no-export",
    )
    assert "finished" in said
    assert json.loads((grown / "home" / "run.json").read_text())["config"]["resolution"] == 16


def test_options_that_do_not_fit_are_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(FaceloomError, match="with --out"):
        call("--data", packed)
    with pytest.raises(FaceloomError, match="leave --resolution out"):
        call("--data", packed, "-o", tmp_path / "run", "--recipe", "gan128", "--resolution", "64")


def test_pack_writes_what_train_reads(packed: Path, tmp_path: Path) -> None:
    said = call("--data", packed, "--pack", tmp_path / "again.zip", "--recipe", "gan128", "--max-mib", 1)
    assert "64 faces of 8 px, quality 95" in said
    with pytest.raises(FaceloomError, match="do not fit"):
        call("--data", packed, "--pack", tmp_path / "small.zip", "--recipe", "gan128", "--max-mib", 0.001)


def test_training_on_packed_faces_needs_no_detector() -> None:
    script = (
        "import sys; sys.modules['dlib'] = sys.modules['face_recognition_models'] = None; import faceloom.cli.train"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


_WORKER = """
import dataclasses, hashlib, json, pathlib, sys
import numpy as np, torch
from faceloom.training import processes
from faceloom.training.config import TrainingConfig
from faceloom.training.images import FaceSet
from faceloom.training.trainer import Trainer

torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
team, device = processes.join(torch.device("cpu"))
config = TrainingConfig.from_json((folder / "config.json").read_text())
faces = FaceSet(np.load(folder / "pixels.npy"), np.zeros((64, 68, 2)), tuple(map(str, range(64))))
trainer = Trainer(config, faces, folder / "run", device, processes=team)
first = next(trainer.batches)
told = []
trainer.run(told.append, report_every=2)
told = {"first": float(first.sum()), "batch": len(first), "images": trainer.progress.images,
        "steps": trainer.progress.steps, "seconds": trainer.progress.seconds, "reports": len(told),
        "weights": hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in
            [*trainer.generator.parameters(), *trainer.discriminator.parameters()])).hexdigest(),
        "strength": float(trainer.adversary.augmentation.strength)}
(folder / f"{team.rank}.json").write_text(json.dumps(told))
processes.leave()
"""


@pytest.mark.slow
def test_two_processes_train_one_model(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    import numpy as np

    (tmp_path / "worker.py").write_text(_WORKER)
    (tmp_path / "config.json").write_text(replace(small, minutes=0.03).to_json())
    np.save(tmp_path / "pixels.npy", squares.pixels)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([sys.executable, *words, str(tmp_path / "worker.py"), str(tmp_path)], check=True, timeout=600)
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert one["weights"] == two["weights"]
    assert one["first"] != two["first"]
    assert one["batch"] == two["batch"] == 4
    assert one["images"] == two["images"] == 8 * one["steps"]
    assert one["seconds"] == two["seconds"]
    assert one["reports"] >= 1
    assert two["reports"] == 0
    assert one["strength"] == two["strength"]
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["progress"]["steps"] == one["steps"]
