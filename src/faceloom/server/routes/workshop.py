"""Directions, styles and models: what a person adds to the studio."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from faceloom.server.answers import JPEG, RAW_BODY, PathId, StudioDep
from faceloom.server.schemas import NAME_PATTERN, CatalogModel, DiscoverRequest, Job, NameRequest, Status

router = APIRouter(tags=["workshop"])
ModelId = Annotated[str, InPath(pattern=NAME_PATTERN)]
FileName = Annotated[str, Header(max_length=1000, description="Percent-encoded.")]


@router.post("/api/discover", status_code=202)
def discover(studio: StudioDep, body: DiscoverRequest) -> Job:
    """Look for directions in the model, without labels."""
    return studio.workshop.discover(body.count)


@router.get("/api/jobs/{job_id}")
def get_job(studio: StudioDep, job_id: PathId) -> Job:
    """How far it is."""
    return studio.workshop.job(job_id)


@router.post("/api/jobs/{job_id}/cancel")
def cancel_job(studio: StudioDep, job_id: PathId) -> Job:
    """End it before it is done, as soon as it can be; what has ended stays as it is."""
    return studio.workshop.cancel(job_id)


@router.get("/api/jobs/{job_id}/picture/{number}", response_class=Response, responses=JPEG)
def get_job_picture(studio: StudioDep, job_id: PathId, number: Annotated[int, InPath(ge=0, le=999)]) -> Response:
    """What direction `number` (from 0) of a discovery does to a face, low to high, in one row."""
    return Response(studio.workshop.picture(job_id, number), media_type="image/jpeg")


@router.post("/api/jobs/{job_id}/name")
def name_direction(studio: StudioDep, job_id: PathId, body: NameRequest) -> Status:
    """Keep a discovered direction under a name; it is a slider from then on."""
    studio.workshop.name(job_id, body.index, body.name)
    return studio.status()


@router.delete("/api/directions/{name}")
def forget_direction(studio: StudioDep, name: Annotated[str, InPath(pattern=NAME_PATTERN)]) -> Status:
    """Remove one of the directions that a person has named."""
    studio.workshop.forget(name)
    return studio.status()


@router.post("/api/styles", status_code=202, openapi_extra=RAW_BODY)
async def learn_style(
    studio: StudioDep,
    request: Request,
    x_name: FileName,
    steps: Annotated[
        int | None, Query(ge=1, le=100_000, description="Of training; the usual number if left out.")
    ] = None,
) -> Job:
    """Learn a style from one picture, the raw body."""
    return await studio.workshop.learn_style(request, x_name, steps)


@router.get("/api/models")
def list_models(studio: StudioDep) -> list[CatalogModel]:
    """The models that are here or can be got, with size and licence."""
    return studio.workshop.models()


@router.post("/api/models/import", status_code=202, openapi_extra=RAW_BODY)
async def import_model(studio: StudioDep, request: Request, x_file_name: FileName) -> Job:
    """Import a checkpoint from a file, the raw body; nothing in it is executed."""
    return await studio.workshop.import_model(request, x_file_name)


@router.post("/api/models/{model_id}/get", status_code=202)
def get_model(studio: StudioDep, model_id: ModelId) -> Job:
    """Download a model of the catalogue; only ever at a person's wish."""
    return studio.workshop.get_model(model_id)


@router.post("/api/models/{model_id}/use")
def use_model(studio: StudioDep, model_id: ModelId) -> Status:
    """Use this model for projects from now on."""
    studio.workshop.use_model(model_id)
    return studio.status()
