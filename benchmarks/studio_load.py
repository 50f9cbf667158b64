"""Let many clients, most of them rude, at a studio, and count what it answers.

    python benchmarks/studio_load.py --clients 20 --seconds 120

It starts `faceloom studio` with a folder of its own, makes one project, and lets the clients at it over the loopback:
they move sliders (some reading slowly, some not at all), export, break off uploads, send too much, claim another Host
or Origin, come without the cookie, send bad pictures, garbled messages, and try path tricks in every id. It prints how
often each kind of client got each status, and the memory of the server before, during and after. It exits with 1 if
anything was answered 500 or above, if a rude request was let through, or if the memory has grown by more than --growth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TRICKS = (
    "..",
    "%2e%2e%2f%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "0" * 16,
    "x" * 300,
    "CON",
    "a;b",
    "'%20OR%201=1",
    "\u202e",
)
WARM_SECONDS = 10.0


@dataclass
class Studio:
    """The server under test, and what it has answered so far."""

    port: int
    process: int
    cookie: str
    project: str = ""
    photo: str = ""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    let_through: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def note(self, kind: str, outcome: int | str, allowed: tuple[int, ...] = ()) -> None:
        """Count an outcome; where `allowed` is given, any other status is a finding."""
        self.counts[kind, str(outcome)] += 1
        if allowed and outcome not in allowed:
            self.let_through.append(f"{kind}: {outcome}")

    def memory(self) -> float:
        """Resident memory of the server in MB."""
        text = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+)", text)
        assert found is not None
        return int(found[1]) / 1024


def _recipe(random_: random.Random) -> dict[str, Any]:
    amount = round(random_.uniform(-1.5, 2.0), 2)
    return {"model": "default", "edits": [{"direction": "age", "amount": amount}]}


async def move_sliders(studio: Studio, client: httpx.AsyncClient, dice: random.Random, *, pause: float = 0.0) -> None:
    """A person with a slider; one that reads slowly where there is a pause."""
    kind = "slider, slow reader" if pause else "slider"
    uri = f"ws://127.0.0.1:{studio.port}/api/projects/{studio.project}/live"
    async with connect(uri, additional_headers={"Cookie": studio.cookie}, proxy=None, max_queue=1) as socket:
        await socket.recv()
        for number in range(1, 16):
            began = time.perf_counter()
            for extra in range(3):  # faster than anyone can draw
                message = {"type": "render", "number": 3 * number + extra, "recipe": _recipe(dice), "side": 960}
                await socket.send(json.dumps(message))
            answer = await asyncio.wait_for(socket.recv(), 60)
            studio.note(kind, "frame" if isinstance(answer, bytes) else "news")
            if not pause:
                studio.milliseconds.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(pause)


async def read_nothing(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Ask for whole pictures on a raw connection, and read none of them."""
    _, writer = await asyncio.open_connection("127.0.0.1", studio.port, limit=1024)
    head = (
        f"POST /api/projects/{studio.project}/export HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\n"
        f"Cookie: {studio.cookie}\r\nContent-Type: application/json\r\n"
    )
    body = json.dumps({"recipe": _recipe(dice), "format": "png"})
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    await writer.drain()
    await asyncio.sleep(dice.uniform(1, 4))
    writer.transport.abort()
    studio.note("export, never read", "left")


