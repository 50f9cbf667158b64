from __future__ import annotations

import io
import socket
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from faceloom.server.uploads import display_name

if TYPE_CHECKING:
    from tests.server.conftest import Running

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
BAD_IDS = ["0", "..", "../../etc/passwd", "%2e%2e%2f", "ABCDEF0123456789", "0123456789abcdef0", "0123456789abcde\n"]


def _png(width: int, height: int) -> bytes:
    """The header of a PNG, and hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_an_upload_comes_back_with_its_faces(server: Running) -> None:
    name = "Grand-mère 📷.jpg"
    content = (EXAMPLES / "portrait.jpg").read_bytes()
    answer = server.client.post("/api/photos", content=content, headers={"X-File-Name": quote(name)})
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found["name"] == name
    assert (found["width"], found["height"]) == (250, 250)
    assert [face["index"] for face in found["faces"]] == [1]
    left, top, right, bottom = found["faces"][0]["box"]
    assert 0 < left < right < 250
    assert 0 < top < bottom < 250
    assert server.client.get(f"/api/photos/{found['id']}").json() == found


def test_a_photo_can_be_looked_at_in_any_size(server: Running, photo: str) -> None:
    for side, expected in ((1600, 250), (100, 100)):
        answer = server.client.get(f"/api/photos/{photo}/image?side={side}")
        assert answer.headers["content-type"] == "image/jpeg"
        assert max(Image.open(io.BytesIO(answer.content)).size) == expected


def test_samples_are_listed_shown_and_used(server: Running) -> None:
    samples = server.client.get("/api/samples").json()
    assert [one["name"] for one in samples] == ["portrait", "beard", "distant"]
    for one in samples:
        answer = server.client.get(f"/api/samples/{one['name']}")
        assert Image.open(io.BytesIO(answer.content)).size == (one["width"], one["height"])
    server.assert_refused(server.client.get("/api/samples/nobody"), 404, "not_found")
    server.assert_refused(server.client.post("/api/photos?sample=nobody"), 404, "not_found")
    server.assert_refused(server.client.post("/api/photos?sample=../x"), 422, "invalid")


def test_a_large_upload_is_refused_with_and_without_a_length(server: Running) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)

    server.assert_refused(server.client.post("/api/photos", content=bytes(3_000_001)), 413, "too_large")
    server.assert_refused(server.client.post("/api/photos", content=pieces()), 413, "too_large")


@pytest.mark.parametrize(
    ("content", "status", "code", "words"),
    [
        (b"", 400, "empty", "empty"),
        (b"not a picture at all", 422, "bad_photo", "'photo' is not a picture"),
        (_png(30_000, 30_000), 422, "photo_size", "30000×30000"),
        (_png(500, 500), 422, "bad_photo", "damaged"),
        ((EXAMPLES / "portrait.jpg").read_bytes()[:9000], 422, "bad_photo", "damaged"),
        (_png(8, 8), 422, "photo_size", "too small"),
    ],
)
def test_what_is_no_photo_is_refused(server: Running, content: bytes, status: int, code: str, words: str) -> None:
    answer = server.client.post("/api/photos", content=content)
    server.assert_refused(answer, status, code)
    assert words in answer.json()["message"]
    assert str(server.studio.settings.data) not in answer.json()["message"]


def test_a_photo_without_a_face_is_refused(server: Running) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(buffer, "PNG")
    server.assert_refused(server.client.post("/api/photos", content=buffer.getvalue()), 422, "no_face")


def test_nothing_is_left_of_refused_and_broken_uploads(server: Running) -> None:
    incoming = server.studio.uploads.folder
    photos = set((server.studio.settings.data / "photos").iterdir())
    head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {server.cookie}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + bytes(300_000))
        server.until(lambda: any(incoming.iterdir()) or None)
    server.until(lambda: not any(incoming.iterdir()) or None)
    assert set((server.studio.settings.data / "photos").iterdir()) == photos


@pytest.mark.parametrize("bad", BAD_IDS)
def test_ids_are_checked_before_they_are_looked_up(server: Running, bad: str) -> None:
    answer = server.client.get(f"/api/photos/{quote(bad, safe='%')}")
    assert answer.status_code in (404, 422)
    server.assert_refused(server.client.get(f"/api/photos/{'0' * 16}"), 404, "not_found")
    server.assert_refused(server.client.get(f"/api/photos/{'0' * 16}/image"), 404, "not_found")


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("photo.jpg", "photo.jpg"),
        ("..%2F..%2Fetc%2Fpasswd", "passwd"),
        ("C%3A%5CUsers%5Cme.png", "me.png"),
        ("a%0Ab%00c", "abc"),
        ("%FF%FE", "\ufffd\ufffd"),
        ("", "photo"),
        ("x" * 900, "x" * 200),
    ],
)
def test_a_name_is_one_line_without_folders(encoded: str, name: str) -> None:
    assert display_name(encoded) == name
