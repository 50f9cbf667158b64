from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from faceloom.errors import TrainingError
from faceloom.generators import backends
from faceloom.training.adversary import Averages
from faceloom.training.arithmetic import Arithmetic
from faceloom.training.config import RECIPES, TrainingConfig
from faceloom.training.images import Batches, FaceSet
from faceloom.training.losses import PathLength
from faceloom.training.processes import Processes
from faceloom.training.trainer import Trainer


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations for which a host waits for its device."""

    names = ("_local_scalar_dense", "nonzero", "equal", "unique", "masked_select")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).split(".")[1]
        boolean = name.startswith("index") and any(
            one is not None and one.dtype == torch.bool for one in args[1] if isinstance(args[1], list | tuple)
        )
        if name in self.names or boolean:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_the_watch_sees_waiting() -> None:
    with Waits() as watch:
        numbers = torch.ones(3)
        float(numbers.sum())
        numbers[numbers > 0] = 2.0
    assert watch.seen == ["_local_scalar_dense", "index_put_"]


def test_a_step_waits_for_no_device(
    small: TrainingConfig, squares: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(small, squares, tmp_path)
    assert trainer.adversary is not None
    for optimizer in (trainer.optimizer, trainer.adversary.optimizer):
        monkeypatch.setattr(optimizer, "step", lambda: None)  # a CPU's counts steps on the host; CUDA's is one kernel
    with Waits() as watch:
        losses = [trainer.step() for _ in range(4)]
    assert watch.seen == []
    assert {"adversarial", "discriminator", "path", "pixel", "offsets"} == set(losses[0])
    assert "path" not in losses[1]
    assert not any(value.requires_grad for value in losses[0].values())


def test_the_samples_learn(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    """The mean colours of samples spread out towards those of the pictures."""
    trainer = Trainer(replace(small, learning_rate=1e-2), squares, tmp_path)
    assert trainer.adversary is not None
    assert trainer.adversary.augmentation is not None
    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    real = torch.from_numpy(squares.pixels).float() / 127.5 - 1.0

    def distance() -> float:
        with torch.no_grad():
            drawn = trainer.averaged_networks()[0](z)
        means = [drawn.mean(dim=(2, 3)).sort(dim=0).values, real.mean(dim=(1, 2)).sort(dim=0).values]
        return float((means[0] - means[1]).abs().mean())

    before = distance()
    for _ in range(60):
        trainer.step()
    assert distance() < 0.7 * before
    assert 0.0 <= float(trainer.adversary.augmentation.strength) <= 1.0


@pytest.fixture
def fused_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the fused back end draw even such small pictures as these, where it may."""
    pytest.importorskip("numba")
    monkeypatch.setattr(backends, "_LEAST_PIXELS", 0)


