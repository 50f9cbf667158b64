from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.training import portable
from faceloom.training.augmentation import Augmentation
from faceloom.training.config import RECIPES, TrainingConfig
from faceloom.training.discriminator import Discriminator
from faceloom.training.images import FaceSet
from faceloom.training.trainer import Trainer


def state_of(config: TrainingConfig) -> dict[str, torch.Tensor]:
    """The networks of a run by name, without their memory."""
    with torch.device("meta"):
        generator, encoder = StyleGAN2(config.generator()), ResidualEncoder(config.encoder())
        networks = {
            "generator": generator,
            "encoder": encoder,
            "averaged.generator": generator,
            "averaged.encoder": encoder,
            "discriminator": Discriminator(config.channels),
            "augmentation": Augmentation(),
        }
        return {f"{name}.{key}": value for name, net in networks.items() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("recipe", list(RECIPES))
def test_the_recipes_fit_the_limits(recipe: str) -> None:
    taken = portable.carried(state_of(RECIPES[recipe]), principal=False)
    parts = portable.plan(taken)
    assert sorted(name for part in parts for name in part) == sorted(taken)
    sizes = [sum(portable._stored_bytes(taken[name]) for name in part) for part in parts]
    assert len(parts) + 3 <= portable.MAX_FILES
    assert max(sizes) < portable.MAX_FILE - 2**17
    assert 30 * 2**20 < sum(sizes) < portable.MAX_TOTAL - 2 * 2**21


def test_what_does_not_fit_is_refused_before_training(
    small: TrainingConfig, squares: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"needs 70 MiB, more than 64"):
        portable.plan({f"{number}": torch.empty(2**22, device="meta") for number in range(8)})
    with pytest.raises(TrainingError, match="alone is larger"):
        portable.plan({"one": torch.empty(2**23, device="meta")})
    monkeypatch.setattr(portable, "MAX_TOTAL", 2**20)
    with pytest.raises(TrainingError, match="leave --portable out"):
        Trainer(small, squares, tmp_path / "run", portable=tmp_path / "carried")


def test_a_carried_run_goes_on(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    first = Trainer(small, squares, tmp_path / "here", portable=folder)
    for _ in range(12):
        first.step()
    first.progress.seconds = 20.0
    first.save_portable({"sheet.jpg": b"picture"}, {"frechet": {"distance": 5.0}})
    again = Trainer(replace(small, minutes=2.0), squares, tmp_path / "there", portable=folder)
    assert again.progress == first.progress
    kept, now = first._networks().state_dict(), again._networks().state_dict()
    for name, tensor in kept.items():
        if not name.startswith("encoder."):
            assert torch.allclose(now[name], tensor, rtol=1e-3, atol=1e-4), name
        else:
            assert torch.allclose(now[name], kept["averaged." + name], rtol=1e-3, atol=1e-4), name
    assert float(kept["augmentation.sign_count"]) == 0.0
    again.step()
    assert again.optimizer.param_groups[0]["lr"] == pytest.approx(small.learning_rate / 100)
    assert again.progress.images == 13 * 8
    record = json.loads((folder / portable.RUN_FILE).read_text())
    assert record["frechet"] == {"distance": 5.0}
    assert (folder / "sheet.jpg").read_bytes() == b"picture"
    again.save_portable()  # takes the place of the first, pictures and all
    assert sorted(path.name for path in folder.iterdir()) == ["part-0.safetensors", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["carried"]


def test_the_state_that_is_further_on_is_resumed(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    run = Trainer(small, squares, tmp_path / "run", portable=tmp_path / "carried")
    run.step()
    run.save_portable()
    run.step()
    run.save()
    again = Trainer(small, squares, tmp_path / "run", portable=tmp_path / "carried")
    assert again.progress.steps == 2
    assert again._risen_from == 0
    with pytest.raises(TrainingError, match="other settings"):
        Trainer(replace(small, r1=3.0), squares, tmp_path / "new", portable=tmp_path / "carried")


def test_damage_and_later_versions_are_told(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    folder = tmp_path / "carried"
    assert portable.read_portable(folder) is None
    run = Trainer(small, squares, tmp_path / "run", portable=folder)
    run.save_portable()
    folder.rename(tmp_path / ".carried-old")  # stopped between the two moves of a write
    assert portable.read_portable(folder) is not None
    (tmp_path / ".carried-old").rename(folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"version": 2}))
    with pytest.raises(TrainingError, match="later Faceloom"):
        portable.read_portable(folder)
    (folder / "run.json").write_text(json.dumps(record))
    part = folder / "part-0.safetensors"
    data = bytearray(part.read_bytes())
    data[-1] ^= 255
    part.write_bytes(data)
    with pytest.raises(TrainingError, match="is damaged"):
        portable.read_portable(folder)
    part.unlink()
    with pytest.raises(TrainingError, match="incomplete"):
        portable.read_portable(folder)


def test_a_larger_run_starts_from_a_carried_one(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    run = Trainer(small, squares, tmp_path / "run", portable=tmp_path / "carried")
    run.step()
    run.save_portable()
    carried = portable.read_portable(tmp_path / "carried")
    assert carried is not None
    start = portable.networks_of(carried)
    twice = FaceSet(squares.pixels.repeat(2, axis=1).repeat(2, axis=2), squares.landmarks, squares.names)
    config = replace(small, resolution=16, channels=(*small.channels, 4))
    grown = Trainer(config, twice, tmp_path / "grown", start=start)
    assert start[2] is not None
    assert grown.discriminator is not None
    old, new = start[2].state_dict(), grown.discriminator.state_dict()
    assert torch.equal(new["blocks.1.conv.weight"], old["blocks.0.conv.weight"])
    assert torch.equal(new["score.weight"], old["score.weight"])
    assert new["blocks.0.conv.weight"].shape[0] == 4
    assert all(torch.isfinite(value) for value in grown.step().values())
    broken = {name: one for name, one in carried.tensors.items() if not name.startswith("discriminator.score")}
    with pytest.raises(TrainingError, match="is damaged"):
        portable.networks_of(replace(carried, tensors=broken))
