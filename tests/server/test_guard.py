from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import httpx
import pytest

from faceloom.server import guard, peers

if TYPE_CHECKING:
    from tests.server.conftest import Running


def _stranger(server: Running) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False)


def test_the_page_gives_a_cookie_that_scripts_and_other_sites_do_not_get(server: Running) -> None:
    with _stranger(server) as client:
        answer = client.get("/")
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert client.get("/api/status").status_code == 200


def test_every_answer_has_the_strict_headers(server: Running) -> None:
    answers = [server.client.get(path) for path in ("/", "/api/status", "/api/nowhere", "/nowhere")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "server" not in answer.headers
    assert [answer.status_code for answer in answers] == [200, 200, 404, 404]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1.evil.example"])
def test_another_host_is_refused(server: Running, host: str) -> None:
    for path in ("/", "/api/status", "/assets/app.js"):
        server.assert_refused(server.client.get(path, headers={"Host": host}), 400, "wrong_host")


def test_localhost_is_the_same_machine(server: Running) -> None:
    answer = server.client.get("/", headers={"Host": f"localhost:{server.port}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_origin_is_refused(server: Running, origin: str) -> None:
    headers = {"Origin": origin.format(port=server.port)}
    server.assert_refused(server.client.post("/api/projects", json={}, headers=headers), 403, "forbidden")
    server.assert_refused(server.client.get("/", headers=headers), 403, "forbidden")


def test_localhost_and_127_are_different_origins(server: Running) -> None:
    headers = {"Origin": f"http://localhost:{server.port}"}
    server.assert_refused(server.client.get("/api/status", headers=headers), 403, "forbidden")


def test_the_own_origin_may_do_everything(server: Running) -> None:
    headers = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.client.get("/api/status", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_of_this_machine_are_refused_though_they_have_the_cookie(server: Running, site: str) -> None:
    headers = {"Sec-Fetch-Site": site}
    server.assert_refused(server.client.get("/api/status", headers=headers), 403, "forbidden")


def test_without_the_cookie_there_is_nothing(server: Running) -> None:
    with _stranger(server) as client:
        for path in ("/api/status", "/api/projects", "/api/openapi.json", "/api/nowhere"):
            server.assert_refused(client.get(path), 403, "forbidden")


@pytest.mark.parametrize("value", ["", "x", "é", '"', "a=b; c", "\x7f"])
def test_a_wrong_cookie_is_refused(server: Running, value: str) -> None:
    with _stranger(server) as client:
        line = f"{guard.cookie_name(server.port)}={value}".encode("latin-1")
        server.assert_refused(client.get("/api/status", headers=[(b"Cookie", line)]), 403, "forbidden")


def test_a_link_on_another_page_gets_no_cookie_and_one_click_more(server: Running) -> None:
    with _stranger(server) as client:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        answer = client.get("/", headers=headers)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
        assert 'href="/"' in answer.text
        assert "set-cookie" not in client.get("/", headers={"Sec-Fetch-Dest": "iframe"}).headers


def test_another_user_of_this_machine_gets_no_cookie(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "is_own_user", lambda client, server: False)
    answer = server.client.get("/")
    server.assert_refused(answer, 403, "forbidden")
    assert "set-cookie" not in answer.headers


def test_who_owns_a_connection_is_read_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = ("127.0.0.1", 40000), ("127.0.0.1", 8000)
    ends = peers._spell(client), peers._spell(server)
    monkeypatch.setattr("os.getuid", lambda: 1000, raising=False)
    for owner, allowed in ((1000, True), (0, True), (1001, False)):
        monkeypatch.setattr(peers, "_rows", lambda owner=owner: {ends: owner})
        assert peers.is_own_user(client, server) is allowed
    monkeypatch.setattr(peers, "_rows", lambda: {ends[::-1]: 1000})  # our end is there, theirs is hidden
    assert not peers.is_own_user(client, server)
    nothing: dict[tuple[str, str], int] | None
    for nothing in ({}, None):
        monkeypatch.setattr(peers, "_rows", lambda nothing=nothing: nothing)
        assert peers.is_own_user(client, server)


def test_a_large_body_is_refused_before_it_is_read(server: Running) -> None:
    body = b"[" + b"1," * guard.MOST_BODY + b"1]"
    server.assert_refused(server.client.post("/api/projects", content=body), 413, "too_large")
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    server.assert_refused(server.client.post("/api/projects", content=pieces), 413, "too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/../studio.sqlite",
        "/assets/../../page.py",
        "/%2e%2e/%2e%2e/page.py",
        "/..%2f..%2fetc%2fpasswd",
        "/assets/%00",
        "//etc/passwd",
        "/C:%5Cwindows",
        "/" + "a" * 5000,
        "/api/../page.py",
        "/api/photos/../../x",
    ],
)
def test_no_path_leaves_the_folder_of_the_page(server: Running, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)  # sends paths as they are
    try:
        connection.request("GET", path, headers={"Cookie": server.cookie})
        answer = connection.getresponse()
        assert answer.status == 404, answer.read()
        assert b"not_found" in answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["PUT", "TRACE", "OPTIONS", "PROPFIND"])
def test_methods_that_nothing_takes_are_refused(server: Running, method: str) -> None:
    answer = server.client.request(method, "/api/status", headers={"Origin": f"http://127.0.0.1:{server.port}"})
    server.assert_refused(answer, 405, "not_allowed")