async def export(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Someone who saves."""
    body = {"recipe": _recipe(dice), "format": dice.choice(["png", "jpeg", "webp", "pair", "recipe"])}
    answer = await client.post(f"/api/projects/{studio.project}/export", json=body)
    studio.note("export", answer.status_code, (200, 429))


async def look(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Someone who looks around."""
    paths = ("/", "/api/status", "/api/projects", f"/api/projects/{studio.project}/thumbnail", "/api/samples")
    answer = await client.get(dice.choice(paths))
    studio.note("look around", answer.status_code, (200, 429))


async def strip(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Someone who hovers."""
    body = {"recipe": _recipe(dice), "direction": "age", "cells": 5, "size": 64}
    answer = await client.post(f"/api/projects/{studio.project}/strip", json=body)
    studio.note("strip", answer.status_code, (200, 429))


async def keep_history(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Someone who begins, edits and throws away."""
    begun = await client.post("/api/projects", json={"photo": studio.photo, "faces": [1], "fidelity": 0.0})
    studio.note("new project", begun.status_code, (201, 429))
    if begun.status_code != 201:
        return
    project = begun.json()
    path = f"/api/projects/{project['id']}"
    step = {"parent": project["current"], "label": "Age", "recipe": _recipe(dice)}
    studio.note("new step", (await client.post(f"{path}/steps", json=step)).status_code, (201,))
    if dice.random() < 0.5:
        studio.note("cancel", (await client.post(f"{path}/cancel")).status_code, (202, 409))
    studio.note("delete project", (await client.delete(path)).status_code, (204, 429))


async def break_off_upload(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """A connection that is lost."""
    _, writer = await asyncio.open_connection("127.0.0.1", studio.port)
    head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nCookie: {studio.cookie}\r\n"
    writer.write(f"{head}Content-Length: 5000000\r\n\r\n".encode() + dice.randbytes(300_000))
    await asyncio.sleep(dice.uniform(0, 0.5))
    writer.transport.abort()
    studio.note("upload, broken off", "left")


async def send_bad_photo(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """What is no photo, or only half of one."""
    whole = (EXAMPLES / "portrait.jpg").read_bytes()
    content = dice.choice(
        [b"", dice.randbytes(5000), whole[: dice.randrange(100, 9000)], b"\x89PNG\r\n\x1a\n" + bytes(64)]
    )
    answer = await client.post("/api/photos", content=content)
    studio.note("upload, bad", answer.status_code, (400, 422, 429))


async def send_too_much(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """More than is taken, announced or not."""
    if dice.random() < 0.5:
        answer = await client.post("/api/projects", content=bytes(3_000_000))
        studio.note("JSON, too large", answer.status_code, (413,))
        return
    _, writer = await asyncio.open_connection("127.0.0.1", studio.port)
    head = f"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nCookie: {studio.cookie}\r\n"
    writer.write(f"{head}Content-Length: 99999999999\r\n\r\n".encode())
    await asyncio.sleep(dice.uniform(0, 1))
    writer.transport.abort()
    studio.note("upload, too large", "left")


async def claim_another_host(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """A hostile name that points at this machine."""
    answer = await client.get(
        "/api/status", headers={"Host": dice.choice(["evil.example", "localhost", "127.0.0.1:1"])}
    )
    studio.note("wrong Host", answer.status_code, (400,))


async def claim_another_origin(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Another page, by HTTP and by websocket."""
    origin = dice.choice(["http://evil.example", "null", "http://127.0.0.1:1"])
    answer = await client.post("/api/projects", json={}, headers={"Origin": origin})
    studio.note("wrong Origin", answer.status_code, (403,))
    uri = f"ws://127.0.0.1:{studio.port}/api/projects/{studio.project}/live"
    try:
        async with connect(uri, origin=origin, additional_headers={"Cookie": studio.cookie}, proxy=None):  # type: ignore[arg-type]
            studio.note("wrong Origin, websocket", "let in", (403,))
    except InvalidStatus as error:
        studio.note("wrong Origin, websocket", error.response.status_code, (403,))


async def come_without_cookie(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Nobody we know."""
    answer = await client.get("/api/projects", headers={"Cookie": "faceloom=guess"})
    studio.note("no cookie", answer.status_code, (403,))


async def try_paths(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Path tricks in every id."""
    trick = dice.choice(TRICKS)
    calls = (
        ("GET", f"/api/photos/{trick}"),
        ("GET", f"/api/photos/{trick}/image"),
        ("GET", f"/api/projects/{trick}"),
        ("PATCH", f"/api/projects/{trick}"),
        ("DELETE", f"/api/projects/{trick}"),
        ("GET", f"/api/projects/{trick}/thumbnail"),
        ("POST", f"/api/projects/{trick}/export"),
        ("GET", f"/api/samples/{trick}"),
        ("GET", f"/api/jobs/{trick}"),
        ("GET", f"/assets/{trick}"),
        ("GET", f"/{trick}/{trick}"),
    )
    method, path = dice.choice(calls)
    # As it is: the client would tidy up the dots.
    target = {"target": path.encode("ascii", "ignore")}
    body = {"recipe": {}, "format": "png"} if method == "POST" else None
    answer = await client.request(method, "/api/x", json=body, extensions=target)
    studio.note("path trick", answer.status_code, (404, 405, 422))


async def garble(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """Nonsense on a websocket."""
    uri = f"ws://127.0.0.1:{studio.port}/api/projects/{studio.project}/live"
    try:
        async with connect(uri, additional_headers={"Cookie": studio.cookie}, proxy=None) as socket:
            await socket.recv()
            await socket.send(
                dice.choice(["{", "[]", "[" * 9000, '{"type":"render","number":-1}', b"\0" * 99, "x" * 150_000])
            )
            answer = await asyncio.wait_for(socket.recv(), 60)
            studio.note("garbled message", "told" if isinstance(answer, str) else "frame")
    except ConnectionClosed as error:
        studio.note("garbled message", f"closed {error.rcvd.code if error.rcvd else '?'}")


async def read_slowly(studio: Studio, client: httpx.AsyncClient, dice: random.Random) -> None:
    """A slider and a slow line."""
    await move_sliders(studio, client, dice, pause=0.3)


Deed = Callable[[Studio, httpx.AsyncClient, random.Random], Awaitable[None]]
DEEDS: tuple[Deed, ...] = (
    move_sliders,
    read_slowly,
    read_nothing,
    export,
    look,
    strip,
    keep_history,
    break_off_upload,
    send_bad_photo,
    send_too_much,
    claim_another_host,
    claim_another_origin,
    come_without_cookie,
    try_paths,
    garble,
)


async def _client(studio: Studio, seed: int, until: float) -> None:
    dice = random.Random(f"{seed} {until}")
    async with httpx.AsyncClient(
        base_url=studio.url, headers={"Cookie": studio.cookie}, timeout=120, trust_env=False
    ) as client:
        while time.monotonic() < until:
            deed = dice.choice(DEEDS)
            try:
                await deed(studio, client, dice)
            except (httpx.HTTPError, ConnectionError, ConnectionClosed, TimeoutError) as error:
                studio.note(deed.__name__.replace("_", " "), type(error).__name__)


async def _storm(studio: Studio, clients: int, seconds: float) -> list[float]:
    """Let the clients at it; returns the server's memory, once a second."""
    until = time.monotonic() + seconds
    tasks = [asyncio.create_task(_client(studio, seed, until)) for seed in range(clients)]
    memory = []
    while not all(task.done() for task in tasks):
        memory.append(studio.memory())
        await asyncio.sleep(1.0)
    await asyncio.gather(*tasks)
    return memory


def _begin(client: httpx.Client, studio: Studio) -> None:
    studio.photo = client.post("/api/photos?sample=portrait").raise_for_status().json()["id"]
    body = {"photo": studio.photo, "faces": [1], "fidelity": 0.0}
    studio.project = client.post("/api/projects", json=body).raise_for_status().json()["id"]
    while client.get(f"/api/projects/{studio.project}").json()["state"] == "inverting":
        time.sleep(0.1)


def _report(studio: Studio, memory: list[float], before: float, after: float) -> None:
    kinds = sorted({kind for kind, _ in studio.counts})
    print(f"{'kind of client':<26}outcomes")
    for kind in kinds:
        found = sorted((outcome, count) for (name, outcome), count in studio.counts.items() if name == kind)
        print(f"{kind:<26}" + "  ".join(f"{outcome}: {count}" for outcome, count in found))
    waits = sorted(studio.milliseconds)
    if waits:
        middle, late = waits[len(waits) // 2], waits[int(len(waits) * 0.95)]
        print(f"slider to frame among all this: median {middle:.0f} ms, p95 {late:.0f} ms, {len(waits)} frames")
    print(f"memory: {before:.0f} MB warm, at most {max(memory):.0f} MB, {after:.0f} MB after")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--growth", type=float, default=100.0, help="MB of memory that the storm may add")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = "from faceloom.cli.main import main; main()"
        command = [sys.executable, "-c", start, "studio", "--no-browser", "--data", str(Path(folder) / "data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                port = int(process.stdout.readline().split("127.0.0.1:")[1].split("/")[0])
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
                    client.get("/").raise_for_status()
                    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
                    studio = Studio(port, process.pid, cookie)
                    _begin(client, studio)
                    # Caches and the allocator fill up first; only what comes on top of that is a leak.
                    asyncio.run(_storm(studio, options.clients, WARM_SECONDS))
                    before = studio.memory()
                    memory = asyncio.run(_storm(studio, options.clients, options.seconds))
                    time.sleep(2)
                    after = studio.memory()
                    studio.note("afterwards", client.get("/api/status").status_code, (200,))
            finally:
                process.terminate()
    _report(studio, memory, before, after)
    failures = [f"{kind}: {outcome}" for kind, outcome in studio.counts if outcome.isdigit() and int(outcome) >= 500]
    failures += sorted(set(studio.let_through))
    if after - before > options.growth:
        failures.append(f"memory grew by {after - before:.0f} MB")
    print("failures: " + ("; ".join(failures) or "none"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
