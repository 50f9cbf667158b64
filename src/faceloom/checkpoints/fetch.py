"""Download a file: resumed, bounded, checked, and under its name complete or not at all.

urllib3 speaks HTTP: TLS, proxies, timeouts, truncated bodies. The downloaders that are built on it or beside
it start again from nothing when a gigabyte breaks off (pooch), or resume from their own hub only (huggingface_hub). So
this layer adds what they lack: ranges, limits, a watch on the speed, and the move into place.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import filelock
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from faceloom.errors import DownloadError, UsageError
from faceloom.files import hash_file

LIMIT = 4 << 30
"""Bytes that a file of unknown size may have."""
_CHUNK = 1 << 18
_SPARE = 64 << 20
"""Bytes of the disk that a download leaves free."""
_PROGRESS = 1 << 20
"""An attempt that brought fewer bytes counts as fruitless."""
_REDIRECTS = 5
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (NameResolutionError, "its name is not known; is this machine online?"),
    (NewConnectionError, "it takes no connection"),
    (ConnectTimeoutError, "it does not answer"),
    (SSLError, "its certificate is not trusted"),
    (ProtocolError, "the download ended too early"),
)
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of HTTP that may be another one a moment later."""


class Update(Protocol):
    """Told how much has come."""

    def __call__(self, done: int, of: int | None = None) -> None:
        """`done` bytes are here, of `of` where that is known."""
        ...


@dataclass(frozen=True)
class Patience:
    """When to give up.

    Attributes:
        connect: seconds until a server must have answered.
        stall: seconds in which `floor` bytes a second must have come, on average.
        floor: see `stall`.
        attempts: in a row that brought next to nothing.
        pause: seconds before the second attempt; doubled before each later one.
    """

    connect: float = 15.0
    stall: float = 30.0
    floor: int = 1024
    attempts: int = 4
    pause: float = 1.0


class _TryAgainError(Exception):
    """An attempt failed in a way that the next one may not."""


def fetch(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    size: int | None = None,
    limit: int = LIMIT,
    progress: Update | None = None,
    patience: Patience | None = None,
) -> str:
    """Download `url` to `path`. What came of it earlier is continued, not fetched again.

    Until it is complete, it is called `path` with ".part" behind it; that stays when a download breaks off, and is
    removed when its bytes turn out wrong.

    Args:
        url: https, or http on this machine.
        path: where to; its folder is made. A file that is there is replaced.
        sha256: of the bytes, in hexadecimal; "" where it is not known.
        size: in bytes, where it is known.
        limit: bytes beyond which a download of unknown size is stopped.
        progress: told how much has come.
        patience: when to give up.

    Returns:
        The sha256 of what came.

    Raises:
        DownloadError: if the server cannot be reached, stalls, lies, or serves something else.
        UsageError: if the disk is full or cannot be written, or the file is being downloaded already.
    """
    _require_safe(url)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            download = _Download(url, path, sha256, size, limit, progress, patience or Patience())
            return download.run()
    except OSError as error:
        raise UsageError(f"cannot write {str(path)!r} ({error.strerror or error}); choose another place") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(f"{path.name} is being downloaded already; wait for that to end") from None
    try:
        yield
    finally:
        lock.release()


