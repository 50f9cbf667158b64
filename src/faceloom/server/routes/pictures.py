"""Pictures of projects: thumbnails, strips, and files to keep."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from faceloom.server.answers import BINARY, JPEG, PathId, StudioDep
from faceloom.server.schemas import ExportRequest, StripRequest, TwinsRequest

router = APIRouter(tags=["pictures"])
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
async def draw_strip(studio: StudioDep, project_id: PathId, body: StripRequest) -> Response:
    """This person's face over the range of a direction, low to high, in one row."""
    return Response(await studio.pictures.strip(project_id, body), media_type="image/jpeg")


@router.post("/api/projects/{project_id}/twins", response_class=Response, responses=JPEG)
async def draw_twins(studio: StudioDep, project_id: PathId, body: TwinsRequest) -> Response:
    """This person's face without a twin, then as each twin draws it, in one row."""
    return Response(await studio.pictures.twins(project_id, body), media_type="image/jpeg")


@router.post("/api/projects/{project_id}/export", response_class=Response, responses=_EXPORT)
async def export_project(studio: StudioDep, project_id: PathId, body: ExportRequest) -> Response:
    """A file to keep, at the photo's own size."""
    return await studio.exports.export(project_id, body)
