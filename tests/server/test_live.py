from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection

from faceloom.editor import Editor
from faceloom.generators.cache import Cancelled
from faceloom.recipe import Recipe
from faceloom.server import live
from faceloom.server.live import Connection
from faceloom.server.schemas import LiveFull, LiveRender
from faceloom.types import Render

if TYPE_CHECKING:
    from tests.server.conftest import Running


def _render(number: int, recipe: Any, side: int = 128, kind: str = "render") -> str:
    message = {"type": kind, "number": number, "recipe": recipe}
    return json.dumps(message if kind == "full" else {**message, "side": side})


def test_a_preview_then_the_whole(server: Running, ready: str) -> None:
    with server.live(ready) as socket:
        assert server.news(socket.recv()) == {"type": "state", "state": "ready", "message": ""}
        socket.send(_render(1, server.recipe(age=1.0)))
        header, picture = server.next_frame(socket)
        assert (header["number"], header["kind"], header["width"], header["height"]) == (1, "preview", 128, 128)
        assert header["ms"] > 0
        assert Image.open(io.BytesIO(picture)).size == (128, 128)
        socket.send(_render(2, server.recipe(age=1.0), kind="full"))
        header, picture = server.next_frame(socket)
        assert (header["number"], header["kind"], header["width"]) == (2, "full", 250)
        assert Image.open(io.BytesIO(picture)).size == (250, 250)
        assert socket.protocol.extensions == []  # offered, and not taken: frames are compressed already


def test_the_newest_wins_and_stale_ones_are_dropped(server: Running, ready: str) -> None:
    with server.live(ready) as socket:
        server.news(socket.recv())
        with server.engine_held():
            for number in range(1, 31):
                socket.send(_render(number, server.recipe(age=number / 20)))
            socket.send(_render(12, server.recipe()))  # late, and older than what waits
            socket.send(_render(31, server.recipe(age=1.5), kind="full"))
            (connection,) = server.studio.hub._connections[ready]
            server.until(lambda: "full" in connection.wanted or None)
        preview, whole = server.next_frame(socket)[0], server.next_frame(socket)[0]
        assert (preview["number"], preview["kind"]) == (30, "preview")
        assert (whole["number"], whole["kind"]) == (31, "full")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.3)


