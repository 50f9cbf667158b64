from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from faceloom.encoders.residual import ResidualEncoder
from faceloom.generators.backends import backend, use_backend
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion import pivotal
from faceloom.inversion.abreast import aside, invert_abreast
from faceloom.inversion.encoder import EncoderInverter
from faceloom.inversion.losses import PixelLoss
from faceloom.inversion.lowrank import LowRankTuner
from faceloom.inversion.protocol import Inversion, ProgressReport, Step
from faceloom.settings import on_one_core


@pytest.fixture(params=[1, 2, 3])
def cores(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def method(generator: StyleGAN2, encoder: ResidualEncoder, loss: PixelLoss) -> LowRankTuner:
    return LowRankTuner(generator, EncoderInverter(encoder), steps=5, rank=2, loss=loss)


def test_each_face_is_found_as_if_it_were_alone(cores: int, method: LowRankTuner, images: Tensor) -> None:
    images = torch.cat([images, images.flip(3)])
    steps: list[Step] = []
    places: set[tuple[int, int]] = set()

    def note(step: Step) -> None:
        steps.append(step)
        places.add((threading.get_ident(), torch.get_num_threads()))

    found = invert_abreast(method, images, note)
    # What is let in between two steps has all cores.
    assert places == {(threading.get_ident(), cores)}
    assert torch.get_num_threads() == cores
    with on_one_core():
        alone = [method.invert(image) for image in torch.split(images, 1)]
    assert torch.equal(found.codes, torch.cat([one.codes for one in alone]))
    for mine, other in zip(found.tunings, (one.tunings[0] for one in alone), strict=True):
        assert all(torch.equal(mine.tensors[name], tensor) for name, tensor in other.tensors.items())
    assert found.steps == alone[0].steps
    numbers = [step.number for step in steps]
    assert numbers == sorted(numbers)
    assert steps[-1].number <= steps[-1].total == 4 * (alone[0].steps)
    pictures = [step.picture() for step in steps if step.picture is not None]
    assert {tuple(picture.shape) for picture in pictures} == {(1, 3, 16, 16)}


@pytest.mark.parametrize("interval", [1, 3])
def test_what_a_face_puts_aside_changes_nothing(
    cores: int, interval: int, generator: StyleGAN2, encoder: ResidualEncoder, loss: PixelLoss, images: Tensor
) -> None:
    moves = 0.1 * torch.randn(3, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(1))
    method = LowRankTuner(
        generator, EncoderInverter(encoder), steps=8, rank=2, interval=interval, moves=moves, loss=loss
    )
    found = invert_abreast(method, images[:1])
    with on_one_core():
        alone = method.invert(images[:1])
    mine, other = found.tunings[0], alone.tunings[0]
    assert all(torch.equal(mine.tensors[name], tensor) for name, tensor in other.tensors.items())
    assert mine.response == other.response


@pytest.mark.parametrize(("steps", "interval", "wanted"), [(8, 4, 1), (9, 4, 2), (3, 1, 2), (4, 4, 0)])
def test_no_locality_is_worked_out_in_vain(
    steps: int,
    interval: int,
    wanted: int,
    generator: StyleGAN2,
    encoder: ResidualEncoder,
    loss: PixelLoss,
    images: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []
    used: list[int] = []

    def noting(work: Callable[[], object]) -> Callable[[], object]:
        result, number = work(), len(begun)
        begun.append(number)

        def wait() -> object:
            used.append(number)
            return result

        return wait

    monkeypatch.setattr(pivotal, "aside", noting)
    method = LowRankTuner(generator, EncoderInverter(encoder), steps=steps, rank=2, interval=interval, loss=loss)
    method.invert(images[:1])
    assert sorted(set(used)) == begun == list(range(wanted))


class _Delegating:
    """Puts something aside, and waits for it."""

    def __init__(self) -> None:
        self.there: list[tuple[str, str, int]] = []

    def _note(self) -> None:
        self.there.append((threading.current_thread().name, backend().name, torch.get_num_threads()))

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        aside(self._note)()
        return Inversion(images.mean(dim=(2, 3))[:, None])


def test_a_core_without_a_face_does_what_is_put_aside(cores: int, images: Tensor) -> None:
    delegating = _Delegating()
    with use_backend("plain"):
        invert_abreast(delegating, images[:1])
    ((name, back_end, threads),) = delegating.there
    assert name.startswith("faceloom-aside" if cores > 1 else "faceloom-face")
    assert (back_end, threads) == ("plain", 1)


class _Nested(_Delegating):
    """Puts something aside that puts something aside."""

    def _note(self) -> None:
        aside(super()._note)()


def test_what_is_put_aside_may_put_something_aside(cores: int, images: Tensor) -> None:
    nested = _Nested()
    invert_abreast(nested, images[:1])
    assert len(nested.there) == 1


class _Meeting:
    """Waits until it has been told to go on."""

    def __init__(self, begun: threading.Event, go: threading.Event) -> None:
        self.begun, self.go = begun, go

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        self.begun.set()
        assert self.go.wait(20)
        return Inversion(images.mean(dim=(2, 3))[:, None])


def test_two_at_once_give_all_cores_back(cores: int, images: Tensor) -> None:
    first, second = (_Meeting(threading.Event(), threading.Event()) for _ in range(2))
    counts: list[int] = []

    def later() -> None:
        invert_abreast(second, images[:1])
        counts.append(torch.get_num_threads())

    one = threading.Thread(target=invert_abreast, args=(first, images[:1]))
    two = threading.Thread(target=later)
    one.start()
    assert first.begun.wait(20)
    two.start()  # PyTorch tells a thread that begins now that there is one core
    assert second.begun.wait(20)
    first.go.set()
    one.join(20)
    second.go.set()
    two.join(20)
    last = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    last.start()
    last.join(20)
    assert counts == [cores, cores]


def test_where_nobody_shares_cores_it_is_done_at_once() -> None:
    here: list[int] = []
    wait = aside(lambda: here.append(threading.get_ident()))
    assert here == [threading.get_ident()]
    wait()
    assert len(here) == 1


class _Noting:
    """Notes where it is called, and waits for the others."""

    def __init__(self, cores: int) -> None:
        self.seen: list[tuple[int, str, int]] = []
        self.barrier = threading.Barrier(cores)

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        self.barrier.wait(20)
        self.seen.append((threading.get_ident(), backend().name, torch.get_num_threads()))
        return Inversion(images.mean(dim=(2, 3))[:, None])


def test_as_many_at_once_as_cores_each_on_one_with_the_callers_back_end(cores: int, images: Tensor) -> None:
    noting = _Noting(min(cores, 2))
    with use_backend("plain"):
        found = invert_abreast(noting, images)
    assert torch.equal(found.codes[:, 0], images.mean(dim=(2, 3)))
    assert {(name, count) for _, name, count in noting.seen} == {("plain", 1)}
    assert len({thread for thread, _, _ in noting.seen}) == min(cores, 2)


def test_what_the_report_raises_stops_all(cores: int, method: LowRankTuner, images: Tensor) -> None:
    calls: list[Step] = []

    def stop(step: Step) -> None:
        calls.append(step)
        if len(calls) == 3:
            raise InterruptedError("no longer wanted")

    with pytest.raises(InterruptedError, match="no longer wanted"):
        invert_abreast(method, images, stop)
    assert len(calls) == 3
    assert torch.get_num_threads() == cores


class _Failing:
    """Fails for the face that is brightest; goes on and on for others."""

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        if float(images.mean()) > 0:
            raise ArithmeticError("no code")
        for number in range(1000):
            time.sleep(0.01)
            if progress is not None:
                progress(Step(number + 1, 1000, 1.0))
        raise AssertionError("nobody has stopped it")


@pytest.mark.parametrize("heard", [True, False])
def test_a_face_that_fails_stops_the_others(heard: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        images = torch.cat([-torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4), -torch.ones(2, 3, 4, 4)])
        with pytest.raises(ArithmeticError, match="no code"):
            invert_abreast(_Failing(), images, (lambda _: None) if heard else None)
    finally:
        torch.set_num_threads(before)
