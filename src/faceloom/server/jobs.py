"""Long work beside the projects: one piece at a time, followed by its id."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Literal

from faceloom.server.refusals import Refusal, not_found, refusal_of
from faceloom.server.schemas import Job, JobState
from faceloom.server.store import new_id

Kind = Literal["discover", "style", "model"]
_MOST_KEPT, _MOST_WAITING = 20, 4
_ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


class Cancelled(Exception):
    """The person no longer wants it."""


@dataclass(eq=False)
class Running:
    """A job as it is being done.

    Attributes:
        job: what the page is told.
        kept: what the job found, for later questions about it.
    """

    job: Job
    kept: dict[str, Any] = field(default_factory=dict)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _end: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the work when it next tells how far it is, or at once where it said how."""
        self._cancelled.set()
        if self._end is not None:
            self._end()

    def ended_by(self, end: Callable[[], None]) -> None:
        """The work says how it is ended while it has nothing to tell; `end` may be called more than once."""
        self._end = end
        if self.cancelled:
            end()

    def tell(self, done: int, total: int, message: str = "") -> None:
        """It is so far; raises Cancelled if nobody wants it any more."""
        if self.cancelled:
            raise Cancelled
        self.job = self.job.model_copy(update={"done": done, "total": total, "message": message or self.job.message})


_Work = Callable[[Running], dict[str, Any]]


class Jobs:
    """The jobs of this start of the studio; the oldest are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Running] = OrderedDict()
        self._waiting: SimpleQueue[tuple[Running, _Work]] = SimpleQueue()
        # A daemon: a download that hangs must not keep the studio from ending.
        threading.Thread(target=self._serve, name="faceloom-jobs", daemon=True).start()

    def start(self, kind: Kind, work: _Work) -> Job:
        """Queue work that returns the job's result; raises Refusal 429 if too much waits."""
        running = Running(Job(id=new_id(), kind=kind, state="queued", done=0, total=0, message=""))
        with self._lock:
            self._refuse_when_full()
            self._known[running.job.id] = running
            finished = [name for name, one in self._known.items() if one.job.state in _ENDED]
            for name in finished[: max(0, len(self._known) - _MOST_KEPT)]:
                del self._known[name]
        job = running.job
        self._waiting.put((running, work))
        return job

    def check_room(self) -> None:
        """Refuse what takes long to send before it is sent; raises Refusal 429 as `start` would now."""
        with self._lock:
            self._refuse_when_full()

    def _refuse_when_full(self) -> None:
        if sum(one.job.state not in _ENDED for one in self._known.values()) >= _MOST_WAITING:
            raise Refusal(429, "busy", "the studio has enough to do; wait until something is done")

    def get(self, job: str) -> Running:
        """A job; raises Refusal 404."""
        with self._lock:
            if job not in self._known:
                raise not_found("job")
            return self._known[job]

    def cancel(self, job: str) -> Job:
        """Have a job end before it is done, if it can still; raises Refusal 404."""
        running = self.get(job)
        running.cancel()
        with self._lock:
            if running.job.state == "queued":
                running.job = running.job.model_copy(update={"state": "cancelled"})
        return running.job

    def _serve(self) -> None:
        while True:
            self._run(*self._waiting.get())

    def _run(self, running: Running, work: _Work) -> None:
        with self._lock:
            if running.job.state == "cancelled":
                return
            running.job = running.job.model_copy(update={"state": "running"})
        update: dict[str, Any]
        try:
            result = work(running)
        except Exception as error:
            if running.cancelled:
                update = {"state": "cancelled", "message": ""}
            else:
                update = {"state": "failed", "message": refusal_of(error).message}
        else:
            update = {"state": "done", "result": result, "done": running.job.total, "message": ""}
        running.job = running.job.model_copy(update=update)