def test_a_full_render_gives_way_to_what_is_newer(server: Running, ready: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, asked = threading.Event(), Editor.render

    def render(self: Editor, recipe: Recipe, *, cancelled: Callable[[], bool] | None = None) -> Render:
        if not self._quick and cancelled is not None:
            begun.set()
            server.until(lambda: cancelled() or None)
        return asked(self, recipe, cancelled=cancelled)

    with server.live(ready) as socket:
        server.news(socket.recv())
        with monkeypatch.context() as patched:
            patched.setattr(Editor, "render", render)
            socket.send(_render(1, server.recipe(age=1.25), kind="full"))
            assert begun.wait(60)
            socket.send(_render(2, server.recipe(age=1.75)))
            header, _ = server.next_frame(socket)
        assert (header["number"], header["kind"]) == (2, "preview")
        socket.send(_render(3, server.recipe(age=1.75), kind="full"))
        assert server.next_frame(socket)[0]["number"] == 3


def test_nothing_more_is_drawn_for_a_page_that_left(
    server: Running, ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, given_up = threading.Event(), threading.Event()

    def render(self: Editor, recipe: Recipe, *, cancelled: Callable[[], bool]) -> Render:
        begun.set()
        server.until(lambda: cancelled() or None)
        given_up.set()
        raise Cancelled

    with monkeypatch.context() as patched, server.live(ready) as socket:
        patched.setattr(Editor, "render", render)
        server.news(socket.recv())
        socket.send(_render(1, server.recipe(age=0.75)))
        assert begun.wait(60)
        socket.close()
        assert given_up.wait(60)


def test_what_is_stale() -> None:
    async def run() -> None:
        connection = Connection()
        full, preview = LiveFull(type="full", number=4, recipe={}), LiveRender(type="render", number=4, recipe={})  # type: ignore[arg-type]
        assert not connection.is_stale(full)
        connection.want(LiveRender(type="render", number=3, recipe={}))  # type: ignore[arg-type]
        assert not connection.is_stale(full)
        connection.want(LiveRender(type="render", number=5, recipe={}))  # type: ignore[arg-type]
        assert connection.is_stale(full)
        assert not connection.is_stale(preview), "or there would be no picture while a slider moves"
        connection.closing = live.GONE
        assert connection.is_stale(preview)

    asyncio.run(run())


def test_an_edit_changes_the_picture(server: Running, ready: str) -> None:
    with server.live(ready) as socket:
        server.news(socket.recv())
        pictures = []
        for number, amount in enumerate((0.0, 2.0), 1):
            socket.send(_render(number, server.recipe(age=amount), 256))
            pictures.append(server.next_frame(socket)[1])
        assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("text", "number", "code"),
    [
        ("{", None, "invalid"),
        ("[]", None, "invalid"),
        ('{"type": "dance", "number": 3}', 3, "invalid"),
        ('{"type": "render", "number": 4, "recipe": {"edits": 1}}', 4, "invalid"),
        ('{"type": "render", "number": 5, "recipe": {}, "side": 1e9}', 5, "invalid"),
        (_render(6, {"edits": [{"direction": "wings", "amount": 1}]}), 6, "invalid"),
        (_render(7, {"model": "other"}), 7, "invalid"),
        ("[" * 5000, None, "invalid"),
    ],
)
def test_a_wrong_request_is_told_and_the_connection_lives(
    server: Running, ready: str, text: str, number: int | None, code: str
) -> None:
    with server.live(ready) as socket:
        server.news(socket.recv())
        socket.send(text)
        told = server.news(socket.recv(timeout=60))
        assert (told["type"], told["number"], told["error"]) == ("error", number, code)
        assert "\n" not in told["message"]
        socket.send(_render(9, server.recipe()))
        assert server.next_frame(socket)[0]["number"] == 9


def test_a_project_that_is_not_ready_says_so(server: Running, photo: str) -> None:
    with server.engine_held():
        body = {"photo": photo, "faces": "all", "fidelity": 1.0}
        project = server.client.post("/api/projects", json=body).json()["id"]
        server.client.post(f"/api/projects/{project}/cancel")
    server.wait_for(project)
    with server.live(project) as socket:
        assert server.news(socket.recv())["state"] == "cancelled"
        socket.send(_render(1, server.recipe()))
        assert server.news(socket.recv(timeout=60))["error"] == "not_ready"


def test_an_inversion_is_followed_with_its_picture(server: Running, photo: str) -> None:
    project = server.add_project(photo)["id"]
    kinds: list[str] = []
    frames, done = [], []
    with server.live(project) as socket:
        while server.news(socket.recv())["state"] != "ready":
            pass
        server.client.post(f"/api/projects/{project}/invert", json={"fidelity": 0.2})
        while True:
            message = socket.recv(timeout=60)
            if isinstance(message, bytes):
                header, picture = server.frame(message)
                assert kinds[-1] == "inverting-picture"
                assert (header["kind"], header["number"]) == ("inversion", 0)
                frames.append(Image.open(io.BytesIO(picture)).size)
                continue
            news = server.news(message)
            kinds.append(news["type"])
            if news["type"] == "progress":
                assert news["state"] == "inverting"
                assert 0 < news["done"] <= news["total"]
                assert news["loss"] is None or news["loss"] > 0
                done.append(news["done"])
            if news["type"] == "state" and news["state"] != "inverting" and done:
                break
        assert news["state"] == "ready", news
        assert done
        assert done == sorted(done)
        assert frames


def test_a_preview_is_let_in_during_an_inversion(server: Running, photo: str, ready: str) -> None:
    with server.live(ready) as socket:
        server.news(socket.recv())
        body = {"photo": photo, "faces": "all", "fidelity": 1.0}
        busy = server.client.post("/api/projects", json=body).json()["id"]
        with server.live(busy) as other:
            while '"progress"' not in str(other.recv(timeout=60)):
                pass
            socket.send(_render(1, server.recipe(age=0.5)))
            assert server.next_frame(socket)[0]["number"] == 1
            assert server.client.get(f"/api/projects/{busy}").json()["state"] == "inverting"
        server.client.post(f"/api/projects/{busy}/cancel")
        server.wait_for(busy)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"cookie": ""},
        {"cookie": "faceloom=x"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_strangers_get_no_connection(server: Running, ready: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as caught, server.live(ready, **headers):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("project", ["0" * 16, "x", "%2e%2e"])
def test_a_project_that_is_not_there(server: Running, project: str) -> None:
    with server.live(project) as socket, pytest.raises(ConnectionClosedError) as caught:
        socket.recv(timeout=60)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4404


def _hear_out(socket: ClientConnection) -> None:
    """Receive what was on its way until the connection ends, which raises."""
    while True:
        socket.recv(timeout=60)


def test_a_deleted_project_ends_its_connections(server: Running, photo: str) -> None:
    project = server.add_project(photo)["id"]
    with server.live(project) as socket:
        server.news(socket.recv())
        server.client.delete(f"/api/projects/{project}")
        with pytest.raises(ConnectionClosedError) as caught:
            _hear_out(socket)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == live.GONE
    server.until(lambda: project not in server.studio.hub._connections or None)


def test_two_pages_look_at_one_project(server: Running, ready: str) -> None:
    with server.live(ready) as first, server.live(ready) as second:
        for socket in (first, second):
            server.news(socket.recv())
            socket.send(_render(1, server.recipe(smile=1.0)))
        for socket in (first, second):
            assert server.next_frame(socket)[0]["number"] == 1


def test_binary_and_huge_messages_end_the_connection(server: Running, ready: str) -> None:
    for message in (b"\0" * 10, "x" * 200_000):
        with server.live(ready) as socket:
            server.news(socket.recv())
            socket.send(message)
            with pytest.raises((ConnectionClosedError, ConnectionClosedOK)):
                socket.recv(timeout=60)


def test_a_connection_keeps_one_of_each() -> None:
    async def run() -> None:
        connection = Connection()
        for number in (3, 5, 4):
            connection.want(LiveRender(type="render", number=number, recipe={}))  # type: ignore[arg-type]
        connection.want(LiveFull(type="full", number=1, recipe={}))  # type: ignore[arg-type]
        taken = [connection.take_wanted() for _ in range(3)]
        assert [one and one[0].number for one in taken] == [5, 1, None]
        connection.tell("progress", "old")
        connection.tell("progress", "new")
        connection.tell("state", "state")
        assert connection.take_news() == ["state", "new"]
        assert connection.take_news() == []

    asyncio.run(run())
