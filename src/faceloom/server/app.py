"""The application: routes, guards and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig

import faceloom
from faceloom.server import live, page
from faceloom.server.answers import REFUSALS
from faceloom.server.guard import Guard
from faceloom.server.refusals import answer_errors
from faceloom.server.routes import photos, pictures, projects, status, workshop
from faceloom.server.schemas import LIVE_SCHEMAS
from faceloom.server.studio import Studio

_SILENT: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class _App(FastAPI):
    """Adds the messages of the websocket to the schema."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            known = document["components"]["schemas"]
            for model in LIVE_SCHEMAS:
                text = model.model_json_schema(ref_template="#/components/schemas/{model}")
                known.update(text.pop("$defs", {}))
                known[model.__name__] = text
            self.openapi_schema = document
        return self.openapi_schema


def make_app(studio: Studio | None) -> FastAPI:
    """The application over a studio, unguarded; None only to read its schema."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        assert studio is not None
        studio.start(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(studio.stop)

    app = _App(
        title="Faceloom studio",
        version=faceloom.__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        responses=REFUSALS,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_SILENT,  # an environment variable must not make it send elsewhere what people do
    )
    app.state.studio = studio
    answer_errors(app)
    for module in (status, photos, projects, pictures, workshop, live, page):  # the page last: it takes every path
        app.include_router(module.router)
    return app


def guarded(studio: Studio) -> Guard:
    """The application as it may be let onto a port."""
    app = make_app(studio)
    app.state.guard = guard = Guard(app)
    return guard


def _operation_id(route: APIRoute) -> str:
    return route.name
