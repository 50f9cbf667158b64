from __future__ import annotations

import gc
import mmap
import threading
from pathlib import Path

import pytest
import torch

pytest.importorskip("numba")
from faceloom.generators.fused import pages

PAGE = 2 << 20
FLOATS = PAGE // 4
needs_pages = pytest.mark.skipif(
    not hasattr(mmap, "MADV_HUGEPAGE") or not Path("/sys/kernel/mm/transparent_hugepage").exists(),
    reason="this system has no large pages on demand",
)


@pytest.fixture(autouse=True)
def nothing_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_spare", [])


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (FLOATS,), (5, FLOATS // 3, 2)])
def test_memory_has_the_shape_asked_for_and_is_written_to(shape: tuple[int, ...]) -> None:
    found = pages.large(*shape)
    assert found.shape == shape
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    found.copy_(torch.arange(found.numel()).reshape(shape) % 1000)
    assert torch.equal(found.flatten()[-5:], (torch.arange(found.numel()) % 1000)[-5:].float())


@needs_pages
def test_large_memory_begins_with_a_page_and_is_marked_for_large_ones() -> None:
    found = pages.large(3 * FLOATS).zero_()
    assert found.data_ptr() % PAGE == 0
    inside, flags = False, ""
    with open("/proc/self/smaps") as maps:
        for line in maps:
            head = line.split()[0]
            if "-" in head and not head.endswith(":"):
                start, end = (int(part, 16) for part in head.split("-"))
                inside = start <= found.data_ptr() < end
            elif inside and head == "VmFlags:":
                flags = line
    assert "hg" in flags.split()


@needs_pages
def test_what_was_given_up_is_taken_again_but_never_while_somebody_holds_a_part() -> None:
    first = pages.large(2 * FLOATS)
    place, part = first.data_ptr(), first.fill_(3.0)[-FLOATS:]
    del first
    other = pages.large(2 * FLOATS)
    assert other.data_ptr() != place
    other.fill_(5.0)
    assert bool((part == 3.0).all())
    del part
    gc.collect()
    assert pages.large(3 * FLOATS).data_ptr() != place  # of another size
    assert pages.large(2 * FLOATS).data_ptr() == place


@needs_pages
def test_what_is_spare_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_SPARE", 5 * PAGE)
    held = [pages.large(count * FLOATS) for count in (1, 2, 1)]
    held.clear()
    gc.collect()
    assert [len(memory) // PAGE for memory in pages._spare] == [3, 2]  # the page that each begins with included
    large = pages.large(9 * FLOATS)
    del large
    gc.collect()
    assert [len(memory) // PAGE for memory in pages._spare] == [3, 2]


@needs_pages
def test_threads_never_share_memory() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(200):
            mine = pages.large(FLOATS + 1024)
            mine[::512] = number
            if not bool((mine[::512] == number).all()):
                wrong.append(number)
            del mine

    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@needs_pages
def test_a_system_that_refuses_large_pages_gives_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", 10_000)  # no advice that a kernel knows
    assert bool((pages.large(2 * FLOATS).fill_(1.0) == 1.0).all())
