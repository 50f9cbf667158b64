"""A studio of its own and a browser, for tests of the page; they are left out where there is no Chromium."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, WebSocket, expect, sync_playwright

ROOT = Path(__file__).parents[2]
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
PATIENCE = 300_000
"""Milliseconds that anything may take: a loaded machine is slow, not wrong."""
Start = Callable[[Path, int], "subprocess.Popen[bytes]"]
OpenPage = Callable[..., Page]


@pytest.fixture(scope="session")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's camera films: a face, as motion JPEG."""
    picture = Image.new("RGB", (640, 480), (120, 130, 140))
    with Image.open(ROOT / "examples" / "portrait.jpg") as face:
        picture.paste(face.resize((480, 480)), (80, 0))
    frame = io.BytesIO()
    picture.save(frame, "JPEG", quality=95, subsampling="4:2:0")
    path = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    path.write_bytes(5 * frame.getvalue())
    return path


@pytest.fixture(scope="session")
def chromium(camera: Path) -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=[*QUIET.split(), f"--use-file-for-fake-video-capture={camera}"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session", autouse=True)
def _patient() -> None:
    expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            return port

    return find


@pytest.fixture(scope="session")
def start_studio() -> Iterator[Start]:
    """Starts a studio with a data folder at a port, and answers once it does."""
    started: list[subprocess.Popen[bytes]] = []

    def start(data: Path, port: int) -> subprocess.Popen[bytes]:
        program = "from faceloom.cli.main import main; main()"
        options = ["studio", "--port", str(port), "--no-browser", "--data", str(data)]
        own = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "FACELOOM_DATA": str(data / "own")}
        environment = {**os.environ, **own}
        process = subprocess.Popen(
            [sys.executable, "-c", program, *options], env=environment, stdout=subprocess.DEVNULL
        )
        started.append(process)
        _wait_for(f"http://127.0.0.1:{port}/", process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the studio ended while starting"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise AssertionError("the studio did not answer within two minutes")


@pytest.fixture(scope="session")
def studio_url(
    chromium: Browser, start_studio: Start, free_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Where a studio that all tests share is served; without Chromium none is started."""
    port = free_port()
    start_studio(tmp_path_factory.mktemp("studio"), port)
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Opens pages that may ask nothing of any other server, and whose console must stay silent.

    Called with the address, and optionally width, locale, scheme, `context` (that of another page: a second tab), and
    `may_lose`, True where the server goes away or refuses on purpose.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_one(
        url: str,
        *,
        width: int = 1280,
        locale: str = "en-GB",
        scheme: str = "light",
        context: BrowserContext | None = None,
        may_lose: bool = False,
    ) -> Page:
        if context is None:
            size = {"width": width, "height": 844 if width < 800 else 1400 if width > 2000 else 800}
            context = chromium.new_context(
                viewport=size,  # type: ignore[arg-type]
                locale=locale,
                color_scheme=scheme,  # type: ignore[arg-type]
                has_touch=width < 800,
                permissions=["camera"],
            )
            contexts.append(context)
            context.route("**/*", lambda route: _guard(route, url, complaints))
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"error in the page: {error}"))
        page.on("websocket", lambda socket: _watch_socket(socket, url, complaints))
        if not may_lose:
            page.on("console", lambda message: _listen(message, complaints))
        page.goto(url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def open_quickly(open_page: OpenPage, studio_url: str) -> OpenPage:
    """Opens a page at a project of the sample, found the quick way, perhaps with an edit; options as of `open_page`."""

    def open_one(edits: tuple[dict[str, Any], ...] = (), **options: Any) -> Page:
        page = open_page(studio_url, **options)
        page.locator(".sample").first.wait_for()
        post = page.request.post
        photo = post(f"{studio_url}/api/photos?sample=portrait").json()["id"]
        body = {"photo": photo, "faces": [1], "fidelity": 0.0, "name": "Portrait"}
        project = post(f"{studio_url}/api/projects", data=body).json()
        if edits:
            step = {"parent": project["current"], "label": "Edits", "recipe": {"edits": list(edits)}}
            assert post(f"{studio_url}/api/projects/{project['id']}/steps", data=step).ok
        page.goto(f"{studio_url}/#/project/{project['id']}")
        page.locator(".editor:not(.waiting)").wait_for()
        return page

    return open_one


def _guard(route: Route, url: str, complaints: list[str]) -> None:
    asked = route.request.url
    if asked.startswith("blob:") or _same_place(asked, url, complaints):
        route.fallback()
    else:
        route.abort()


def _watch_socket(socket: WebSocket, url: str, complaints: list[str]) -> None:
    _same_place(socket.url.replace("ws://", "http://", 1), url, complaints)


def _same_place(asked: str, url: str, complaints: list[str]) -> bool:
    origin = "/".join(url.split("/")[:3])
    if asked.startswith(f"{origin}/"):
        return True
    complaints.append(f"a request to elsewhere: {asked}")
    return False


def _listen(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type in ("error", "warning"):
        complaints.append(f"console {message.type}: {message.text} ({message.location.get('url')})")
