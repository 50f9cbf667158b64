"""Downloads against a server on this machine that stalls, truncates, lies, changes its mind and refuses ranges."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import filelock
import pytest

from faceloom.checkpoints.fetch import Patience, fetch
from faceloom.errors import DownloadError, UsageError
from faceloom.files import hash_file

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()
QUICK = Patience(connect=2.0, stall=0.4, attempts=2, pause=0.01)


@dataclass
class Behaviour:
    """What the server does, and what it was asked.

    Attributes:
        body: what it serves.
        ranges: whether it continues downloads.
        etag: it sends, "" for none.
        breaks: bytes after which it closes the connection, for each answer in turn; then none.
        stalls: bytes after which it falls silent, likewise.
        drip: whether it then sends a byte now and then instead of nothing.
        length: it claims; the truth where None; none at all where negative.
        status: it answers with instead of the body, for each answer in turn.
        location: where it sends people, for each answer in turn.
        kind: Content-Type.
        asked: the Range of each request, "" for none.
    """

    body: bytes = BODY
    ranges: bool = True
    etag: str = '"v1"'
    breaks: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    drip: bool = False
    length: int | None = None
    status: list[int] = field(default_factory=list)
    location: list[str] = field(default_factory=list)
    kind: str = "application/octet-stream"
    asked: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        it = self.behaviour
        wanted = self.headers.get("Range", "")
        it.asked.append(wanted)
        if it.location or it.status:
            status = 302 if it.location else it.status.pop(0)
            self.send_response(status)
            if it.location:
                self.send_header("Location", it.location.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        same = self.headers.get("If-Range", it.etag) == it.etag
        start = int(re.sub(r"\D", "", wanted)) if wanted and it.ranges and same else 0
        if start >= len(it.body) > 0 and start:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = it.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(it.body) - 1}/{len(it.body)}")
        if it.etag:
            self.send_header("ETag", it.etag)
        claimed = len(data) if it.length is None else it.length
        if claimed >= 0:
            self.send_header("Content-Length", str(claimed))
        self.send_header("Content-Type", it.kind)
        self.end_headers()
        self._send(data)

    def _send(self, data: bytes) -> None:
        it = self.behaviour
        self.close_connection = True
        try:
            if it.stalls:
                count = it.stalls.pop(0)
                self.wfile.write(data[:count])
                for byte in data[count : count + 100]:
                    if it.over.wait(0.05):
                        return
                    if it.drip:
                        self.wfile.write(bytes([byte]))
                return
            self.wfile.write(data[: it.breaks.pop(0)] if it.breaks else data)
        except OSError:
            pass  # the client has gone, as it should

    def log_message(self, format: str, *args: Any) -> None: ...


Serve = Callable[..., tuple[str, Behaviour]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that behaves as told, and gives its link and behaviour."""
    servers: list[tuple[ThreadingHTTPServer, Behaviour]] = []

    def start(**settings: Any) -> tuple[str, Behaviour]:
        behaviour = Behaviour(**settings)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"behaviour": behaviour}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        servers.append((server, behaviour))
        return f"http://127.0.0.1:{server.server_address[1]}/model.pt", behaviour

    yield start
    for server, behaviour in servers:
        behaviour.over.set()
        server.shutdown()
        server.server_close()


