"""Several faces at once, a core for each, and a second one where there are more cores than faces.

A small generator's step is thousands of small products, which gain nothing from a second core: with two, an inversion
took as long and twice the processor's time (`python benchmarks/performance.py` prints both). Faces are independent, so
cores are shared among them instead. A core that no face has does what a method puts `aside`.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch
from torch import Tensor

from faceloom.inversion.protocol import Inversion, Inverter, ProgressReport, Step

_PATIENCE = 0.1  # seconds after which a face that waits for its report looks whether all is stopped

_Message = tuple[int, Step, threading.Event]
_ResultT = TypeVar("_ResultT")
_spare: contextvars.ContextVar[ThreadPoolExecutor | None] = contextvars.ContextVar("spare", default=None)
"""The cores that no face has."""


def aside(work: Callable[[], _ResultT]) -> Callable[[], _ResultT]:
    """Begin what is wanted only later: on a core that no face has or, where there is none, here and now.

    Args:
        work: leaves alone what its caller goes on to change.

    Returns:
        a function that waits for the result.

    Raises:
        whatever `work` does; where another core does it, from the function that is returned.
    """
    pool = _spare.get()
    if pool is None:
        result = work()
        return lambda: result
    context = contextvars.copy_context()
    context.run(_spare.set, None)  # what is put aside from there would wait for itself
    return pool.submit(context.run, work).result


def invert_abreast(inverter: Inverter, images: Tensor, progress: ProgressReport | None = None) -> Inversion:
    """`inverter.invert`, each face by itself and on one core, as many at once as PyTorch uses cores here.

    A face's code does not depend on the others of the photo. Whatever goes wrong with one, an interruption, or what
    `progress` raises, stops all.

    Args:
        inverter: of a small generator. Its `invert` is called by several threads, with one face each.
        images: (N, 3, H, W).
        progress: called after every step of any face, on the caller's thread and with all its cores. Steps are counted
            over all faces; the loss is the mean of their last ones, the picture the first face's.
    """
    cores, report = _all_cores.taken(), None if progress is None else _over_all(len(images), progress)
    mail: SimpleQueue[_Message | None] = SimpleQueue()
    stopped = threading.Event()
    faces = min(cores, len(images))
    pool = ThreadPoolExecutor(faces, "faceloom-face", _begin)
    spare = ThreadPoolExecutor(min(cores - faces, faces), "faceloom-aside", _begin) if cores > faces else None
    try:
        jobs = []
        for face, image in enumerate(torch.split(images, 1)):
            post = _posted(face, None if report is None else mail, stopped)
            context = contextvars.copy_context()  # the caller's, which names the back end that draws
            context.run(_spare.set, spare)
            job = pool.submit(context.run, inverter.invert, image, post)
            job.add_done_callback(lambda _: mail.put(None))
            jobs.append(job)
        _answer(mail, jobs, report)
    finally:
        stopped.set()
        for one in (pool, spare):
            if one is not None:
                one.shutdown(cancel_futures=True)
        _all_cores.given_back()
    found = [job.result() for job in jobs]
    tunings = tuple(one for part in found for one in part.tunings)
    return Inversion(torch.cat([part.codes for part in found]), tunings, max(part.steps for part in found))


class _Cores:
    """How many cores PyTorch uses where no face has been given one: whoever first asks it meanwhile is told 1."""

    def __init__(self) -> None:
        self._lock, self._users, self._count = threading.Lock(), 0, 1

    def taken(self) -> int:
        """Their number, for whoever is about to share them out."""
        with self._lock:
            if not self._users:
                self._count = torch.get_num_threads()
            self._users += 1
            return self._count

    def given_back(self) -> None:
        """Have this thread, and those that come later, use all of them again."""
        with self._lock:
            self._users -= 1
            torch.set_num_threads(self._count)


_all_cores = _Cores()


class _Stopped(Exception):
    """Nobody waits for this face any more."""


def _begin() -> None:
    """Have PyTorch use one core in a thread that begins; it reads the number for all once, when first asked."""
    torch.get_num_threads()
    torch.set_num_threads(1)


def _posted(face: int, mail: SimpleQueue[_Message | None] | None, stopped: threading.Event) -> ProgressReport:
    """What a face's thread reports to: the caller's thread, which it waits for."""

    def report(step: Step) -> None:
        answered = threading.Event()
        if mail is not None and not stopped.is_set():
            mail.put((face, step, answered))
            while not answered.wait(_PATIENCE) and not stopped.is_set():
                pass
        if stopped.is_set():
            raise _Stopped

    return report


def _answer(
    mail: SimpleQueue[_Message | None], jobs: list[Future[Inversion]], report: Callable[[int, Step], None] | None
) -> None:
    """Pass reports on until all jobs are done; the first that failed raises here."""
    waiting = len(jobs)
    while waiting:
        message = mail.get()
        if message is None:
            waiting -= 1
            for job in jobs:
                if job.done():
                    job.result()
        elif report is not None:
            face, step, answered = message
            report(face, step)
            answered.set()


def _over_all(count: int, progress: ProgressReport) -> Callable[[int, Step], None]:
    """One report of the steps of so many faces."""
    latest: dict[int, Step] = {}

    def report(face: int, step: Step) -> None:
        latest[face] = step
        # Who has not begun will take about as many steps as the others.
        total = sum(one.total for one in latest.values()) * count // len(latest)
        number = sum(one.number for one in latest.values())
        loss = sum(one.loss for one in latest.values()) / len(latest)
        progress(Step(number, total, loss, step.picture if face == 0 else None))

    return report
