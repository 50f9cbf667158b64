"""Directions, styles and models that a person adds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from faceloom import collection
from faceloom.checkpoints.catalog import RemoteFile, catalogue, entry_of
from faceloom.checkpoints.installed import Installed, find, installed
from faceloom.checkpoints.installed import remove as remove_installed
from faceloom.directions.components import principal_directions, sample_codes
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.drawing import synthesize_along
from faceloom.directions.packs import install, installed_packs, make_pack, remove, word_of
from faceloom.domains.twin import check_name
from faceloom.errors import UsageError
from faceloom.generators.cache import Cancelled
from faceloom.imaging.convert import to_pixels
from faceloom.model import DEFAULT, DEFAULT_LICENCE, Model, embedded_size
from faceloom.server.encoding import in_a_row, shrunk, to_jpeg
from faceloom.server.engine import Engine, Priority
from faceloom.server.jobs import Jobs, Running
from faceloom.server.refusals import Refusal, not_found
from faceloom.server.schemas import CatalogModel, Job
from faceloom.server.store import new_id
from faceloom.server.uploads import Uploads, display_name
from faceloom.types import Photo

PACK = "studio"
_SAMPLES = 10_000
_CELLS, _CELL_SIDE = 7, 128
_PATIENCE = 10.0  # seconds
# Where it is ended, it tidies up first, as after Ctrl+C (on Windows it just ends); once its work is done, it is done.
_MAIN = """
import signal

def end(*_):
    deafen()
    raise KeyboardInterrupt

def deafen():
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, signal.SIG_IGN)

signal.signal(signal.SIGTERM, end)
from faceloom.cli.main import main

try:
    main()
finally:
    deafen()
