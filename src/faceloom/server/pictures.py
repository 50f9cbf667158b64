"""Thumbnails and strips of a project."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from faceloom.editor import Editor
from faceloom.effects import face_picture
from faceloom.errors import UsageError
from faceloom.files import replacing
from faceloom.generators.cache import Cancelled
from faceloom.recipe import Recipe
from faceloom.server.catalog import list_twins
from faceloom.server.encoding import in_a_row, to_jpeg
from faceloom.server.engine import Engine, Priority
from faceloom.server.opening import Opened, Openings
from faceloom.server.photos import Photos
from faceloom.server.recipes import to_recipe
from faceloom.server.schemas import StripRequest, TwinsRequest
from faceloom.server.store import Store
from faceloom.types import Pixels

Gone = Callable[[], bool]
"""Whether whoever asked for a picture has left meanwhile."""
THUMBNAIL_SIDE = 256
_MOST_KEPT = 200


class Pictures:
    """Small pictures; the same one is drawn once."""

    def __init__(self, folder: Path, store: Store, engine: Engine, photos: Photos, openings: Openings) -> None:
        self.folder, self.store, self.engine = folder, store, engine
        self.photos, self.openings = photos, openings
        self._kept: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()

    async def thumbnail(self, project: str) -> bytes:
        """A JPEG of the current look, at most 256 px.

        It is the photo itself until the face has been found, and where the look needs a direction that was removed.
        """
        source = await asyncio.to_thread(self.store.source, project)
        if source.codes is None:
            return await asyncio.to_thread(self.photos.view, source.photo, THUMBNAIL_SIDE)
        step, body = await asyncio.to_thread(self.store.current_recipe, project)
        path = self.folder / project / f"thumbnail-{step}-{source.codes[6:22]}.jpg"
        if path.is_file():
            return await asyncio.to_thread(path.read_bytes)

        def draw() -> bytes:
            opened = self.openings.get(project)
            picture = to_jpeg(opened.editor.scaled(THUMBNAIL_SIDE).render(to_recipe(body)).photo)
            for old in path.parent.glob("thumbnail-*.jpg"):
                old.unlink(missing_ok=True)
            with replacing(path) as file:
                file.write(picture)
            return picture

        try:
            return await asyncio.wrap_future(self.engine.submit(draw, Priority.PICTURE))
        except UsageError:
            return await asyncio.to_thread(self.photos.view, source.photo, THUMBNAIL_SIDE)

    async def strip(self, project: str, wanted: StripRequest, gone: Gone) -> bytes:
        """A JPEG of the first face at even steps over the range of a direction.

        Raises:
            Refusal, UsageError: as usual.
            Cancelled: if `gone` said that nobody waits for it any more; asked as renders ask whether to go on.
        """

        def cells(opened: Opened) -> list[Pixels]:
            recipe = to_recipe(wanted.recipe)
            low, high = opened.editor.model.directions[wanted.direction].range
            editor = _sized(opened.editor, wanted.size)
            amounts = np.linspace(low, high, wanted.cells)
            recipes = [recipe.with_edit(wanted.direction, float(amount)) for amount in amounts]
            return [_face(editor, one, wanted.size, gone) for one in recipes]

        return await self._row(project, wanted.model_dump_json(), cells, gone)

    async def twins(self, project: str, wanted: TwinsRequest, gone: Gone) -> bytes:
        """A JPEG of the first face without a twin, then as each twin draws it; raises as `strip`."""

        def cells(opened: Opened) -> list[Pixels]:
            recipe, editor = to_recipe(wanted.recipe), _sized(opened.editor, wanted.size)
            names = ["", *(twin.name for twin in list_twins(opened.editor.model))]
            return [_face(editor, replace(recipe, twin=name), wanted.size, gone) for name in names]

        return await self._row(project, wanted.model_dump_json(), cells, gone)

    def forget_rows(self) -> None:
        """Draw rows anew, since directions or twins have changed; on the engine."""
        self._kept.clear()

    async def _row(self, project: str, what: str, cells: Callable[[Opened], list[Pixels]], gone: Gone) -> bytes:
        def draw() -> bytes:
            if gone():
                raise Cancelled
            opened = self.openings.get(project)
            key = (project, opened.codes, what)
            if key not in self._kept:
                self._kept[key] = to_jpeg(in_a_row(cells(opened)))
                while len(self._kept) > _MOST_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

        return await asyncio.wrap_future(self.engine.submit(draw, Priority.PICTURE))


def _sized(editor: Editor, size: int) -> Editor:
    """The editor with a photo just large enough for the first face to have `size` pixels."""
    return editor.scaled(max(32, round(max(editor.photo.size) * min(1.0, size / editor.faces[0].crop.side))))


def _face(editor: Editor, recipe: Recipe, size: int, gone: Gone) -> Pixels:
    if gone():  # renders ask before every layer that they draw, and a twin's, or one that is known, may draw none
        raise Cancelled
    return face_picture(editor.render(recipe, cancelled=gone).photo, editor.faces[0], size)
