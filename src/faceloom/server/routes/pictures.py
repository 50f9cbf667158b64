"""Pictures of projects: thumbnails, strips, and files to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from faceloom.generators.cache import Cancelled
from faceloom.server.answers import BINARY, JPEG, PathId, StudioDep
from faceloom.server.pictures import Gone
from faceloom.server.schemas import ExportRequest, StripRequest, TwinsRequest

router = APIRouter(tags=["pictures"])
_CLIENT_CLOSED = 499  # as nginx says it; nobody reads it
_TYPES = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "video/mp4",
    "application/json",
    "application/octet-stream",
)
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {kind: {"schema": BINARY} for kind in _TYPES},
        "headers": {"Content-Disposition": {"schema": {"type": "string"}, "description": "A name for the file."}},
        "description": "The file.",
    }
}


@router.get("/api/projects/{project_id}/thumbnail", response_class=Response, responses=JPEG)
async def get_thumbnail(studio: StudioDep, project_id: PathId) -> Response:
    """The current look, 256 px."""
    return Response(await studio.pictures.thumbnail(project_id), media_type="image/jpeg")


@router.post("/api/projects/{project_id}/strip", response_class=Response, responses=JPEG)
async def draw_strip(studio: StudioDep, project_id: PathId, body: StripRequest, request: Request) -> Response:
    """This person's face over the range of a direction, low to high, in one row."""
    return await _while_awaited(request, lambda gone: studio.pictures.strip(project_id, body, gone))


@router.post("/api/projects/{project_id}/twins", response_class=Response, responses=JPEG)
async def draw_twins(studio: StudioDep, project_id: PathId, body: TwinsRequest, request: Request) -> Response:
    """This person's face without a twin, then as each twin draws it, in one row."""
    return await _while_awaited(request, lambda gone: studio.pictures.twins(project_id, body, gone))


@router.post("/api/projects/{project_id}/export", response_class=Response, responses=_EXPORT)
async def export_project(studio: StudioDep, project_id: PathId, body: ExportRequest) -> Response:
    """A file to keep, at the photo's own size."""
    return await studio.exports.export(project_id, body)


async def _while_awaited(request: Request, draw: Callable[[Gone], Awaitable[bytes]]) -> Response:
    """A JPEG, given up when the page no longer waits for it: while a slider moves, most are overtaken."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.create_task(left())
    try:
        return Response(await draw(leaving.done), media_type="image/jpeg")
    except Cancelled:
        return Response(status_code=_CLIENT_CLOSED)
    finally:
        leaving.cancel()
