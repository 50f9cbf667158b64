"""Uploads: streamed to a file beside where it will stay, bounded, and gone again if anything fails."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from faceloom.server.refusals import Refusal

MOST_UPLOADS = 16
SILENCE_SECONDS = 30.0
_DRAIN_SECONDS = 5.0


class Uploads:
    """Takes files from requests.

    Args:
        folder: where they are while they come; emptied at the start.
        most_bytes: larger ones are refused.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder, most_bytes
        self._coming = 0
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.iterdir():
            left.unlink()

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Path]:
        """A file with the request's body, which is there, and on disk, while the block runs.

        Raises:
            Refusal: 413 too large, 400 broken off or empty, 429 too many at once, 507 disk full.
        """
        if self._coming >= MOST_UPLOADS:
            raise Refusal(429, "busy", f"the studio takes {MOST_UPLOADS} files at a time; try again in a few seconds")
        self._coming += 1
        path = self.folder / secrets.token_hex(8)
        try:
            await self._stream(request, path)
            yield path
        finally:
            self._coming -= 1
            path.unlink(missing_ok=True)

    async def _stream(self, request: Request, path: Path) -> None:
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.most_bytes:
            await self._refuse(request)
        try:
            with path.open("xb") as file:
                chunks, size = request.stream().__aiter__(), 0
                while True:
                    chunk = await asyncio.wait_for(anext(chunks, None), SILENCE_SECONDS)
                    if chunk is None:
                        break
                    size += len(chunk)
                    if size > self.most_bytes:
                        await self._refuse(request)
                    await run_in_threadpool(file.write, chunk)
                await run_in_threadpool(_to_disk, file)
        except (ClientDisconnect, TimeoutError):
            raise Refusal(400, "broken_off", "the upload broke off; send the file again") from None
        except OSError as error:
            raise Refusal(507, "disk_full", f"the file cannot be stored ({error.strerror}); free some space") from error
        if size == 0:
            raise Refusal(400, "empty", "the upload is empty; choose a file")

    async def _refuse(self, request: Request) -> None:
        """Refuse what is too large. A browser shows the answer only once it has sent all, so take a little more."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                taken = 0
                async for chunk in request.stream():
                    taken += len(chunk)
                    if taken > self.most_bytes:
                        break
        except (TimeoutError, ClientDisconnect, RuntimeError):
            pass
        limit = self.most_bytes / 1e6
        raise Refusal(413, "too_large", f"the file holds more than the limit of {limit:,.0f} MB; save it smaller")


def display_name(encoded: str) -> str:
    """The name of a file, as a person knows it, from a percent-encoded header: one line, no folders."""
    text = unquote(encoded, errors="replace").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(letter for letter in text if letter.isprintable()).strip()
    return printable[:200] or "photo"


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, on systems that can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