@pytest.mark.usefixtures("fused_everywhere")
def test_sixteen_bits_give_about_the_same_losses(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    config = replace(small, augment=0.0, path_length=0.0)
    plain, half = (
        Trainer(config, squares, tmp_path / name, arithmetic=Arithmetic(half=name == "half")) for name in ("a", "half")
    )
    torch.manual_seed(1)
    expected = plain.step()
    torch.manual_seed(1)
    found = half.step()
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        assert float(found[name]) == pytest.approx(float(value), rel=0.05, abs=0.02)
    assert float(found["pixel"]) != float(expected["pixel"])
    assert all(one.dtype == torch.float32 for one in half.generator.parameters())


@pytest.mark.usefixtures("fused_everywhere")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler's own doing
def test_a_compiled_step_is_the_same_step(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    plain = Trainer(small, squares, tmp_path / "a")
    ready = Trainer(small, squares, tmp_path / "b", arithmetic=Arithmetic(compiler="aot_eager"))
    for trainer in (plain, ready):
        torch.manual_seed(1)
        for _ in range(2):  # with gradients of gradients, and without
            trainer.step()
    for one, other in zip(plain.generator.parameters(), ready.generator.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_run_stops_in_time_and_goes_on(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    trainer = Trainer(small, squares, tmp_path)
    kept: list[int] = []
    trainer.run(lambda values: None, until=0.0, saved=lambda: kept.append(trainer.progress.steps))
    assert kept == [1]  # one step, whatever the time
    again = Trainer(replace(small, minutes=0.02), squares, tmp_path)
    told: list[dict[str, float]] = []
    again.run(told.append, report_every=2)
    assert again.share == 1.0
    assert told[0]["images"] == 16
    assert all(math.isfinite(value) for value in told[0].values())


def test_a_run_of_so_many_images_is_the_same_run_however_slow(
    small: TrainingConfig, squares: FaceSet, tmp_path: Path
) -> None:
    counted = replace(small, adversarial=0.0, images=40, minutes=1e-6)  # the time would be up at once
    whole, torn = Trainer(counted, squares, tmp_path / "a"), Trainer(counted, squares, tmp_path / "b")
    whole.run(lambda values: None)
    torn.run(lambda values: None, until=0.0)
    assert torn.stand == "8 of 40 images"
    assert torn.share == 0.2
    again = Trainer(counted, squares, tmp_path / "b")
    again.run(lambda values: None)
    for trainer in (whole, again):
        assert trainer.progress.images == 40
        assert trainer.share == 1.0
    pairs = zip(whole.generator.parameters(), again.generator.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    longer = Trainer(replace(counted, images=80), squares, tmp_path / "b")
    assert longer.share == 0.5
    kept = Trainer(replace(counted, images=0, minutes=1.0), squares, tmp_path / "b", keep_budget=True)
    assert kept.stand == "40 of 40 images"
    assert kept.share == 1.0


def test_a_run_that_went_wrong_is_not_saved(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    trainer = Trainer(small, squares, tmp_path)
    with torch.no_grad():
        trainer.generator.const.fill_(math.nan)
    with pytest.raises(TrainingError, match="not a number after 8 images"):
        trainer.run(lambda values: None, report_every=1)
    assert not (tmp_path / "state.pt").exists()


def test_a_state_of_before_a_setting_is_resumed(small: TrainingConfig, squares: FaceSet, tmp_path: Path) -> None:
    old = replace(small, adversarial=0.0, augment=0.0, path_length=0.0, reconstructed=1.0)
    trainer = Trainer(replace(old, judge_reconstructions=True, momentum=0.9, mapping_gain=1.0), squares, tmp_path)
    trainer.step()
    trainer.save()
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    settings = json.loads(state["config"])
    for name in ("pixel", "momentum", "mapping_gain", "reconstructed", "judge_reconstructions", "augment"):
        del settings[name]
    torch.save(state | {"config": json.dumps(settings)}, tmp_path / "state.pt")
    assert Trainer(trainer.config, squares, tmp_path).progress.steps == 1
    with pytest.raises(TrainingError, match="other settings"):
        Trainer(replace(trainer.config, pixel=2.0), squares, tmp_path)


def test_settings_survive_their_text() -> None:
    for config in (TrainingConfig(), *RECIPES.values()):
        assert TrainingConfig.from_json(config.to_json()) == config
    with pytest.raises(TrainingError, match="not the settings"):
        TrainingConfig.from_json('{"colour": 1}')


def test_averages_follow(small: TrainingConfig) -> None:
    kept, live = torch.nn.BatchNorm2d(2), torch.nn.BatchNorm2d(2)
    live(torch.randn(4, 2, 3, 3))
    with torch.no_grad():
        live.weight.fill_(3.0)
    before = kept.weight._version
    Averages(kept, live).update(0.75)
    assert torch.allclose(kept.weight, torch.full((2,), 1.5))
    assert kept.weight._version > before  # what was derived from the weight is made anew
    assert int(torch.as_tensor(kept.num_batches_tracked)) == 1


def test_path_lengths_are_held_to_their_mean() -> None:
    torch.manual_seed(0)
    path, ws = PathLength(), torch.randn(2, 3, 4, requires_grad=True)
    slopes = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    ones = torch.ones(2, 3, 8, 8)
    lengths = []
    for _ in range(2000):
        images = ws.sum(dim=(1, 2)).reshape(2, 1, 1, 1) * slopes * ones
        lengths.append(path(ws, images).detach())
    # The slope of all pixels alike is met by noise of deviation sqrt(3): the lengths are |n| 2 and |3 n| 2.
    mean = math.sqrt(3.0) * math.sqrt(2.0 / math.pi) * 2.0 * 2.0
    assert float(path.mean) == pytest.approx(mean, rel=0.2)
    assert float(torch.stack(lengths[1000:]).mean()) == pytest.approx(3.0 * 4.0 * 5.0 - mean**2, rel=0.2)


def test_batches_on_a_device_draw_their_numbers_there(squares: FaceSet) -> None:
    batches = Batches(squares, 4, 0, "cpu")
    assert batches.random.device == batches.pixels.device == torch.device("cpu")
    assert batches.pixels.dtype == torch.uint8
    assert next(batches).shape == (4, 3, 8, 8)


def test_batches_are_shared_evenly() -> None:
    assert Processes(1, 4).share(64) == 16
    with pytest.raises(TrainingError, match="choose another --batch"):
        Processes(0, 3).share(64)
