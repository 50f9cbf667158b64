"""Several faces at once, a core for each.

A small generator's step is thousands of small products, which gain nothing from a second core: with two, an inversion
took as long and twice the processor's time (`python benchmarks/performance.py` prints both). Faces are independent, so
cores are shared among them instead.
"""

from __future__ import annotations

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from faceloom.inversion.protocol import Inversion, Inverter, ProgressReport, Step
from faceloom.settings import on_one_core


def invert_abreast(inverter: Inverter, images: Tensor, progress: ProgressReport | None = None) -> Inversion:
    """`inverter.invert`, each face by itself and on one core, as many at once as PyTorch uses cores here.

    A face's code does not depend on the others of the photo. What `progress` raises stops all.

    Args:
        inverter: of a small generator, whose `invert` may be called by several threads.
        images: (N, 3, H, W).
        progress: called after every step of any face, never by two threads at once. Steps are counted over all faces;
            the loss is the mean of their last ones, the picture the first face's.
    """
    cores = min(torch.get_num_threads(), len(images))
    if cores == 1:
        with on_one_core():
            return _joined([inverter.invert(image, shared) for image, shared in _reports(images, progress)])
    # A thread takes the number of cores from who last set it: here, for as long as any of them runs.
    with on_one_core(), ThreadPoolExecutor(cores, "faceloom-face", torch.set_num_threads, (1,)) as pool:
        # Each with the caller's context, which names the back end that draws.
        jobs = [
            pool.submit(contextvars.copy_context().run, inverter.invert, image, shared)
            for image, shared in _reports(images, progress)
        ]
    errors = [error for job in jobs if (error := job.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _Stopped)):
        raise error
    return _joined([job.result() for job in jobs])


class _Stopped(Exception):
    """Another face's report has raised."""


def _reports(images: Tensor, progress: ProgressReport | None) -> list[tuple[Tensor, ProgressReport | None]]:
    """Each face (1, 3, H, W) with what it reports to."""
    if progress is None:
        return [(image, None) for image in torch.split(images, 1)]
    latest: dict[int, Step] = {}
    lock, stopped = threading.Lock(), threading.Event()

    def reporter(face: int) -> ProgressReport:
        def report(step: Step) -> None:
            with lock:
                if stopped.is_set():
                    raise _Stopped
                latest[face] = step
                # Who has not begun will take about as many steps as the others.
                total = sum(one.total for one in latest.values()) * len(images) // len(latest)
                number = sum(one.number for one in latest.values())
                loss = sum(one.loss for one in latest.values()) / len(latest)
                try:
                    progress(Step(number, total, loss, step.picture if face == 0 else None))
                except BaseException:
                    stopped.set()
                    raise

        return report

    return [(image, reporter(face)) for face, image in enumerate(torch.split(images, 1))]


def _joined(parts: list[Inversion]) -> Inversion:
    codes = torch.cat([part.codes for part in parts])
    return Inversion(codes, tuple(one for part in parts for one in part.tunings), max(part.steps for part in parts))
