"""The studio: everything behind the routes, put together."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import faceloom
from faceloom.checkpoints.installed import find
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.photos import MAX_PIXELS
from faceloom.model import DEFAULT, Model, forget_models
from faceloom.provenance.saving import mark_in_use
from faceloom.server.catalog import describe_directions, list_presets, list_twins
from faceloom.server.engine import Engine, Priority
from faceloom.server.exports import Exports
from faceloom.server.live import Hub, Live
from faceloom.server.opening import Openings
from faceloom.server.photos import Photos
from faceloom.server.pictures import Pictures
from faceloom.server.projects import Projects
from faceloom.server.samples import Samples
from faceloom.server.schemas import Features, Formats, Limits, ModelInfo, Status, Tools
from faceloom.server.store import DATABASE, Store, is_id
from faceloom.server.uploads import Uploads
from faceloom.server.workshop import Workshop
from faceloom.settings import choose_device

logger = logging.getLogger("faceloom.server")

UPLOAD_BYTES = 100_000_000
OPEN_BYTES = 512 * 2**20
CHECKPOINT_BYTES = 4 * 2**30
_KEEP_UNUSED = timedelta(days=7)


@dataclass(frozen=True)
class StudioSettings:
    """How a studio is run.

    Attributes:
        data: the folder of its projects.
        model: id or folder of the model; the one that was last used where None.
        device: where to draw and invert, as `choose_device` takes it.
        upload_bytes: largest file taken.
        pixels: largest photo decoded.
        open_bytes: of memory for open projects.
        threads: cores for PyTorch; None for all.
    """

    data: Path
    model: str | None = None
    device: str = "cpu"
    upload_bytes: int = UPLOAD_BYTES
    pixels: int = MAX_PIXELS
    open_bytes: int = OPEN_BYTES
    threads: int | None = None


class Studio:
    """One person's studio.

    Raises:
        UsageError: the data folder cannot be used, or another studio uses it, or there is no such device.
    """

    def __init__(self, settings: StudioSettings) -> None:
        self.settings = settings
        choose_device(settings.device)
        folders = {name: settings.data / name for name in ("photos", "projects", "incoming", "outgoing")}
        _check_ours(settings.data)
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people edit is theirs alone
            for folder in folders.values():
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot use the folder {str(settings.data)!r} ({error.strerror}); give another with --data"
            ) from error
        self.store = Store(settings.data / DATABASE)
        self.samples, self.hub = Samples(), Hub()
        self.engine = Engine(settings.threads)
        self.uploads = Uploads(folders["incoming"], settings.upload_bytes)
        self.photos = Photos(folders["photos"], self.store, self.engine, self.uploads, self.samples, settings.pixels)
        self.openings = Openings(
            folders["projects"],
            self.store,
            self.photos,
            settings.open_bytes,
            settings.device,
            lambda project, why: self.hub.tell_state(project, "failed", why),
        )
        self.projects = Projects(
            folders["projects"], self.store, self.engine, self.photos, self.openings, self.hub, self._first_model()
        )
        self.pictures = Pictures(folders["projects"], self.store, self.engine, self.photos, self.openings)
        self.exports = Exports(folders["outgoing"], self.store, self.engine, self.openings)
        self.live = Live(self.store, self.engine, self.openings, self.hub)
        self.workshop = Workshop(
            settings.data / "workshop",
            self.engine,
            self.uploads,
            Uploads(settings.data / "incoming-models", CHECKPOINT_BYTES),
            self.model,
            self._switch,
            self._refresh,
        )

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the engine, and load the model on it."""
        self.hub.start(loop)
        self._sweep()
        self.engine.start()
        self.engine.submit(lambda: self.openings.model(self.projects.model), Priority.PREVIEW)

    def stop(self) -> None:
        """End what is being done; an inversion is said to have been interrupted at the next start."""
        self.workshop.stop()
        self.engine.stop()
        self.store.close()

    def status(self) -> Status:
        """Everything the page needs to draw itself; waits for the model."""
        model = self.model()
        return Status(
            **_tools(model).model_dump(),
            version=faceloom.__version__,
            device=str(model.device),
            limits=Limits(upload_bytes=self.settings.upload_bytes, pixels=self.settings.pixels),
            formats=Formats(heic=find_spec("pillow_heif") is not None),
            features=Features(
                discover=True,
                styles=isinstance(model.generator, StyleGAN2),
                models=True,
                avatar=True,
                mp4=find_spec("av") is not None,
                sticker=True,
            ),
            provenance=mark_in_use(),
        )

    def tools(self, project: str) -> Tools:
        """What can be done in a project, which has the model that it was begun with; raises Refusal 404."""
        name = self.store.source(project).model
        return _tools(self.engine.submit(lambda: self.openings.model(name), Priority.PREVIEW).result())

    def model(self) -> Model:
        """The model for new projects; may be called from any thread but the engine's."""
        return self.projects.loaded_model()

    def _first_model(self) -> str:
        chosen = self.settings.model or self.store.choice("model") or DEFAULT
        if self.settings.model is None and chosen != DEFAULT and find(chosen) is None:
            logger.warning("the model %r, used last, is no longer here; the studio starts with its own", chosen)
            return DEFAULT
        return chosen

    def _switch(self, model: str) -> None:
        self.engine.submit(lambda: self.openings.model(model), Priority.PREVIEW).result()
        self.projects.model = model
        self.store.choose("model", model)

    def _refresh(self) -> None:
        """Read the model anew; every open project has the old one's directions and twins."""

        def work() -> None:
            forget_models()
            self.openings.close_all()
            self.pictures.forget_rows()

        self.engine.submit(work, Priority.PREVIEW).result()

    def _sweep(self) -> None:
        """Remove what nobody will ask for again: photos never used, and files that a crash left without a row."""
        before = datetime.now(UTC) - _KEEP_UNUSED
        self.store.forget_photos(before.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        for name, known in (("photos", self.store.photo_ids()), ("projects", self.store.project_ids())):
            for folder in (self.settings.data / name).iterdir():
                if is_id(folder.name) and folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)


def _tools(model: Model) -> Tools:
    generator = model.generator
    return Tools(
        model=ModelInfo(id=model.id, resolution=generator.resolution, fingerprint=generator.fingerprint),
        directions=describe_directions(model),
        twins=list_twins(model),
        presets=list_presets(model),
    )


def _check_ours(data: Path) -> None:
    """Refuse a folder where a studio would take somebody else's files for its own, and sweep them away.

    Raises:
        UsageError: it has folders of the names that a studio uses, with something in them, and no studio's database.
    """
    if (data / DATABASE).exists():
        return
    for name in ("photos", "projects", "incoming", "outgoing", "workshop", "incoming-models"):
        try:
            held = any((data / name).iterdir())
        except OSError:  # there is none, or it is no folder, which making one will tell
            continue
        if held:
            raise UsageError(
                f"{str(data)!r} has a folder {name!r} with files that no studio here knows; give an empty folder with "
                f"--data, or put the studio's {DATABASE} back"
            )
