"""The one thread on which PyTorch works, and its bounded queue.

Two renders at once are slower than one after the other; only the faces of one photo are inverted abreast, by threads
that this one waits for. What a person waits for with a finger on a slider goes first: a long job lets it in between its
steps.
"""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import Any, TypeVar

from faceloom.server.refusals import Refusal

_T = TypeVar("_T")
_Entry = tuple[int, int, Callable[[], Any], "Future[Any]"]
MOST_WAITING = 128
MOST_THREADS = 8


class Priority(IntEnum):
    """What goes first."""

    PREVIEW = 0
    FULL = 1
    PICTURE = 2
    LONG = 3


class Engine:
    """A thread that does one piece of work after the other, the most urgent first.

    Args:
        threads: how many cores PyTorch may use; None for those of this process, up to 8, or $OMP_NUM_THREADS.
        most_waiting: how many pieces may wait; more are refused.
    """

    def __init__(self, threads: int | None = None, most_waiting: int = MOST_WAITING) -> None:
        self._threads = threads or _cores()
        self._most_waiting = most_waiting
        self._waiting: list[_Entry] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._inside_long = False
        self._thread = threading.Thread(target=self._run, name="faceloom-engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Cancel what waits, and wait for what is being done."""
        with self._changed:
            self._stopped = True
            for entry in self._waiting:
                entry[3].cancel()
            self._waiting.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: long work should end."""
        return self._stopped

    def submit(self, work: Callable[[], _T], priority: Priority) -> Future[_T]:
        """Queue a piece of work.

        Raises:
            Refusal: 429 if too much waits already; 409 if the studio is stopping.
        """
        future: Future[_T] = Future()
        with self._changed:
            if self._stopped:
                raise Refusal(409, "stopping", "the studio is stopping; start it again")
            if len(self._waiting) >= self._most_waiting:
                raise Refusal(429, "busy", "the studio has too much to do at the moment; try again in a few seconds")
            heapq.heappush(self._waiting, (priority, next(self._count), work, future))
            self._changed.notify()
        return future

    def let_urgent_in(self) -> None:
        """Called by long work on the engine's thread between its steps: do first what is more urgent."""
        if threading.current_thread() is not self._thread or not self._inside_long:
            return
        self._inside_long = False
        try:
            while (entry := self._take(below=Priority.LONG)) is not None:
                _do(entry)
        finally:
            self._inside_long = True

    def _take(self, below: int) -> _Entry | None:
        with self._changed:
            return heapq.heappop(self._waiting) if self._waiting and self._waiting[0][0] < below else None

    def _run(self) -> None:
        import torch

        torch.set_num_threads(self._threads)  # per thread, so it must be said on this one
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                entry = heapq.heappop(self._waiting)
            self._inside_long = entry[0] == Priority.LONG
            _do(entry)
            self._inside_long = False
            del entry  # or the last result would be held until there is something new to do


def _do(entry: _Entry) -> None:
    _, _, work, future = entry
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # whoever waits for it must learn of it, and the thread must live on
        future.set_exception(error)


def _cores() -> int:
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(present or 1, MOST_THREADS))
