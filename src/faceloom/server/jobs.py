"""Long work beside the projects: one piece at a time, followed by its id."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from faceloom.generators.cache import Cancelled
from faceloom.server.refusals import Refusal, not_found, refusal_of
from faceloom.server.schemas import Job, JobState
from faceloom.server.store import new_id

Kind = Literal["discover", "style", "model"]
_MOST_KEPT, _MOST_WAITING = 20, 4
_ENDED: tuple[JobState, ...] = ("done", "failed", "cancelled")


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
    _end: Callable[[], object] | None = None

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the work when it next tells how far it is, or at once where it said how."""
        self._cancelled.set()
        if self._end is not None:
            self._end()

    def ended_by(self, end: Callable[[], object]) -> None:
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
_Tidy = Callable[[], object]


class Jobs:
    """The jobs of this start of the studio; the oldest are forgotten."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._known: OrderedDict[str, Running] = OrderedDict()
        self._waiting: deque[tuple[Running, _Work, _Tidy]] = deque()
        # A daemon: a download that hangs must not keep the studio from ending.
        threading.Thread(target=self._serve, name="faceloom-jobs", daemon=True).start()

    def start(self, kind: Kind, work: _Work, tidy: _Tidy = lambda: None) -> Job:
        """Queue work.

        Args:
            kind: of work.
            work: returns the job's result.
            tidy: called once in the end, whatever comes of it, even where the work is not begun.

        Raises:
            Refusal: 429 if too much waits.
        """
        job = Job(id=new_id(), kind=kind, state="queued", done=0, total=0, message="")
        try:
            with self._changed:
                self._refuse_when_full()
                finished = [name for name, one in self._known.items() if one.job.state in _ENDED]
                for name in finished[: max(0, len(self._known) + 1 - _MOST_KEPT)]:
                    del self._known[name]
                self._known[job.id] = Running(job)
                self._waiting.append((self._known[job.id], work, tidy))
                self._changed.notify()
        except Refusal:
            tidy()
            raise
        return job

    def check_room(self) -> None:
        """Refuse what takes long to send before it is sent; raises Refusal 429 as `start` would now."""
        with self._changed:
            self._refuse_when_full()

    def _refuse_when_full(self) -> None:
        if sum(one.job.state not in _ENDED for one in self._known.values()) >= _MOST_WAITING:
            raise Refusal(429, "busy", "the studio has enough to do; wait until something is done")

    def get(self, job: str) -> Running:
        """A job; raises Refusal 404."""
        with self._changed:
            if job not in self._known:
                raise not_found("job")
            return self._known[job]

    def cancel(self, job: str) -> Job:
        """Have a job end before it is done, if it can still; raises Refusal 404."""
        running = self.get(job)
        running.cancel()
        with self._changed:
            waiting = [entry for entry in self._waiting if entry[0] is running]
            for entry in waiting:
                self._waiting.remove(entry)
                running.job = running.job.model_copy(update={"state": "cancelled"})
        for _, _, tidy in waiting:
            tidy()
        return running.job

    def stop(self) -> None:
        """Have all of them end."""
        with self._changed:
            names = list(self._known)
        for name in reversed(names):  # or the next would begin
            self.cancel(name)

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                running, work, tidy = self._waiting.popleft()
                running.job = running.job.model_copy(update={"state": "running"})
            update = self._outcome(running, work)
            tidy()  # before anybody learns that it has ended
            running.job = running.job.model_copy(update=update)
            del running, work, tidy  # or they would be held until there is something new to do

    def _outcome(self, running: Running, work: _Work) -> dict[str, Any]:
        """Do it; what changes in what the page is told."""
        try:
            result = work(running)
        except Exception as error:
            if running.cancelled:
                return {"state": "cancelled", "message": ""}
            return {"state": "failed", "message": refusal_of(error).message}
        return {"state": "done", "result": result, "done": running.job.total, "message": ""}
