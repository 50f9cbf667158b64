from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from faceloom.errors import UsageError
from faceloom.server import page
from faceloom.server.serve import listen

if TYPE_CHECKING:
    from tests.server.conftest import Running


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the page é</p>", encoding="utf-8")
    (folder / "assets" / "app-1a2b.js").write_text("1", encoding="utf-8")
    (folder / "icon.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    monkeypatch.setattr(page, "WEB", folder)
    return folder


def test_the_page_and_its_files_are_served(server: Running, web: Path) -> None:
    answer = server.client.get("/")
    assert answer.text == "<p>the page é</p>"
    assert answer.headers["cache-control"] == "no-store"
    script = server.client.get("/assets/app-1a2b.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "immutable" in script.headers["cache-control"]
    icon = server.client.get("/icon.svg")
    assert icon.headers["content-type"] == "image/svg+xml"
    assert icon.headers["cache-control"] == "no-cache"
    for path in ("/assets/app-0000.js", "/secret.txt", "/assets", "/index.html/", "/..%2fsecret.txt"):
        server.assert_refused(server.client.get(path), 404, "not_found")


def test_without_a_build_the_page_says_how_to_make_one(server: Running, web: Path) -> None:
    (web / "index.html").unlink()
    answer = server.client.get("/")
    assert answer.status_code == 200
    assert "npm run build" in answer.text
    assert "<script" not in answer.text


def test_it_listens_on_the_loopback_alone_and_says_when_a_port_is_taken() -> None:
    with listen(0) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(UsageError, match=f"cannot use port {port}"):
            listen(port)
    with socket.socket() as closed:
        assert closed.connect_ex(("127.0.0.1", port)) != 0