"""


class Workshop:
    """What a person adds to the studio.

    Args:
        folder: for files that jobs work on; emptied at the start.
        engine: draws.
        uploads: of pictures.
        checkpoints: uploads of models, which are larger.
        current: gives the model in use; for threads other than the engine's.
        switch: makes another model the one in use.
        refresh: called when the model in use has other directions or twins.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        uploads: Uploads,
        checkpoints: Uploads,
        current: Callable[[], Model],
        switch: Callable[[str], None],
        refresh: Callable[[], None],
    ) -> None:
        self.folder, self.engine, self.uploads, self.checkpoints = folder, engine, uploads, checkpoints
        self.current, self.switch, self.refresh = current, switch, refresh
        self.jobs = Jobs()
        self._naming = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def discover(self, count: int) -> Job:
        """Look for `count` principal directions; raises Refusal 429, UsageError."""
        model = self.current()
        if count > model.generator.w_dim:
            raise UsageError(f"this model has at most {model.generator.w_dim} principal directions; ask for fewer")

        def work(running: Running) -> dict[str, Any]:
            running.tell(0, count + 1)
            find_them = lambda: principal_directions(model.generator, count=count, samples=_SAMPLES)  # noqa: E731
            found = self.engine.submit(find_them, Priority.LONG).result()
            pictures: list[bytes] = []
            for number, direction in enumerate(found, 1):
                running.tell(number, count + 1)
                draw = lambda one=direction: _effect(model, one)  # noqa: E731
                pictures.append(self.engine.submit(draw, Priority.PICTURE).result())
            running.kept |= {"found": found, "pictures": pictures}
            return {"count": len(found), "names": list(found.names())}

        return self.jobs.start("discover", work)

    def job(self, job: str) -> Job:
        """How far a job is; raises Refusal 404."""
        return self.jobs.get(job).job

    def cancel(self, job: str) -> Job:
        """Have a job end before it is done, if it can still; raises Refusal 404."""
        return self.jobs.cancel(job)

    def picture(self, job: str, number: int) -> bytes:
        """What a found direction does, a JPEG; raises Refusal 404."""
        pictures: list[bytes] = self.jobs.get(job).kept.get("pictures", [])
        if number >= len(pictures):
            raise not_found("picture")
        return pictures[number]

    def name(self, job: str, index: int, name: str) -> None:
        """Keep a found direction among the person's own; raises Refusal 404, DirectionError if the name is taken."""
        found: DirectionSet | None = self.jobs.get(job).kept.get("found")
        if found is None or index >= len(found):
            raise not_found("direction")
        word, fingerprint = word_of(_plain(name)), found.fingerprint
        named = list(found)[index].renamed(word, f"less {name}", f"more {name}")
        with self._naming:
            kept = self._own(fingerprint)
            others = {one.name for one in self.current().directions} - {one.name for one in kept}
            self._keep([*(one for one in kept if one.name != word), named], fingerprint, others)

    def forget(self, name: str) -> None:
        """Remove one of the directions that a person has named here; raises Refusal 404."""
        fingerprint = self.current().generator.fingerprint
        with self._naming:
            kept = self._own(fingerprint)
            rest = [one for one in kept if one.name != name]
            if len(rest) == len(kept):
                raise not_found("direction")
            self._keep(rest, fingerprint, set())

    def _own(self, fingerprint: str) -> list[Direction]:
        return [one for pack in installed_packs(fingerprint) if pack.name == PACK for one in pack.directions]

    def _keep(self, own: list[Direction], fingerprint: str, taken: set[str]) -> None:
        if own:
            both = DirectionSet(own, fingerprint)
            install(make_pack(both, both.names(), PACK), fingerprint, taken)
        else:
            remove(PACK, fingerprint)
        self.refresh()

    async def learn_style(self, request: Request, encoded_name: str, steps: int | None = None) -> Job:
        """Learn a style from a picture; raises Refusal."""
        title = display_name(encoded_name)
        name = _style_name(title)
        self.jobs.check_room()
        model = (await run_in_threadpool(self.current)).id  # which may have to wait for the engine
        async with self.uploads.receive(request) as file:
            picture = self.folder / new_id()
            os.replace(file, picture)

        def work(running: Running) -> dict[str, Any]:
            running.tell(0, 1)
            # A process of its own: training would hold the engine for minutes, and its memory for good.
            options = ["--name", name, "--title", title, "--replace", "--model", model]
            options += [] if steps is None else ["--steps", str(steps)]
            command = [sys.executable, "-c", _MAIN, "domain", "learn", str(picture), *options]
            status, said = self._run(command, running)
            if status:
                words = said.removeprefix("faceloom: ").replace(repr(str(picture)), repr(title))
                raise UsageError(words.replace(picture.name, title))
            self.refresh()
            return {"twin": name, "title": title}

        return self.jobs.start("style", work, lambda: picture.unlink(missing_ok=True))

    def _run(self, command: list[str], running: Running) -> tuple[int, str]:
        """Its exit status, and the last line of what it said."""
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            self._process = process
            running.ended_by(lambda: _end(process))
            try:
                _, said = process.communicate()
            finally:
                self._process = None
        lines = said.decode(errors="replace").strip().splitlines()
        return process.returncode, (lines or ["the process ended"])[-1]

    def stop(self) -> None:
        """End what is being done; what is being learnt has a moment to tidy up."""
        self.jobs.stop()
        if (process := self._process) is not None:
            try:
                process.wait(_PATIENCE / 2)
            except subprocess.TimeoutExpired:
                process.kill()

    def models(self) -> list[CatalogModel]:
        """The embedded model, then those of the catalogue, then others that were imported."""
        used, here = self.current().id, {one.id: one for one in installed() if one.kind != "directions"}
        title, size = "Faceloom's own small model", embedded_size()
        found = [_described(DEFAULT, title, size, DEFAULT_LICENCE, used, installed=True, verified=True)]
        for entry in catalogue().values():
            if entry.kind != "directions":
                is_here = entry.id in here
                size = here.pop(entry.id).size if is_here else entry.size or 0
                found.append(
                    _described(
                        entry.id, entry.title, size, entry.licence, used, installed=is_here, verified=entry.verified
                    )
                )
        found += [
            _described(one.id, one.title, one.size, one.licence, used, installed=True, verified=True)
            for one in here.values()
        ]
        return found

    async def import_model(self, request: Request, encoded_name: str) -> Job:
        """Import a checkpoint from a request's body; raises Refusal."""
        name = re.sub(r"[^\w.-]+", "-", display_name(encoded_name)).strip(".-") or "model"
        self.jobs.check_room()
        async with self.checkpoints.receive(request) as file:
            home = self.folder / new_id()
            home.mkdir()
            path = home / name
            os.replace(file, path)

        def work(running: Running) -> dict[str, Any]:
            running.tell(0, 1)
            return self._imported(collection.import_file(path), running)

        return self.jobs.start("model", work, lambda: shutil.rmtree(home, ignore_errors=True))

    def get_model(self, model: str) -> Job:
        """Download a model of the catalogue; raises Refusal 409 if it is here, UsageError if there is no such."""
        entry = entry_of(model)
        if find(model) is not None:
            raise Refusal(409, "installed", f"the model {model!r} is here already")

        def work(running: Running) -> dict[str, Any]:
            total = entry.size or 0

            def watch(file: RemoteFile) -> Callable[..., None]:
                def update(done: int, of: int | None = None) -> None:
                    running.tell(done, total or of or 0, file.name)

                return update

            return self._imported(collection.get(model, watch=watch), running)

        return self.jobs.start("model", work)

    def _imported(self, record: Installed, running: Running) -> dict[str, Any]:
        """What a job found that has imported something, which nothing interrupts: it is undone if nobody wants it."""
        if running.cancelled:
            remove_installed(record.id)
            raise Cancelled
        self.refresh()
        return {"id": record.id, "kind": record.kind, "title": record.title}

    def use_model(self, model: str) -> None:
        """Use a model for projects from now on; raises Refusal 409 if it has to be got first, UsageError."""
        if model != DEFAULT and find(model) is None:
            if model in catalogue():
                raise Refusal(409, "not_installed", f"the model {model!r} is not here yet; get it first")
            raise not_found("model")
        self.switch(model)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and have it end where it does not listen."""
    process.terminate()
    last = threading.Timer(_PATIENCE, process.kill)
    last.daemon = True
    last.start()


def _plain(name: str) -> str:
    """Without accents: "Lächeln" becomes "Lacheln"."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))


def _style_name(title: str) -> str:
    """A twin's name from a picture's; one of ours where nothing in that can be part of a name."""
    try:
        return check_name(word_of(_plain(title))[:40].strip("-"))
    except UsageError:
        return f"style-{new_id()[:6]}"


def _described(
    name: str, title: str, size: int, licence: str, used: str, *, installed: bool, verified: bool
) -> CatalogModel:
    return CatalogModel(
        id=name,
        title=title,
        size=size,
        licence=licence or "unknown",
        installed=installed,
        verified=verified,
        current=name == used,
    )


def _effect(model: Model, direction: Direction) -> bytes:
    """A face that does not exist, over the range of a direction, in one row."""
    ws = sample_codes(model.generator, 10, seed=1)[:1].unsqueeze(1).expand(-1, model.generator.num_ws, -1)
    cells = []
    ws = ws.to(model.device)
    for amount in np.linspace(*direction.range, _CELLS):
        picture = to_pixels(synthesize_along(model.generator, ws, direction, float(amount)).detach())[0]
        cells.append(shrunk(Photo(picture), _CELL_SIDE).pixels)
    return to_jpeg(in_a_row(cells), 90)
