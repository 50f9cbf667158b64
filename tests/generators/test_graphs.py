"""Recorded steps: on the CPU with a stand-in for CUDA's graphs, and with the real ones where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from faceloom.generators import cache as caching
from faceloom.generators import derived
from faceloom.generators.backends import use_backend
from faceloom.generators.cache import Cancelled, PrefixCache
from faceloom.generators.graphs import Recording, Recordings, recordings
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config


class Again:
    """What a CUDA graph does: read and write the same memory each time; nothing is there before the first replay."""

    def __init__(self, function: Callable[[], Tensor]) -> None:
        self._function = function
        self.output = torch.full_like(function(), torch.nan)
        self.replays = 0

    def replay(self) -> None:
        self.output.copy_(self._function())
        self.replays += 1


class Recorder:
    def __init__(self) -> None:
        self.made: list[Again] = []

    def __call__(self, function: Callable[[], Tensor]) -> Recording:
        self.made.append(Again(function))
        return self.made[-1]

    @property
    def replays(self) -> int:
        return sum(one.replays for one in self.made)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(caching, "recordings", lambda device: Recordings(made))
    return made


def make(architecture: Architecture = "skip") -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(64, (16, 16, 8, 8, 8), z_dim=6, w_dim=7, mapping_layers=2, architecture=architecture)
    return StyleGAN2(config).requires_grad_(False)


def test_a_step_is_recorded_the_second_time() -> None:
    recorder, calls = Recorder(), 0
    steps = Recordings(recorder)

    def step(a: Tensor, nothing: Tensor | None, b: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        assert nothing is None
        return a @ b

    found = []
    inputs = [(torch.randn(3, 4), torch.randn(4, 5)) for _ in range(5)]
    for number, (a, b) in enumerate(inputs):
        found.append(steps.run("product", step, a, None, b))
        assert (len(recorder.made), recorder.replays) == (int(number > 0), number)
    for (a, b), product in zip(inputs, found, strict=True):  # none was written over by the next
        assert torch.equal(product, a @ b)


def test_other_shapes_and_names_are_other_steps() -> None:
    recorder = Recorder()
    steps = Recordings(recorder)
    for size in (3, 4, 3, 4, 3):
        x = torch.randn(2, size)
        assert torch.equal(steps.run("double", lambda x: x * 2.0, x), x * 2.0)
        assert torch.equal(steps.run("halve", lambda x: x / 2.0, x), x / 2.0)
        turned = torch.randn(size, 2).t()
        assert torch.equal(steps.run("double", lambda x: x * 2.0, turned), turned * 2.0)
    assert len(recorder.made) == 6


def test_who_draws_without_tracking_keeps_nobody_else_from_it() -> None:
    recorder = Recorder()
    steps = Recordings(recorder)
    x = torch.randn(4)
    with torch.inference_mode():
        for _ in range(3):
            steps.run("double", lambda x: x * 2.0, x)
    with torch.no_grad():
        assert torch.equal(steps.run("double", lambda x: x * 2.0, x), x * 2.0)
    assert len(recorder.made) == 1


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_recorded_blocks_draw_the_same_picture(architecture: Architecture, recorder: Recorder) -> None:
    generator = make(architecture)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    for row in (0, 0, 0, 9, 8, 6, 3, 9, 1):
        ws = ws.clone()
        ws[:, row] += 0.5
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
    assert len(recorder.made) == (9 if architecture == "skip" else 5)  # each block, and what paints but the last
    assert recorder.replays > len(recorder.made)


def test_previews_and_pictures_share_recordings(recorder: Recorder) -> None:
    generator = make()
    cache = PrefixCache(generator)
    for size in (8, None, 8, None):
        ws = generator.map(torch.randn(1, 6))
        assert torch.equal(cache.synthesize(ws, resolution=size), generator.synthesize(ws, resolution=size))
    assert len(recorder.made) == 9


@pytest.mark.parametrize("write", [lambda one: one.mul_(1.5), lambda one: one.data.mul_(1.5)])
def test_what_was_recorded_with_other_weights_is_dropped(write: Callable[[Tensor], Tensor], recorder: Recorder) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    for _ in range(3):
        ws = ws + 0.1
        cache.synthesize(ws)
    made = len(recorder.made)
    with torch.no_grad():
        write(next(iter(generator.blocks[1].parameters())))
    derived.forget()
    for _ in range(2):
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
        ws = ws + 0.1
    assert len(recorder.made) == 2 * made


def test_several_pictures_and_pictures_that_are_not_kept_are_not_recorded(recorder: Recorder) -> None:
    generator = make()
    for cache, count in ((PrefixCache(generator), 2), (PrefixCache(generator, 0), 1)):
        for _ in range(4):
            ws = generator.map(torch.randn(count, 6))
            assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
    assert not recorder.made


def test_drawing_stops_between_recorded_blocks(recorder: Recorder) -> None:
    generator = make()
    cache = PrefixCache(generator)
    for _ in range(3):
        ws = generator.map(torch.randn(1, 6))
        cache.synthesize(ws)
    before, ws, answers = recorder.replays, ws + 1.0, iter([False, False, False, True])
    with pytest.raises(Cancelled):
        cache.synthesize(ws, cancelled=lambda: next(answers))
    assert recorder.replays == before + 3
    assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))


def test_a_processor_records_nothing() -> None:
    assert recordings(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("name", ["plain", "half"])
def test_graphs_draw_the_same_picture(architecture: Architecture, name: Literal["plain", "half"]) -> None:
    generator = make(architecture).to("cuda")
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6, device="cuda"))
    with use_backend(name):
        for row in (0, 0, 0, 9, 8, 6, 3, 9, 1):
            ws = ws.clone()
            ws[:, row] += 0.5
            picture, expected = cache.synthesize(ws), generator.synthesize(ws)
            assert (picture - expected).abs().max() <= 1e-4 * expected.abs().max()
