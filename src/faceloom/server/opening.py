"""From a stored project to an editor: inverted once, then opened again from the codes that were found.

All of this runs on the engine's thread.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.editor import Editor
from faceloom.errors import CheckpointError, FaceError
from faceloom.inversion.protocol import Inversion, ProgressReport
from faceloom.inversion.tuning import Tuning
from faceloom.model import Model, load_model
from faceloom.presets import readings_of
from faceloom.server.photos import Photos
from faceloom.server.refusals import Refusal
from faceloom.server.store import Notes, Source, Store, new_id
from faceloom.server.uploads import sync_folder
from faceloom.types import Face, Photo

KIND = "studio-codes"
OTHER_MODEL = "The model has changed since this face was found; find it again to go on. The history is kept."
DAMAGED = "The file with this face's code is damaged; find the face again. The history is kept."
_MOST_SIZES = 3


@dataclass(eq=False)
class Opened:
    """An editor, and smaller copies of it for previews."""

    editor: Editor
    codes: str
    sizes: OrderedDict[int, Editor] = field(default_factory=OrderedDict)

    def scaled(self, side: int) -> Editor:
        """The editor with the photo's longer side at most `side`, kept for the next time."""
        if side not in self.sizes:
            self.sizes[side] = self.editor.scaled(side)
            while len(self.sizes) > _MOST_SIZES:
                self.sizes.popitem(last=False)
        self.sizes.move_to_end(side)
        return self.sizes[side]

    @property
    def bytes(self) -> int:
        """About how much memory it holds."""
        different = {id(one): one for one in (self.editor, *self.sizes.values())}.values()
        faces = sum(4 * face.crop.pixels.size for face in self.editor.faces)
        return faces + sum(one.photo.pixels.nbytes for one in different) + self.editor.cached_bytes


class Openings:
    """The editors that are open; those longest unused give up their caches, then are closed, to keep within a bound.

    Args:
        folder: has a folder for each project.
        most_bytes: of memory; the project in use stays open even if it alone needs more.
        device: where models draw and invert.
        failed: called with a project, and why, when its codes turn out to be of no use.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        photos: Photos,
        most_bytes: int,
        device: str,
        failed: Callable[[str, str], None],
    ) -> None:
        self.folder, self.store, self.photos, self.most_bytes = folder, store, photos, most_bytes
        self.device, self.failed = device, failed
        self._open: OrderedDict[str, Opened] = OrderedDict()

    def model(self, name: str) -> Model:
        """The model of this id or folder, on the studio's device; raises UsageError, CheckpointError."""
        return load_model(name, self.device)

    def get(self, project: str) -> Opened:
        """The open project, opened now if need be.

        Raises:
            Refusal: 404 if there is none; 409 if its faces have not been found, or by a model that is no more.
        """
        source = self.store.source(project)
        if source.codes is None:
            raise Refusal(409, "not_ready", "the face has not been found yet; wait for it, or start that again")
        opened = self._open.get(project)
        if opened is None or opened.codes != source.codes:
            opened = self._open[project] = Opened(self._reopen(source), source.codes)
        self._open.move_to_end(project)
        self._close_unused()
        return opened

    def invert(self, source: Source, progress: ProgressReport) -> str | None:
        """Find the codes of a project, and store them.

        Returns:
            The file of the codes that they replace, which may be removed.
        """
        photo, faces, chosen = self._photo_and_faces(source)
        model = self.model(source.model)
        editor = Editor.open(photo, model=model, face=chosen, found=faces, fidelity=source.fidelity, progress=progress)
        name = f"codes-{new_id()}.safetensors"
        home = self.folder / source.id
        home.mkdir(parents=True, exist_ok=True)
        _write_inversion(home / name, editor, source.fidelity)
        old = self.store.finish_inversion(source.id, name, model.generator.fingerprint, _notes(editor))
        self.get(source.id)  # as it was stored, so that it looks the same now and after a restart
        return old

    def close(self, project: str) -> None:
        """Forget a project."""
        self._open.pop(project, None)

    def close_all(self) -> None:
        """Forget all of them, as when their model has changed."""
        self._open.clear()

    def _reopen(self, source: Source) -> Editor:
        model = self.model(source.model)
        assert source.codes is not None
        if source.fingerprint != model.generator.fingerprint:
            raise self._without_codes(source.id, OTHER_MODEL)
        photo, faces, chosen = self._photo_and_faces(source)
        try:
            count = len(faces) if chosen == "all" else len(chosen)
            known = _Known(_read_inversion(self.folder / source.id / source.codes, count))
            return Editor.open(photo, model=model, face=chosen, found=faces, inverter=known)
        except CheckpointError:
            raise self._without_codes(source.id, DAMAGED) from None

    def _without_codes(self, project: str, why: str) -> Refusal:
        self.store.drop_codes(project, why)
        self.failed(project, why)
        return Refusal(409, "not_ready", why)

    def _photo_and_faces(self, source: Source) -> tuple[Photo, tuple[Face, ...], tuple[int, ...] | Literal["all"]]:
        """The photo, all of its faces, and which of them the project is about."""
        photo, faces = self.photos.open(source.photo)
        if source.faces == "all":
            return photo, faces, "all"
        missing = [number for number in source.faces if not 1 <= int(number) <= len(faces)]
        if missing:
            raise FaceError(f"there is no face {missing[0]} in {photo.name}; choose one of 1 to {len(faces)}")
        return photo, faces, tuple(int(number) for number in source.faces)

    def _close_unused(self) -> None:
        held = sum(opened.bytes for opened in self._open.values())
        for opened in list(self._open.values())[:-1]:
            if held > self.most_bytes:  # drawing again takes less than opening again
                held -= opened.editor.cached_bytes
                opened.editor.clear_cache()
        while held > self.most_bytes and len(self._open) > 1:
            _, closed = self._open.popitem(last=False)
            held -= closed.bytes


