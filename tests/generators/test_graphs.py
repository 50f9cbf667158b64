"""Recorded steps: on the CPU with a stand-in for CUDA's graphs, and with the real ones where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from faceloom.generators import cache as caching
from faceloom.generators import derived
from faceloom.generators.backends import use_backend
from faceloom.generators.cache import Cancelled, PrefixCache
from faceloom.generators.graphs import Recording, Recordings, recordings
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a CUDA graph does: the same operations on the same memory, and no line of Python again.

    Nothing is there before the first replay. The fused back end does not pass here; it draws on CPUs only.
    """

    def __init__(self, function: Callable[[], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._done: list[tuple[Any, Any, Any, Any]] = []
        self._given: set[int] = set()
        self._made: dict[int, Tensor] = {}
        self.replays = 0
        with self:
            self.output = function()
        for one in self._made.values():
            one.fill_(torch.nan)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self._given |= {place for place in map(memory, tensors((args, kwargs))) if place not in self._made}
        out = func(*args, **kwargs)
        self._done.append((func, args, kwargs, out))
        self._made |= {memory(one): one for one in tensors(out) if memory(one) not in self._given | self._made.keys()}
        return out

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out in self._done:
            for old, new in zip(tensors(out), tensors(func(*args, **kwargs)), strict=True):
                if memory(old) != memory(new):
                    old.copy_(new)


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Recorder:
    def __init__(self) -> None:
        self.made: list[Tape] = []

    def __call__(self, function: Callable[[], Tensor]) -> Recording:
        function()  # as `_Cuda` does: what is derived from weights is there afterwards
        self.made.append(Tape(function))
        return self.made[-1]

    @property
    def replays(self) -> int:
        return sum(one.replays for one in self.made)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(caching, "recordings", lambda device: Recordings(made))
    monkeypatch.setenv("FACELOOM_BACKEND", "plain")
    return made


def make(architecture: Architecture = "skip") -> StyleGAN2:
    torch.manual_seed(0)
    config = StyleGAN2Config(
        64, (16, 16, 8, 8, 8), z_dim=6, w_dim=7, mapping_layers=2, architecture=architecture, conv_clamp=4.0
    )
    generator = StyleGAN2(config).requires_grad_(False)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.2)
    return generator


def test_a_step_is_recorded_the_second_time_and_python_is_not_asked_again() -> None:
    recorder, calls = Recorder(), 0
    steps = Recordings(recorder)

    def step(a: Tensor, nothing: Tensor | None, b: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        assert nothing is None
        return (a @ b).relu_()

    for number in range(5):
        a, b = torch.randn(3, 4), torch.randn(4, 5)
        assert torch.equal(steps.run("product", step, a, None, b), (a @ b).relu())
        assert (len(recorder.made), recorder.replays) == (int(number > 0), number)
    assert calls == 3  # at once, to get ready, and for the recording


def test_a_step_reads_what_another_wrote_where_it_is() -> None:
    recorder = Recorder()
    steps = Recordings(recorder)
    for _ in range(4):
        x = torch.randn(3)
        y = steps.run("double", lambda x: x * 2.0, x)
        assert torch.equal(steps.run("more", lambda y: y + 1.0, y), x * 2.0 + 1.0)
    more = recorder.made[1]
    assert any(memory(y) == memory(one) for _, args, _, _ in more._done for one in tensors(args))


def test_a_device_that_cannot_record_draws_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    def refuse(function: Callable[[], Tensor]) -> Recording:
        nonlocal asked
        asked += 1
        raise RuntimeError("operation not permitted when stream is capturing")

    steps = Recordings(refuse)
    for _ in range(4):
        x = torch.randn(3)
        assert torch.equal(steps.run("double", lambda x: x * 2.0, x), x * 2.0)
        assert torch.equal(steps.run("halve", lambda x: x / 2.0, x), x / 2.0)
    assert asked == 1
    assert [record.message for record in caplog.records] == [
        "this device cannot record what it draws, and goes on kernel by kernel: "
        "operation not permitted when stream is capturing"
    ]


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
@pytest.mark.parametrize("name", ["plain", "half"])
def test_recorded_blocks_draw_the_same_picture(
    architecture: Architecture, name: Literal["plain", "half"], recorder: Recorder
) -> None:
    generator = make(architecture)
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    with use_backend(name):
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


def test_other_weights_at_the_same_place_are_noticed(recorder: Recorder) -> None:
    generator = make()
    cache = PrefixCache(generator)
    ws = generator.map(torch.randn(1, 6))
    for _ in range(12):
        ws = ws + 0.1
        cache.synthesize(ws)
        shape = generator.get_parameter("blocks.2.conv.weight").shape
        del generator.get_submodule("blocks.2.conv").weight
        generator.get_submodule("blocks.2.conv").weight = torch.nn.Parameter(torch.randn(shape), requires_grad=False)
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))


@pytest.mark.parametrize("kilobytes", [20, 80])
def test_what_does_not_fit_is_not_recorded(kilobytes: int, recorder: Recorder) -> None:
    generator = make()
    cache = PrefixCache(generator, kilobytes << 10)
    for _ in range(5):
        ws = generator.map(torch.randn(1, 6))
        assert torch.equal(cache.synthesize(ws), generator.synthesize(ws))
        assert cache.nbytes <= kilobytes << 10
    assert recorder.replays <= len(recorder.made)  # none is left after the first picture that did not fit


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("name", ["plain", "half"])
def test_no_step_waits_for_the_device(architecture: Architecture, name: Literal["plain", "half"]) -> None:
    generator = make(architecture).to("meta")  # a device whose numbers nobody can read
    with use_backend(name), torch.no_grad():
        picture = generator.synthesize(torch.empty(1, generator.num_ws, generator.w_dim, device="meta"))
    assert picture.shape == (1, 3, 64, 64)


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
            bound = 1e-4 if name == "plain" else 2e-3  # another algorithm may be chosen
            assert (picture - expected).abs().max() <= bound * expected.abs().max()
