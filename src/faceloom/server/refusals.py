"""How errors become answers: one line for people, one code for programs, and never a trace."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from faceloom.errors import (
    CheckpointError,
    DirectionError,
    FaceError,
    FaceloomError,
    MissingExtraError,
    PhotoError,
    PhotoSizeError,
)

logger = logging.getLogger("faceloom.server")

_CODES: tuple[tuple[type[FaceloomError], str], ...] = (
    (PhotoSizeError, "photo_size"),
    (PhotoError, "bad_photo"),
    (FaceError, "no_face"),
    (CheckpointError, "bad_model"),
    (DirectionError, "bad_direction"),
    (MissingExtraError, "missing_extra"),
)
_WORDS = {404: ("not_found", "there is nothing here"), 405: ("not_allowed", "this address does not take that method")}


class Refusal(Exception):
    """An answer of 400 or above.

    Attributes:
        status: of HTTP.
        code: for programs.
        message: one line for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def response(self) -> JSONResponse:
        """As an answer."""
        return JSONResponse({"error": self.code, "message": self.message}, self.status)


def not_found(what: str) -> Refusal:
    """There is no such photo, project, step or job."""
    return Refusal(404, "not_found", f"there is no such {what}; it may have been deleted")


def unavailable(what: str) -> Refusal:
    """This installation cannot do it."""
    return Refusal(501, "unavailable", f"{what} is not part of this version of Faceloom yet; upgrade to get it")


def refusal_of(error: Exception) -> Refusal:
    """What to answer to an error; those that nobody foresaw are logged and answered 500."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, FaceloomError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "invalid")
        return Refusal(422, code, str(error))
    logger.error("unforeseen error", exc_info=error)
    return Refusal(500, "internal", "the studio failed at this; look at its terminal, and report what it says there")


def answer_errors(app: FastAPI) -> None:
    """Make the application answer every error in the one form."""
    app.add_exception_handler(Refusal, _answer)
    app.add_exception_handler(FaceloomError, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(Exception, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    return refusal_of(error).response()


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, words = _WORDS.get(error.status_code, ("invalid", str(error.detail)))
    response = Refusal(error.status_code, code, words).response()
    response.headers.update(error.headers or {})
    return response


async def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return Refusal(422, "invalid", describe(error.errors())).response()


def describe(errors: Any) -> str:
    """The first of pydantic's complaints, in one line."""
    first = errors[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "path", "query", "header"))
    words = " ".join(str(first["msg"]).split())
    return f"{where or 'the body'}: {words}"[:300]
