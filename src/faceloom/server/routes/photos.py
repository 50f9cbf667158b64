"""Photos: upload and look."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from faceloom.server.answers import JPEG, RAW_BODY, PathId, StudioDep
from faceloom.server.schemas import NAME_PATTERN, PhotoInfo

router = APIRouter(tags=["photos"])


@router.post("/api/photos", status_code=201, openapi_extra=RAW_BODY)
async def add_photo(
    studio: StudioDep,
    request: Request,
    sample: Annotated[str | None, Query(pattern=NAME_PATTERN, description="Use this sample; send no body.")] = None,
    x_file_name: Annotated[str, Header(max_length=1000, description="Percent-encoded.")] = "photo",
) -> PhotoInfo:
    """Upload a photo as the raw body; its faces are found before the answer."""
    if sample is not None:
        return await studio.photos.add_sample(sample)
    return await studio.photos.upload(request, x_file_name)


@router.get("/api/photos/{photo_id}")
def get_photo(studio: StudioDep, photo_id: PathId) -> PhotoInfo:
    """What the upload answered."""
    return studio.photos.info(photo_id)


@router.get("/api/photos/{photo_id}/image", response_class=Response, responses=JPEG)
def get_photo_image(
    studio: StudioDep, photo_id: PathId, side: Annotated[int, Query(ge=16, le=4096)] = 1600
) -> Response:
    """The photo, upright, its longer side at most `side` and never more than 2048."""
    return Response(studio.photos.view(photo_id, side), media_type="image/jpeg")