def _notes(editor: Editor) -> Notes:
    doubts = [str(face.likeness) for face in editor.faces if face.likeness is not None and face.likeness.poor]
    readings = {name: round(value, 3) for name, value in readings_of(editor).items()}
    return Notes(doubts[0] if doubts else "", readings)


class _Known:
    """An inverter that has the answer already."""

    def __init__(self, inversion: Inversion) -> None:
        self.inversion = inversion

    def invert(
        self, images: Tensor, progress: ProgressReport | None = None, start: Inversion | None = None
    ) -> Inversion:
        return self.inversion


def _write_inversion(path: Path, editor: Editor, fidelity: float) -> None:
    """Store what an inversion found; it is on disk when this returns."""
    tensors = {"codes": torch.stack([face.latent.codes for face in editor.faces])}
    for number, face in enumerate(editor.faces):
        if face.tuning is not None:
            tensors |= {f"tuning.{number}.{name}": tensor for name, tensor in face.tuning.stored().items()}
    fingerprint = editor.model.generator.fingerprint
    native.write(path, tensors, native.Header(KIND, {"fingerprint": fingerprint}, {"fidelity": fidelity}))
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _read_inversion(path: Path, faces: int) -> Inversion:
    """The inverse of `_write_inversion`; raises CheckpointError."""
    tensors, header = native.read(path)
    codes = tensors.get("codes")
    if header.kind != KIND or codes is None or len(codes) != faces:
        raise CheckpointError(f"{path} does not hold the codes of {faces} face(s)")
    found: list[dict[str, Tensor]] = [{} for _ in range(faces)]
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        if kind == "tuning" and number.isdigit() and int(number) < faces:
            found[int(number)][inner] = tensor
    tunings = tuple(Tuning.restored(one, str(header.config.get("fingerprint"))) for one in found) if all(found) else ()
    return Inversion(codes.float(), tunings)
