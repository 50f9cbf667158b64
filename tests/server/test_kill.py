"""The studio is killed in the middle of its work, and goes on where it was."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from faceloom.server.store import INTERRUPTED

_MAIN = "from faceloom.cli.main import main; main()"


@contextmanager
def _studio(data: Path) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    command = [sys.executable, "-W", "error", "-c", _MAIN, "studio", "--no-browser", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:[0-9]+/", line)
            assert address, line
            with httpx.Client(base_url=address[0], timeout=120, trust_env=False) as client:
                client.get("/").raise_for_status()
                yield client, process
        finally:
            process.kill()


def _wait(client: httpx.Client, project: str) -> dict[str, Any]:
    for _ in range(1200):
        found: dict[str, Any] = client.get(f"/api/projects/{project}").json()
        if found["state"] != "inverting":
            return found
        time.sleep(0.05)
    raise AssertionError("it took too long")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    recipe = {"model": "default", "edits": [{"direction": "age", "amount": 1.0}]}
    with _studio(data) as (client, process):
        photo = client.post("/api/photos?sample=portrait").json()["id"]
        body = {"photo": photo, "faces": "all", "fidelity": 0.0}
        finished = client.post("/api/projects", json=body).json()["id"]
        root = _wait(client, finished)["current"]
        step = {"parent": root, "label": "Age +1", "recipe": recipe}
        kept = client.post(f"/api/projects/{finished}/steps", json=step).json()
        named = client.patch(f"/api/projects/{finished}", json={"name": "Kept"}).json()
        long = client.post("/api/projects", json={**body, "fidelity": 1.0}).json()["id"]
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL

    with _studio(data) as (client, process):
        assert client.get(f"/api/projects/{finished}").json() == named
        assert kept in named["steps"]
        drawn = client.get(f"/api/projects/{finished}/thumbnail")
        assert drawn.headers["content-type"] == "image/jpeg"
        interrupted = client.get(f"/api/projects/{long}").json()
        assert (interrupted["state"], interrupted["message"]) == ("failed", INTERRUPTED)
        assert client.post(f"/api/projects/{long}/invert", json={"fidelity": 0.0}).status_code == 202
        assert _wait(client, long)["state"] == "ready"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
