from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from faceloom.server.guard import cookie_name
from faceloom.server.serve import listen, make_server
from faceloom.server.studio import Studio, StudioSettings

PATIENCE = 300.0
UPLOAD_BYTES, PIXELS = 3_000_000, 2_000_000
Answer = dict[str, Any]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Running:
    """A studio on a port, a page that has loaded it, and what tests do with them."""

    studio: Studio
    port: int
    client: httpx.Client

    @property
    def cookie(self) -> str:
        name = cookie_name(self.port)
        return f"{name}={self.client.cookies[name]}"

    def live(self, project: str, *, cookie: str | None = None, **headers: str) -> ClientConnection:
        sent = {"Origin": f"http://127.0.0.1:{self.port}", "Cookie": self.cookie if cookie is None else cookie}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        uri = f"ws://127.0.0.1:{self.port}/api/projects/{project}/live"
        origin = Origin(sent.pop("Origin"))
        return connect(uri, additional_headers=sent, origin=origin, compression="deflate", max_size=2**24, proxy=None)

    def add_project(self, photo: str, **entries: Any) -> Answer:
        """A project once its face has been found."""
        body = {"photo": photo, "faces": [1], "fidelity": 0.0, **entries}
        answer = self.client.post("/api/projects", json=body)
        assert answer.status_code == 201, answer.text
        return self.wait_for(answer.json()["id"])

    def wait_for(self, project: str) -> Answer:
        """The project once it is no longer being inverted."""

        def look() -> Answer | None:
            found: Answer = self.client.get(f"/api/projects/{project}").json()
            return None if found["state"] == "inverting" else found

        return self.until(look)

    @staticmethod
    def until(look: Callable[[], _T | None]) -> _T:
        end = time.monotonic() + PATIENCE
        while (found := look()) is None:
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)
        return found

    @contextmanager
    def engine_held(self) -> Iterator[None]:
        """Keep the engine busy while the block runs."""
        begun, free = threading.Event(), threading.Event()

        def hold() -> None:
            begun.set()
            free.wait(PATIENCE)

        self.studio.engine.submit(hold, 0)  # type: ignore[arg-type]
        try:
            assert begun.wait(PATIENCE)
            yield
        finally:
            free.set()

    @staticmethod
    def recipe(**amounts: float) -> Answer:
        edits = [{"direction": name.replace("_", "-"), "amount": amount} for name, amount in amounts.items()]
        return {"model": "default", "edits": edits}

    @staticmethod
    def frame(message: str | bytes) -> tuple[Answer, bytes]:
        """A binary message's header and picture."""
        assert isinstance(message, bytes), message
        (length,) = struct.unpack("<I", message[:4])
        return json.loads(message[4 : 4 + length]), message[4 + length :]

    @classmethod
    def next_frame(cls, socket: ClientConnection) -> tuple[Answer, bytes]:
        """The next binary message; a state may be told again before it."""
        while isinstance(message := socket.recv(timeout=PATIENCE), str):
            assert cls.news(message)["type"] == "state", message
        return cls.frame(message)

    @staticmethod
    def news(message: str | bytes) -> Answer:
        assert isinstance(message, str), "a frame came where news were expected"
        found: Answer = json.loads(message)
        return found

    @staticmethod
    def assert_refused(answer: httpx.Response, status: int, code: str) -> None:
        """It is refused in the one form, in one line."""
        assert answer.status_code == status, answer.text
        body = answer.json()
        assert set(body) == {"error", "message"}
        assert body["error"] == code
        assert body["message"]
        assert "\n" not in body["message"]
        assert answer.headers["content-security-policy"]


@contextmanager
def _running(data: Path, **settings: Any) -> Iterator[Running]:
    options = {"threads": 1, "upload_bytes": UPLOAD_BYTES, "pixels": PIXELS, **settings}
    studio = Studio(StudioSettings(data, **options))
    with listen(0) as socket:
        port = socket.getsockname()[1]
        server = make_server(studio)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]}, daemon=True)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
                assert client.get("/").status_code == 200
                yield Running(studio, port, client)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def start() -> Callable[..., AbstractContextManager[Running]]:
    """Starts a studio of its own on a data folder."""
    return _running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with _running(tmp_path_factory.mktemp("studio") / "data") as found:
        yield found


@pytest.fixture(scope="session")
def photo(server: Running) -> str:
    """The id of a photo with one face."""
    return str(server.client.post("/api/photos?sample=portrait").json()["id"])


@pytest.fixture(scope="session")
def ready(server: Running, photo: str) -> str:
    """The id of a project whose face has been found; tests leave its history alone."""
    found = server.add_project(photo)
    assert found["state"] == "ready", found
    return str(found["id"])