def names(folder: Path) -> set[str]:
    """What is in the folder, but for the file that keeps two downloads apart."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"} if folder.is_dir() else set()


def test_a_file_arrives_whole_with_progress(serve: Serve, tmp_path: Path) -> None:
    url, it = serve()
    seen: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "model.pt"
    found = fetch(
        url, path, sha256=SHA256, size=len(BODY), progress=lambda done, of=None: seen.append((done, of)), patience=QUICK
    )
    assert found == hash_file(path) == SHA256
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert it.asked == [""]
    assert names(path.parent) == {"model.pt"}


def test_nothing_needs_to_be_known_beforehand(serve: Serve, tmp_path: Path) -> None:
    url, _ = serve(etag="", length=-1)
    assert fetch(url, tmp_path / "x", patience=QUICK) == SHA256


def test_a_broken_download_goes_on_where_it_was(serve: Serve, tmp_path: Path) -> None:
    url, it = serve(breaks=[300_000, 200_000])
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=Patience(stall=1.0, attempts=3, pause=0.01)) == SHA256
    assert it.asked == ["", "bytes=300000-", "bytes=500000-"]
    assert names(tmp_path) == {"x"}


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(serve: Serve, tmp_path: Path) -> None:
    url, it = serve(breaks=[300_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"ended too early; 300,000 bytes are kept, and the same command continues"):
        fetch(url, tmp_path / "x", patience=QUICK)
    assert names(tmp_path) == {"x.part", "x.part.json"}
    it.breaks.clear()
    it.asked.clear()
    assert fetch(url, tmp_path / "x", patience=QUICK) == SHA256
    assert it.asked == ["bytes=300000-"]
    assert names(tmp_path) == {"x"}


def test_servers_without_ranges_start_again(serve: Serve, tmp_path: Path) -> None:
    url, it = serve(ranges=False, breaks=[300_000])
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK) == SHA256
    assert it.asked == ["", "bytes=300000-"]


@pytest.mark.parametrize("etag", ['"v2"', ""])
def test_a_file_that_was_changed_meanwhile_is_fetched_anew(serve: Serve, tmp_path: Path, etag: str) -> None:
    url, it = serve(breaks=[300_000, 0, 0])
    with pytest.raises(DownloadError):
        fetch(url, tmp_path / "x", patience=QUICK)
    it.breaks.clear()
    it.body, it.etag = BODY[::-1], etag
    assert fetch(url, tmp_path / "x", patience=QUICK) == hashlib.sha256(BODY[::-1]).hexdigest()


def test_without_proof_nothing_is_continued(serve: Serve, tmp_path: Path) -> None:
    url, it = serve(etag="", breaks=[300_000, 0, 0])
    with pytest.raises(DownloadError):
        fetch(url, tmp_path / "x", patience=QUICK)
    it.breaks.clear()
    it.asked.clear()
    assert fetch(url, tmp_path / "x", patience=QUICK) == SHA256
    assert it.asked == [""]


def test_a_wrong_beginning_is_found_out_and_fetched_anew(serve: Serve, tmp_path: Path) -> None:
    url, it = serve()
    (tmp_path / "x.part").write_bytes(b"?" * 1000)
    (tmp_path / "x.part.json").write_text(f'{{"url": "{url}", "validator": ""}}')
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK) == SHA256
    assert it.asked == ["bytes=1000-", ""]


def test_a_beginning_that_is_too_long_is_dropped(serve: Serve, tmp_path: Path) -> None:
    url, it = serve()
    (tmp_path / "x.part").write_bytes(BODY + b"more")
    (tmp_path / "x.part.json").write_text(f'{{"url": "{url}", "validator": ""}}')
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK) == SHA256
    assert len(it.asked) == 2  # one refused with 416


@pytest.mark.parametrize("drip", [False, True])
def test_a_stalled_server_is_left_and_asked_again(serve: Serve, tmp_path: Path, drip: bool) -> None:
    url, it = serve(stalls=[300_000], drip=drip)
    started = time.monotonic()
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=Patience(stall=0.4, attempts=3, pause=0.01)) == SHA256
    assert time.monotonic() - started < 10
    assert it.asked[1].startswith("bytes=300")


@pytest.mark.parametrize("drip", [False, True])
def test_a_server_that_only_stalls_is_given_up(serve: Serve, tmp_path: Path, drip: bool) -> None:
    url, _ = serve(stalls=[0] * 9, drip=drip)
    with pytest.raises(DownloadError, match=r"(nothing came|next to nothing) for 0\.4 s"):
        fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK)
    assert "x" not in names(tmp_path)


@pytest.mark.parametrize(
    ("settings", "known", "message"),
    [
        ({"length": len(BODY) + 5}, {}, "ended too early"),
        ({"length": len(BODY) - 5}, {"sha256": SHA256}, "served other bytes"),
        ({"length": len(BODY) - 5}, {"size": len(BODY)}, "offers 1,048,571 bytes, not the expected 1,048,576"),
        ({"length": -1, "body": BODY + b"more"}, {"size": len(BODY)}, "sends more than 1,048,576 bytes"),
        ({"length": -1, "body": BODY[:-5]}, {"size": len(BODY)}, "ended after|refused to continue"),
        ({}, {"limit": 1000}, "offers 1,048,576 bytes, more than the limit of 1,000"),
        ({"length": -1}, {"limit": 1000}, "sends more than 1,000 bytes"),
        ({"length": 1 << 60}, {"limit": 1 << 62}, "free some space"),
        ({"body": BODY[::-1]}, {"sha256": SHA256, "size": len(BODY)}, "served other bytes than the expected"),
        ({"kind": "text/html; charset=utf-8"}, {"sha256": SHA256}, "sent a web page in place of the file"),
        ({"status": [404]}, {}, "answered 404"),
        ({"status": [403]}, {}, "answered 403"),
        ({"status": [503, 503, 503]}, {}, "answered 503"),
        ({"location": ["http://example.invalid/x"]}, {}, r"leads to http://example\.invalid, which is not https"),
    ],
)
def test_what_is_not_the_file_is_refused(
    serve: Serve, tmp_path: Path, settings: dict[str, Any], known: dict[str, Any], message: str
) -> None:
    url, _ = serve(**settings)
    (tmp_path / "x").write_bytes(b"as it was")
    with pytest.raises((DownloadError, UsageError), match=message) as caught:
        fetch(url, tmp_path / "x", patience=QUICK, **known)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "x").read_bytes() == b"as it was"


def test_wrong_bytes_leave_nothing(serve: Serve, tmp_path: Path) -> None:
    url, _ = serve(body=b"tampered")
    with pytest.raises(DownloadError, match="they were deleted"):
        fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK)
    assert names(tmp_path) == set()


def test_passing_troubles_and_redirects_are_overcome(serve: Serve, tmp_path: Path) -> None:
    url, _ = serve(status=[503])
    assert fetch(url, tmp_path / "x", sha256=SHA256, patience=QUICK) == SHA256
    first, it = serve(location=[url])
    assert fetch(first, tmp_path / "y", sha256=SHA256, patience=QUICK) == SHA256
    assert it.asked == [""]
    it.location.extend(["/round"] * 30)
    with pytest.raises(DownloadError, match="it redirects without end"):
        fetch(first, tmp_path / "z", patience=QUICK)


def test_links_that_are_not_safe_are_not_followed(tmp_path: Path) -> None:
    for url in ("http://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/passwd"):
        with pytest.raises(DownloadError, match="not https"):
            fetch(url, tmp_path / "x")
    assert names(tmp_path) == set()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be downloaded from: it takes no connection"):
        fetch("http://127.0.0.1:9/x", tmp_path / "x", patience=QUICK)


def test_two_downloads_of_one_file_do_not_meet(serve: Serve, tmp_path: Path) -> None:
    url, _ = serve()
    with filelock.FileLock(tmp_path / ".x.lock"), pytest.raises(UsageError, match="being downloaded already"):
        fetch(url, tmp_path / "x", patience=QUICK)
    assert fetch(url, tmp_path / "x", patience=QUICK) == SHA256


def test_places_that_cannot_be_written_are_named(serve: Serve, tmp_path: Path) -> None:
    url, _ = serve()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="choose another place"):
        fetch(url, tmp_path / "file" / "x", patience=QUICK)
