"""Files to keep: rendered on the engine, encoded beside it, sent from a temporary file that goes with the answer."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from faceloom.avatar import Avatar
from faceloom.imaging.photos import in_srgb
from faceloom.imaging.sheets import before_after
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_film, save_picture
from faceloom.recipe import Recipe
from faceloom.server.engine import Engine, Priority
from faceloom.server.opening import Openings
from faceloom.server.recipes import to_recipe
from faceloom.server.refusals import unavailable
from faceloom.server.schemas import ExportRequest
from faceloom.server.store import Store
from faceloom.types import Photo, Pixels, Render

_T = TypeVar("_T")
_AT_ONCE = 2
_FRAMES, _STILL, _RATE, _FILM_SIDE = 40, 10, 25.0, 720
_PAIR_SIDE = 2048
_KINDS = {
    "png": (".png", "image/png"),
    "jpeg": (".jpg", "image/jpeg"),
    "webp": (".webp", "image/webp"),
    "pair": ("-before-after.jpg", "image/jpeg"),
    "recipe": ("-recipe.json", "application/json"),
    "sticker": ("-sticker.png", "image/png"),
    "avatar": (".avatar", "application/octet-stream"),
    "mp4": (".mp4", "video/mp4"),
}


class PassingFile(FileResponse):
    """Sends a file and removes it, whether the page took all of it or not."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As of ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


class Exports:
    """Makes files of projects.

    Args:
        folder: where they are until they are sent; emptied at the start.
    """

    def __init__(self, folder: Path, store: Store, engine: Engine, openings: Openings) -> None:
        self.folder, self.store, self.engine, self.openings = folder, store, engine, openings
        self._encoding = asyncio.Semaphore(_AT_ONCE)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()

    async def export(self, project: str, wanted: ExportRequest) -> PassingFile:
        """A file at the photo's own size; raises Refusal, UsageError."""
        stored = await run_in_threadpool(self.store.get_project, project)
        recipe = to_recipe(wanted.recipe)
        if wanted.format == "mp4" and find_spec("av") is None:
            raise unavailable("saving videos without the extra `video`")
        ending, mime = _KINDS[wanted.format]
        path = self.folder / f"{secrets.token_hex(8)}{ending}"
        claim = Claim(recipe) if wanted.provenance else None
        try:
            async with self._encoding:
                if wanted.format == "recipe":
                    path.write_text(recipe.to_json() + "\n", encoding="utf-8")
                elif wanted.format == "avatar":
                    await self._on_engine(lambda: Avatar.of(self.openings.get(project).editor).save(path))
                elif wanted.format == "sticker":
                    sticker, profile = await self._on_engine(lambda: self._sticker(project, recipe))
                    await run_in_threadpool(save_picture, sticker, path, claim, icc_profile=profile)
                elif wanted.format == "mp4":
                    await self._film(project, recipe, path, claim)
                else:
                    before, render = await self._render(project, recipe)
                    await run_in_threadpool(_write, path, before, render, claim, wanted)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return PassingFile(path, media_type=mime, filename=f"{_stem(stored.name)}-faceloom{ending}")

    def _sticker(self, project: str, recipe: Recipe) -> tuple[NDArray[np.uint8], bytes | None]:
        editor = self.openings.get(project).editor
        return editor.sticker(recipe), editor.photo.icc_profile

    async def _render(self, project: str, recipe: Recipe) -> tuple[Photo, Render]:
        def work() -> tuple[Photo, Render]:
            editor = self.openings.get(project).editor
            return editor.photo, editor.render(recipe)

        return await self._on_engine(work)

    async def _on_engine(self, work: Callable[[], _T]) -> _T:
        return await asyncio.wrap_future(self.engine.submit(work, Priority.FULL))

    async def _film(self, project: str, recipe: Recipe, path: Path, claim: Claim | None) -> None:
        """The photo on its way to the recipe. Each frame waits its turn, so that sliders stay quick meanwhile."""
        frames: list[Pixels] = []
        for step in range(_FRAMES):
            share = step / (_FRAMES - 1)
            part = _part(recipe, share * share * (3.0 - 2.0 * share))

            def work(part: Recipe = part) -> Pixels:
                return in_srgb(self.openings.get(project).scaled(_FILM_SIDE).render(part).photo).pixels

            future = self.engine.submit(work, Priority.PICTURE)
            frames.append(await asyncio.wrap_future(future))
        still = [frames[0]] * _STILL
        await run_in_threadpool(save_film, [*still, *frames, *[frames[-1]] * _STILL], path, claim, rate=_RATE)


def _part(recipe: Recipe, share: float) -> Recipe:
    """A share of a recipe, from 0, the photo as it is, to 1."""
    edits = tuple(replace(edit, amount=edit.amount * share) for edit in recipe.edits)
    return replace(recipe, edits=edits, degree=recipe.degree * share, twin=recipe.twin if share else "")


def _stem(name: str) -> str:
    """A project's name as part of a file's, on any system."""
    allowed = "".join("-" if letter in '/\\:*?"<>|' or not letter.isprintable() else letter for letter in name)
    return allowed.strip(" .-")[:80] or "photo"


def _write(path: Path, before: Photo, render: Render, claim: Claim | None, wanted: ExportRequest) -> None:
    photo = render.photo
    if wanted.format == "pair":
        cell = min(_PAIR_SIDE, max(before.size))
        photo = Photo(before_after(before.pixels, photo.pixels, cell=cell), before.icc_profile, before.name)
    save_picture(photo, path, claim, quality=wanted.quality)
