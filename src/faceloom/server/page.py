"""The page: the built front end, served as it lies in the package."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response

from faceloom.server.guard import Guard
from faceloom.server.refusals import not_found

WEB = Path(__file__).parent / "web"
router = APIRouter(include_in_schema=False)

# Windows takes these from its registry, where other programs may have put something else.
_KINDS = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".wasm": "application/wasm",
}
_UNBUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Faceloom studio</title>
<h1>The studio's page is not built</h1>
<p>This is a checkout of the source without the front end. Build it with Node.js 20 or later, then load this page again:
<pre>cd studio &amp;&amp; npm ci &amp;&amp; npm run build</pre>
<p>The programming interface works: see <code>/api/openapi.json</code>.</html>
"""
_KNOCK = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Faceloom studio</title>
<h1>Faceloom studio</h1>
<p>A link on another page brought you here. <a href="/">Open the studio</a></html>
"""


@router.get("/")
def get_page(request: Request) -> Response:
    """The page, with the cookie for whoever may have it (see `faceloom.server.guard`)."""
    guard = request.app.state.guard
    assert isinstance(guard, Guard)
    cookie = guard.invite(request.scope)
    if cookie is None:
        return HTMLResponse(_KNOCK)
    index = WEB / "index.html"
    text = index.read_text(encoding="utf-8") if index.is_file() else _UNBUILT
    return HTMLResponse(text, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})


@router.get("/{path:path}")
def get_file(path: str) -> Response:
    """A file of the page. Only what a listing of the folder names can be had, so that no path can leave it."""
    found = _files().get(path)
    if path.startswith("api/") or found is None:
        raise not_found("page")
    kind = _KINDS.get(found.suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
    # The names of built assets hold a hash of their content.
    lasting = "public, max-age=31536000, immutable" if path.startswith("assets/") else "no-cache"
    return FileResponse(found, media_type=kind, headers={"Cache-Control": lasting})


def _files() -> dict[str, Path]:
    return {file.relative_to(WEB).as_posix(): file for file in WEB.rglob("*") if file.is_file()}
