"""What routes say about themselves in the OpenAPI schema, and how they get at the studio."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends
from fastapi import Path as InPath
from starlette.requests import HTTPConnection

from faceloom.server.schemas import ID_PATTERN, ErrorBody
from faceloom.server.studio import Studio

PathId = Annotated[str, InPath(pattern=ID_PATTERN)]
"""An id in a path; anything else is answered 422 before it is looked at."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "Wrong Host, or the upload broke off."},
    403: {"model": ErrorBody, "description": "No cookie, or another page's Origin."},
    404: {"model": ErrorBody, "description": "There is no such thing."},
    409: {"model": ErrorBody, "description": "Not now: the project is not ready, or is busy."},
    413: {"model": ErrorBody, "description": "Too large."},
    422: {"model": ErrorBody, "description": "Understood, and cannot be done as it is."},
    429: {"model": ErrorBody, "description": "Too much at once; try again."},
    501: {"model": ErrorBody, "description": "This installation cannot do it."},
}
BINARY = {"type": "string", "format": "binary"}
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": BINARY}}, "description": "A JPEG picture."}
}
RAW_BODY: dict[str, Any] = {"requestBody": {"content": {"application/octet-stream": {"schema": BINARY}}}}


def _studio(connection: HTTPConnection) -> Studio:
    studio = connection.app.state.studio
    assert isinstance(studio, Studio)
    return studio


StudioDep = Annotated[Studio, Depends(_studio)]
