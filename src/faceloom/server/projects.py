"""Projects: begin, invert on the engine, cancel, delete."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from faceloom.errors import FaceError
from faceloom.imaging.convert import to_pixels
from faceloom.inversion.dial import default_fidelity
from faceloom.inversion.protocol import Step
from faceloom.model import Model
from faceloom.server.encoding import shrunk, to_jpeg
from faceloom.server.engine import Engine, Priority
from faceloom.server.live import Hub, pack
from faceloom.server.opening import Openings
from faceloom.server.photos import Photos
from faceloom.server.recipes import to_recipe
from faceloom.server.refusals import Refusal, refusal_of
from faceloom.server.schemas import LiveFrame, NewProject, NewStep, Project, StepInfo
from faceloom.server.store import Store
from faceloom.types import Photo

CANCELLED = "Cancelled."
_NEWS_SECONDS, _PICTURE_SECONDS, _PICTURE_SIDE = 0.05, 0.25, 512


class _Stop(Exception):
    """Raised in the middle of an inversion to end it."""


class Projects:
    """What the page does to projects as a whole."""

    def __init__(
        self, folder: Path, store: Store, engine: Engine, photos: Photos, openings: Openings, hub: Hub, model: str
    ) -> None:
        self.folder, self.store, self.engine = folder, store, engine
        self.photos, self.openings, self.hub = photos, openings, hub
        self.model = model
        self._stops: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def add(self, wanted: NewProject) -> Project:
        """Begin a project; raises Refusal 404, FaceError."""
        photo = self.store.get_photo(wanted.photo)
        faces = wanted.faces if wanted.faces == "all" else sorted(set(wanted.faces))
        if faces != "all" and faces[-1] > len(photo.faces):
            raise FaceError(f"there is no face {faces[-1]} in {photo.name}; choose from 1 to {len(photo.faces)}")
        name = wanted.name or Path(photo.name).stem or photo.name
        fidelity = default_fidelity(self.loaded_model().generator) if wanted.fidelity is None else wanted.fidelity
        project = self.store.add_project(photo.id, faces, fidelity, name, self.model)
        self._begin(project.id)
        return project

    def loaded_model(self) -> Model:
        """The model for new projects; may be called from any thread but the engine's."""
        return self.engine.submit(lambda: self.openings.model(self.model), Priority.PREVIEW).result()

    def invert_again(self, project: str, fidelity: float) -> Project:
        """Invert anew; raises Refusal 404, or 409 if that is being done."""
        changed = self.store.begin_inversion(project, fidelity)
        self._begin(project)
        return changed

    def cancel(self, project: str) -> Project:
        """Stop its inversion; raises Refusal 404, or 409 if there is none."""
        found = self.store.get_project(project)
        with self._lock:
            stop = self._stops.get(project)
        if stop is None:
            raise Refusal(409, "not_inverting", "there is nothing to cancel; the face has been found or given up")
        stop.set()
        return found

    def add_step(self, project: str, wanted: NewStep) -> StepInfo:
        """Add a step of the history; raises Refusal 404, UsageError if the recipe is for another model."""
        to_recipe(wanted.recipe)
        return self.store.add_step(project, wanted.parent, wanted.label, wanted.recipe)

    def delete(self, project: str) -> None:
        """Remove a project for good; raises Refusal 404."""
        orphan = self.store.delete_project(project)
        with self._lock:
            stop = self._stops.get(project)
        if stop is not None:
            stop.set()
        self.hub.close(project)

        def clean() -> None:
            self.openings.close(project)
            shutil.rmtree(self.folder / project, ignore_errors=True)
            if orphan is not None:
                self.photos.remove(orphan)

        # On the engine, so that nothing is removed under a render; in a hurry, so that the disk space comes back.
        self.engine.submit(clean, Priority.PREVIEW)

    def _begin(self, project: str) -> None:
        stop = threading.Event()
        with self._lock:
            self._stops[project] = stop
        self.hub.tell_state(project, "inverting", "")
        try:
            self.engine.submit(lambda: self._invert(project, stop), Priority.LONG)
        except Refusal as refusal:
            self._end(project, stop, "failed", refusal.message)
            raise

    def _invert(self, project: str, stop: threading.Event) -> None:
        """On the engine's thread; whatever happens, the project's state says so afterwards."""
        try:
            if stop.is_set():
                raise _Stop
            old = self.openings.invert(self.store.source(project), _Reporter(self, project, stop))
        except _Stop:
            if not self.engine.stopping:  # then the next start will say that it was interrupted
                self._end(project, stop, "cancelled", CANCELLED)
        except Exception as error:
            self._end(project, stop, "failed", refusal_of(error).message)
        else:
            if old is not None:
                (self.folder / project / old).unlink(missing_ok=True)
            self._forget(project, stop)
            self.hub.tell_state(project, "ready", "")

    def _end(self, project: str, stop: threading.Event, state: str, message: str) -> None:
        self._forget(project, stop)
        try:
            reached = self.store.end_inversion(project, "cancelled" if state == "cancelled" else "failed", message)
        except Refusal:  # it was deleted meanwhile
            shutil.rmtree(self.folder / project, ignore_errors=True)
            return
        self.hub.tell_state(project, reached, message)

    def _forget(self, project: str, stop: threading.Event) -> None:
        with self._lock:
            if self._stops.get(project) is stop:
                del self._stops[project]


class _Reporter:
    """Follows an inversion: tells the page, lets urgent work in, and stops it when asked."""

    def __init__(self, projects: Projects, project: str, stop: threading.Event) -> None:
        self.projects, self.project, self.stop = projects, project, stop
        self.told = self.drawn = 0.0

    def __call__(self, step: Step) -> None:
        if self.stop.is_set() or self.projects.engine.stopping:
            raise _Stop
        hub, moment = self.projects.hub, time.monotonic()
        if moment - self.told >= _NEWS_SECONDS or step.number == step.total:
            self.told = moment
            loss = None if step.loss != step.loss else step.loss
            hub.tell_progress(self.project, step.number, step.total, loss)
        if step.picture is not None and moment - self.drawn >= _PICTURE_SECONDS and hub.has_listeners(self.project):
            self.drawn = moment
            face = shrunk(Photo(to_pixels(step.picture())[0]), _PICTURE_SIDE)
            header = LiveFrame(
                number=0, kind="inversion", width=face.size[0], height=face.size[1], ms=0.0, mime="image/jpeg"
            )
            hub.tell_picture(self.project, pack(header, to_jpeg(face)))
        self.projects.engine.let_urgent_in()