class _Download:
    """One file on its way."""

    def __init__(
        self, url: str, path: Path, sha256: str, size: int | None, limit: int, progress: Update | None, wait: Patience
    ) -> None:
        self.url, self.path, self.sha256, self.size, self.limit = url, path, sha256, size, limit
        self.progress, self.wait = progress, wait
        self.host = urlsplit(url).hostname or "the server"
        self.part = path.with_name(f"{path.name}.part")
        self.note = path.with_name(f"{path.name}.part.json")
        self.resumed = False
        self.pool = _pool(url)

    def run(self) -> str:
        """Fetch, check and move into place; returns the sha256."""
        self._forget_unless_same()
        fruitless, best = 0, self._have()
        while True:
            try:
                self._attempt()
                break
            except (_TryAgainError, HTTPError) as error:
                # Against the best so far, or a server that makes us start again each time would never be given up.
                fruitless = 0 if self._have() - best >= _PROGRESS else fruitless + 1
                best = max(best, self._have())
                if fruitless >= self.wait.attempts:
                    raise DownloadError(self._given_up(error)) from None
                time.sleep(self.wait.pause * 2 ** max(fruitless - 1, 0))
        found = hash_file(self.part)
        if self.sha256 and found != self.sha256:
            self._forget()
            if self.resumed:  # the earlier part may have been of another file
                self.resumed = False
                return self.run()
            raise DownloadError(
                f"{self.host} served other bytes than the expected ones (sha256 {found[:12]}…, not "
                f"{self.sha256[:12]}…); they were deleted. The file was changed or tampered with: get it from elsewhere"
            )
        os.replace(self.part, self.path)
        self.note.unlink(missing_ok=True)
        return found

    def _attempt(self) -> None:
        have = self._have()
        if self.size is not None and have == self.size:
            return
        self.resumed = self.resumed or have > 0
        response = self._open(have)
        try:
            have, total = self._agree(response, have)
            self._check_total(have, total)
            self._remember(response, total)
            self._receive(response, have, total)
        finally:
            response.close()
            response.release_conn()

    def _open(self, have: int) -> urllib3.BaseHTTPResponse:
        headers = {"User-Agent": "faceloom", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator := self._read_note().get("validator"):
                headers["If-Range"] = validator
        timeout = urllib3.Timeout(connect=self.wait.connect, read=self.wait.stall)
        url = self.url
        for _ in range(_REDIRECTS + 1):
            response = self.pool.request(
                "GET", url, headers=headers, timeout=timeout, retries=False, redirect=False, preload_content=False
            )
            place = response.get_redirect_location()
            if not place:
                return response
            response.close()
            url = urljoin(url, place)
            _require_safe(url)  # before it is followed, which urllib3's own redirects would not let us ask
        raise _TryAgainError("it redirects without end")

    def _agree(self, response: urllib3.BaseHTTPResponse, have: int) -> tuple[int, int | None]:
        """Where the answer begins in the file, and how long the file is."""
        if response.status == 416:  # what is here is no beginning of what is there
            self._forget()
            raise _TryAgainError("it refused to continue the download")
        if response.status in _AGAIN:
            raise _TryAgainError(f"it answered {response.status} {response.reason or ''}".strip())
        if response.status not in (200, 206):
            raise DownloadError(
                f"{self.host} answered {response.status} {response.reason or ''}: the file is not there any more, or "
                "not for everybody; see its home page"
            )
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(
                f"{self.host} sent a web page in place of the file, as when a quota is used up or a licence must be "
                "accepted; download the file in a browser, then use `faceloom models import`"
            )
        if response.status == 200:
            return 0, _number(response.headers.get("Content-Length"))
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        total = None if match is None else _number(match[2])
        if match is None or int(match[1]) != have or str(total) != self._read_note().get("total", str(total)):
            self._forget()
            raise _TryAgainError("it continued the download at another place, or another file")
        return have, total

    def _check_total(self, have: int, total: int | None) -> None:
        if self.size is not None and total is not None and total != self.size:
            raise DownloadError(f"{self.host} offers {total:,} bytes, not the expected {self.size:,}: another file")
        most = total if total is not None else self.size
        if most is not None and most > self.limit and self.size is None:
            raise DownloadError(f"{self.host} offers {most:,} bytes, more than the limit of {self.limit:,}")
        free = shutil.disk_usage(self.part.parent).free
        if most is not None and most - have + _SPARE > free:
            raise UsageError(f"the file needs {most - have:,} bytes, and the disk has {free:,}; free some space")

    def _receive(self, response: urllib3.BaseHTTPResponse, have: int, total: int | None) -> None:
        most = self.size if self.size is not None else total if total is not None else self.limit
        began, at_start = time.monotonic(), have
        with self.part.open("r+b" if have else "wb") as file:
            file.truncate(have)
            file.seek(have)
            while chunk := response.read1(_CHUNK, decode_content=False):
                have += len(chunk)
                if have > most:
                    self._forget()
                    raise DownloadError(f"{self.host} sends more than {most:,} bytes; it was stopped")
                file.write(chunk)
                if self.progress is not None:
                    self.progress(have, total if total is not None else self.size)
                if time.monotonic() - began >= self.wait.stall:
                    if have - at_start < self.wait.floor * self.wait.stall:
                        raise _TryAgainError(f"it sent next to nothing for {self.wait.stall:g} s")
                    began, at_start = time.monotonic(), have
            file.flush()
            os.fsync(file.fileno())
        wanted = self.size if self.size is not None else total
        if wanted is not None and have < wanted:
            raise _TryAgainError(f"the download ended after {have:,} of {wanted:,} bytes")

    # What is here of an earlier attempt

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _forget_unless_same(self) -> None:
        """Start afresh where nothing would show that the beginning here is of the file there."""
        note, have = self._read_note(), self._have()
        provable = bool(note.get("validator") or self.sha256)
        too_long = self.size is not None and have > self.size
        if have and (note.get("url") != self.url or not provable or too_long):
            self._forget()

    def _read_note(self) -> dict[str, str]:
        try:
            data = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}

    def _remember(self, response: urllib3.BaseHTTPResponse, total: int | None) -> None:
        etag = response.headers.get("ETag", "")
        strong = "" if etag.startswith("W/") else etag  # RFC 9110, section 13.1.5
        validator = strong or response.headers.get("Last-Modified", "")
        note: dict[str, Any] = {"url": self.url, "validator": validator, "total": total}
        self.note.write_text(json.dumps(note), encoding="utf-8")

    def _given_up(self, error: Exception) -> str:
        known = next((words for kind, words in _REASONS if isinstance(error, kind)), None)
        if isinstance(error, ReadTimeoutError):
            known = f"nothing came for {self.wait.stall:g} s"
        what = known or (str(error) if isinstance(error, _TryAgainError) else type(error).__name__)
        have = self._have()
        kept = f"; {have:,} bytes are kept, and the same command continues" if have else ""
        return f"{self.host} cannot be downloaded from: {what}{kept}"


def _pool(url: str) -> urllib3.PoolManager:
    """Connections, through the proxy that the environment names."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and parts.hostname not in _LOOPBACK and not urllib.request.proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise DownloadError(
            f"the link leads to {parts.scheme}://{parts.hostname}, which is not https; it is not followed"
        )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
