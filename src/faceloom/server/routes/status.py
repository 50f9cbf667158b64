"""What the page needs before there is a photo."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from starlette.responses import FileResponse, Response

from faceloom.server.answers import JPEG, StudioDep
from faceloom.server.schemas import NAME_PATTERN, Sample, Status

router = APIRouter(tags=["status"])


@router.get("/api/status")
def get_status(studio: StudioDep) -> Status:
    """What this installation is, has and can do."""
    return studio.status()


@router.get("/api/samples")
def list_samples(studio: StudioDep) -> list[Sample]:
    """Faces to start with."""
    return studio.samples.list()


@router.get("/api/samples/{name}", response_class=Response, responses=JPEG)
def get_sample(studio: StudioDep, name: Annotated[str, InPath(pattern=NAME_PATTERN)]) -> FileResponse:
    """One of them."""
    return FileResponse(studio.samples.path(name), media_type="image/jpeg")
