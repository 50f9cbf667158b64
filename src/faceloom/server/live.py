"""The websocket of a project: renders while a slider moves, and news of its inversion.

A connection has one request of each kind waiting at most, so the newest wins and stale ones are dropped; it renders the
next only once the last has been sent, so a slow reader slows down itself alone. News are kept one of each kind too.
A full render is given up between two layers as soon as something newer is asked for, and all drawing once a page left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, WebSocket
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

from faceloom.generators.cache import Cancelled
from faceloom.generators.stylegan2 import is_small
from faceloom.server.encoding import to_jpeg
from faceloom.server.engine import Engine, Priority
from faceloom.server.opening import Openings
from faceloom.server.recipes import to_recipe
from faceloom.server.refusals import Refusal, describe, refusal_of
from faceloom.server.schemas import (
    LiveError,
    LiveFrame,
    LiveFull,
    LiveInverting,
    LiveProgress,
    LiveRender,
    LiveState,
    ProjectState,
)
from faceloom.server.store import Store
from faceloom.settings import on_one_core

PREVIEW_QUALITY, FULL_QUALITY = 85, 92
SEND_SECONDS = 60.0
GONE, NO_PROJECT, GARBLED = 4410, 4404, 1003
_MOST_CONNECTIONS = 64
_MOST_TEXT = 100_000
_ROUNDING = 64
_ORDER = ("error", "state", "progress", "picture")

_Request = LiveRender | LiveFull
_requests: TypeAdapter[_Request] = TypeAdapter(Annotated[_Request, Field(discriminator="type")])


class Connection:
    """What is to be done for one page, and what is to be told to it."""

    def __init__(self) -> None:
        self.wanted: dict[str, tuple[_Request, float]] = {}
        self.news: dict[str, list[str | bytes]] = {}
        self.stirred = asyncio.Event()
        self.closing: int | None = None

    def want(self, request: _Request) -> None:
        """Replace what waits, unless that is newer."""
        waiting = self.wanted.get(request.type)
        if waiting is None or waiting[0].number <= request.number:
            self.wanted[request.type] = (request, time.monotonic())
            self.stirred.set()

    def tell(self, kind: str, *messages: str | bytes) -> None:
        """Replace the news of this kind that have not been sent."""
        self.news[kind] = list(messages)
        self.stirred.set()

    def take_news(self) -> list[str | bytes]:
        """What is to be sent now, in order."""
        messages = [message for kind in _ORDER for message in self.news.pop(kind, ())]
        return messages

    def is_stale(self, request: _Request) -> bool:
        """Whether to give up drawing this: nobody looks any more, or it is a full render and something newer waits.

        A preview is finished even then, or there would be no picture for as long as the slider moves.
        """
        if self.closing is not None:
            return True
        # A copy: this is asked on the engine's thread while requests come in on the loop's.
        newer = any(other.number > request.number for other, _ in tuple(self.wanted.values()))
        return newer and isinstance(request, LiveFull)

    def take_wanted(self) -> tuple[_Request, float] | None:
        """The next request; a preview before a full render, as it is quicker."""
        for kind in ("render", "full"):
            if kind in self.wanted:
                return self.wanted.pop(kind)
        return None


class Hub:
    """The connections of every project. `tell…` may be called from any thread."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: defaultdict[str, set[Connection]] = defaultdict(set)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop the connections live on."""
        self._loop = loop

    def join(self, project: str, connection: Connection) -> None:
        """Have it told what happens to the project; raises Refusal 429."""
        if sum(len(group) for group in self._connections.values()) >= _MOST_CONNECTIONS:
            raise Refusal(429, "busy", "too many pages are open; close some")
        self._connections[project].add(connection)

    def leave(self, project: str, connection: Connection) -> None:
        """The reverse of `join`."""
        self._connections[project].discard(connection)
        if not self._connections[project]:
            del self._connections[project]

    def has_listeners(self, project: str) -> bool:
        """Whether a page looks at the project."""
        return project in self._connections

    def tell_state(self, project: str, state: ProjectState, message: str) -> None:
        """The project has changed its state."""
        self._each(project, lambda one: one.tell("state", _text(LiveState(state=state, message=message))))

    def tell_progress(self, project: str, done: int, total: int, loss: float | None) -> None:
        """The inversion is so far."""
        news = LiveProgress(done=done, total=total, loss=loss, state="inverting")
        self._each(project, lambda one: one.tell("progress", _text(news)))

    def tell_picture(self, project: str, frame: bytes) -> None:
        """The face is drawn like this by now; `frame` is a whole binary message."""
        self._each(project, lambda one: one.tell("picture", _text(LiveInverting()), frame))

    def close(self, project: str) -> None:
        """The project was deleted."""

        def end(one: Connection) -> None:
            one.closing = GONE
            one.stirred.set()

        self._each(project, end)

    def _each(self, project: str, act: Callable[[Connection], None]) -> None:
        def run() -> None:
            for connection in tuple(self._connections.get(project, ())):
                act(connection)

        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to be told
                self._loop.call_soon_threadsafe(run)


