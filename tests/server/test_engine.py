from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from faceloom.server.engine import Engine, Priority
from faceloom.server.refusals import Refusal
from faceloom.settings import on_one_core


@pytest.fixture
def engine() -> Iterator[Engine]:
    found = Engine(threads=1, most_waiting=8)
    found.start()
    yield found
    found.stop()


def test_the_most_urgent_goes_first_and_else_the_first(engine: Engine) -> None:
    order: list[str] = []
    free = threading.Event()
    engine.submit(lambda: free.wait(30), Priority.PREVIEW)
    wanted = [("long", Priority.LONG), ("strip", Priority.PICTURE), ("a", Priority.PREVIEW), ("b", Priority.PREVIEW)]
    futures = [engine.submit(lambda name=name: order.append(name), priority) for name, priority in wanted]  # type: ignore[misc]
    free.set()
    for future in futures:
        future.result(30)
    assert order == ["a", "b", "strip", "long"]


def test_long_work_lets_urgent_work_in_between_its_steps(engine: Engine) -> None:
    order: list[str] = []
    begun, asked = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        asked.wait(30)
        engine.let_urgent_in()
        order.append("long")

    long = engine.submit(work, Priority.LONG)
    begun.wait(30)
    engine.submit(lambda: order.append("other long"), Priority.LONG)

    def urgent() -> None:
        engine.let_urgent_in()  # means nothing in short work
        order.append("urgent")

    engine.submit(urgent, Priority.PREVIEW)
    engine.submit(lambda: order.append("picture"), Priority.PICTURE)
    asked.set()
    long.result(30)
    assert order[:3] == ["urgent", "picture", "long"]


def test_the_queue_is_bounded(engine: Engine) -> None:
    free, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        free.wait(30)

    engine.submit(hold, Priority.LONG)
    begun.wait(30)
    for _ in range(8):
        engine.submit(lambda: None, Priority.PREVIEW)
    with pytest.raises(Refusal) as caught:
        engine.submit(lambda: None, Priority.PREVIEW)
    assert caught.value.status == 429
    free.set()


def test_an_error_reaches_who_waits_and_the_thread_lives(engine: Engine) -> None:
    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        engine.submit(fail, Priority.FULL).result(30)
    assert engine.submit(lambda: 7, Priority.FULL).result(30) == 7


def test_what_was_cancelled_is_not_done(engine: Engine) -> None:
    free, done = threading.Event(), []
    engine.submit(lambda: free.wait(30), Priority.PREVIEW)
    future = engine.submit(lambda: done.append(1), Priority.LONG)
    assert future.cancel()
    free.set()
    engine.submit(lambda: None, Priority.LONG).result(30)
    assert not done


def test_nothing_is_taken_once_it_stops() -> None:
    engine = Engine(threads=1)
    engine.start()
    engine.stop()
    assert engine.stopping
    with pytest.raises(Refusal) as caught:
        engine.submit(lambda: None, Priority.FULL)
    assert caught.value.status == 409


def test_small_work_takes_one_core_and_the_next_has_all_again() -> None:
    engine = Engine(threads=2)
    engine.start()

    def alone() -> int:
        with on_one_core():
            return torch.get_num_threads()

    try:
        assert engine.submit(alone, Priority.PREVIEW).result(30) == 1
        assert engine.submit(torch.get_num_threads, Priority.FULL).result(30) == 2
    finally:
        engine.stop()