class Live:
    """Serves websockets."""

    def __init__(self, store: Store, engine: Engine, openings: Openings, hub: Hub) -> None:
        self.store, self.engine, self.openings, self.hub = store, engine, openings, hub

    async def serve(self, socket: WebSocket, project: str) -> None:
        """Talk to one page until it leaves."""
        await socket.accept()
        connection = Connection()
        try:
            state, message = self.store.state(project)
            self.hub.join(project, connection)
        except Refusal as refusal:
            await socket.close(NO_PROJECT if refusal.status == 404 else 1013, refusal.message[:120])
            return
        connection.tell("state", _text(LiveState(state=state, message=message)))
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(self._listen(socket, connection))
                group.create_task(self._answer(socket, connection, project, listening))
        except* (WebSocketDisconnect, TimeoutError, OSError):
            pass
        finally:
            connection.closing = GONE  # so that nothing more is drawn for it
            self.hub.leave(project, connection)

    async def _listen(self, socket: WebSocket, connection: Connection) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            text = message.get("text")
            if text is None or len(text) > _MOST_TEXT:
                connection.closing = GARBLED
                connection.stirred.set()
                return
            try:
                connection.want(_requests.validate_json(text))
            except ValidationError as error:
                words = describe(error.errors(include_url=False))
                connection.tell("error", _text(LiveError(number=_number(text), message=words, error="invalid")))

    async def _answer(
        self, socket: WebSocket, connection: Connection, project: str, listening: asyncio.Task[None]
    ) -> None:
        while True:
            await connection.stirred.wait()
            connection.stirred.clear()
            while True:
                for news in connection.take_news():
                    await _send(socket, news)
                if connection.closing is not None:
                    listening.cancel()
                    if socket.application_state is WebSocketState.CONNECTED:
                        await socket.close(connection.closing)
                    return
                if not connection.wanted:
                    break
                if (answer := await self._render(connection, project)) is not None:
                    await _send(socket, answer)

    async def _render(self, connection: Connection, project: str) -> str | bytes | None:
        """The next frame, or why there is none; None where it was given up for a newer one."""
        number: list[int] = []

        def work() -> bytes | None:
            # Taken only now that the engine has time for it, so that it is the newest.
            taken = connection.take_wanted()
            if taken is None:
                return None
            number.append(taken[0].number)
            return self._draw(connection, project, *taken)

        priority = Priority.PREVIEW if "render" in connection.wanted else Priority.FULL
        try:
            frame = await asyncio.wrap_future(self.engine.submit(work, priority))
        except Cancelled:
            return None
        except Exception as error:
            if not number and (taken := connection.take_wanted()) is not None:  # refused before it was begun
                number.append(taken[0].number)
            refusal = refusal_of(error)
            failed = LiveError(number=number[0] if number else None, message=refusal.message, error=refusal.code)
            return _text(failed)
        return frame or _text(LiveError(number=None, message="there was nothing to draw", error="invalid"))

    def _draw(self, connection: Connection, project: str, request: _Request, since: float) -> bytes:
        opened = self.openings.get(project)
        recipe = to_recipe(request.recipe)

        def cancelled() -> bool:
            return connection.is_stale(request)

        if isinstance(request, LiveRender):
            # Windows are resized pixel by pixel; a copy of the photo for each size would be wasted.
            side = -(-request.side // _ROUNDING) * _ROUNDING
            alone = is_small(opened.editor.model.generator) and not recipe.twin  # twins draw all of the photo
            with on_one_core() if alone else contextlib.nullcontext():
                photo = opened.scaled(side).render(recipe, cancelled=cancelled).photo
            kind, quality = "preview", PREVIEW_QUALITY
        else:
            photo, kind, quality = opened.editor.render(recipe, cancelled=cancelled).photo, "full", FULL_QUALITY
        picture = to_jpeg(photo, quality)
        milliseconds = round(1000 * (time.monotonic() - since), 1)
        width, height = photo.size
        return pack(
            LiveFrame.model_validate(
                {
                    "number": request.number,
                    "kind": kind,
                    "width": width,
                    "height": height,
                    "ms": milliseconds,
                    "mime": "image/jpeg",
                }
            ),
            picture,
        )


def pack(header: LiveFrame, picture: bytes) -> bytes:
    """A binary message: 4 bytes of length, little-endian, the header as JSON, the picture."""
    text = header.model_dump_json().encode()
    return struct.pack("<I", len(text)) + text + picture


async def _send(socket: WebSocket, message: str | bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        if isinstance(message, str):
            await socket.send_text(message)
        else:
            await socket.send_bytes(message)


def _text(message: BaseModel) -> str:
    return message.model_dump_json()


def _number(text: str) -> int | None:
    """The number of a request that is wrong in another way."""
    try:
        number = json.loads(text)["number"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


router = APIRouter()


@router.websocket("/api/projects/{project_id}/live")
async def live(socket: WebSocket, project_id: str) -> None:
    """See the module."""
    service = socket.app.state.studio.live
    assert isinstance(service, Live)
    await service.serve(socket, project_id)
