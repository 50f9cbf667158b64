from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from faceloom import collection
from faceloom.checkpoints import native
from faceloom.checkpoints.catalog import RemoteFile
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.model import forget_models
from faceloom.server import workshop as module
from faceloom.server.jobs import Jobs, Running
from faceloom.server.refusals import Refusal
from faceloom.server.schemas import Job
from faceloom.server.workshop import _MAIN

if TYPE_CHECKING:
    from tests.server.conftest import Answer
    from tests.server.conftest import Running as Server

NOBODY = "0" * 16


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    """The folder of data is another one in each test."""
    forget_models()
    yield
    forget_models()


def _finished(server: Server, answer: Any) -> Answer:
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "queued"

    def look() -> Answer | None:
        found: Answer = server.client.get(f"/api/jobs/{answer.json()['id']}").json()
        return found if found["state"] in ("done", "failed", "cancelled") else None

    return server.until(look)


def test_a_direction_is_found_seen_named_used_and_forgotten(server: Server, ready: str) -> None:
    client = server.client
    job = _finished(server, client.post("/api/discover", json={"count": 3}))
    assert job["state"] == "done", job["message"]
    assert job["result"]["count"] == 3
    path = f"/api/jobs/{job['id']}"
    pictures = [client.get(f"{path}/picture/{number}") for number in range(3)]
    assert all(picture.headers["content-type"] == "image/jpeg" for picture in pictures)
    width, height = Image.open(io.BytesIO(pictures[0].content)).size
    assert width == 7 * height
    assert len({picture.content for picture in pictures}) == 3
    server.assert_refused(client.get(f"{path}/picture/3"), 404, "not_found")

    for index, name in ((1, "hair-volume"), (2, "other")):
        status = client.post(f"{path}/name", json={"index": index, "name": name}).json()
        assert name in [one["name"] for one in status["directions"]]
    renamed = client.post(f"{path}/name", json={"index": 2, "name": "Größere Augen"}).json()
    assert "grossere-augen" in [one["name"] for one in renamed["directions"]]
    client.delete("/api/directions/grossere-augen")
    server.assert_refused(client.post(f"{path}/name", json={"index": 2, "name": "!?"}), 422, "invalid")
    body = {"recipe": {}, "direction": "hair-volume", "cells": 3, "size": 32}
    assert client.post(f"/api/projects/{ready}/strip", json=body).status_code == 200
    server.assert_refused(client.post(f"{path}/name", json={"index": 0, "name": "age"}), 422, "bad_direction")
    server.assert_refused(client.post(f"{path}/name", json={"index": 9, "name": "x"}), 404, "not_found")
    status = client.delete("/api/directions/hair-volume").json()
    names = [one["name"] for one in status["directions"]]
    assert "hair-volume" not in names
    assert "other" in names
    server.assert_refused(client.delete("/api/directions/hair-volume"), 404, "not_found")
    client.delete("/api/directions/other")


def test_jobs_that_are_not_there(server: Server) -> None:
    server.assert_refused(server.client.post("/api/discover", json={"count": 0}), 422, "invalid")
    server.assert_refused(server.client.get(f"/api/jobs/{NOBODY}"), 404, "not_found")
    server.assert_refused(server.client.get(f"/api/jobs/{NOBODY}/picture/0"), 404, "not_found")
    server.assert_refused(server.client.post(f"/api/jobs/{NOBODY}/cancel"), 404, "not_found")
    server.assert_refused(
        server.client.post(f"/api/jobs/{NOBODY}/name", json={"index": 0, "name": "x"}), 404, "not_found"
    )


def test_models_are_listed_with_size_and_licence(server: Server) -> None:
    models = server.client.get("/api/models").json()
    assert models[0]["id"] == "default"
    assert (models[0]["installed"], models[0]["current"]) == (True, True)
    card = (Path(__file__).parents[2] / "src" / "faceloom" / "assets" / "default" / "MODEL_CARD.md").read_text()
    assert models[0]["licence"] in card.partition("## Terms")[2].partition("##")[0]
    assert models[0]["size"] > 5e6
    assert len(models) > 1
    assert all(one["licence"] and one["title"] for one in models)
    other = next(one["id"] for one in models if not one["installed"])
    server.assert_refused(server.client.post(f"/api/models/{other}/use"), 409, "not_installed")
    server.assert_refused(server.client.post("/api/models/nobody/use"), 404, "not_found")
    server.assert_refused(server.client.post("/api/models/nobody/get"), 422, "invalid")
    assert server.client.post("/api/models/..%2f..%2fx/use").status_code in (404, 405)


def test_a_model_is_imported_and_switched_to(server: Server, tmp_path: Path) -> None:
    config = StyleGAN2Config(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels=(8, 8, 8))
    native.save_generator(tmp_path / "tiny.safetensors", StyleGAN2(config))
    content = (tmp_path / "tiny.safetensors").read_bytes()
    job = _finished(
        server, server.client.post("/api/models/import", content=content, headers={"X-File-Name": "Tiny 1.safetensors"})
    )
    assert job["state"] == "done", job["message"]
    name = job["result"]["id"]
    assert name == "tiny-1"
    status = server.client.post(f"/api/models/{name}/use").json()
    assert (status["model"]["id"], status["model"]["resolution"]) == (name, 16)
    listed = {one["id"]: one["current"] for one in server.client.get("/api/models").json()}
    assert listed[name]
    assert server.client.post("/api/models/default/use").json()["model"]["id"] == "default"


def test_an_import_that_is_cancelled_leaves_no_model(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StyleGAN2Config(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels=(8, 8, 8))
    native.save_generator(tmp_path / "tiny.safetensors", StyleGAN2(config))
    content, go, real = (tmp_path / "tiny.safetensors").read_bytes(), threading.Event(), collection.import_file

    def slowly(path: Path) -> Any:
        assert go.wait(60)
        return real(path)

    monkeypatch.setattr(collection, "import_file", slowly)
    answer = server.client.post("/api/models/import", content=content, headers={"X-File-Name": "Tiny.safetensors"})
    server.until(lambda: server.client.get(f"/api/jobs/{answer.json()['id']}").json()["state"] == "running")
    server.client.post(f"/api/jobs/{answer.json()['id']}/cancel")
    go.set()
    assert _finished(server, answer)["state"] == "cancelled"
    assert "tiny" not in {one["id"] for one in server.client.get("/api/models").json()}
    assert not any(server.studio.workshop.folder.iterdir())


@pytest.mark.parametrize("content", [b"no checkpoint", b"\x80\x04cos\nsystem\n(S'true'\ntR."])
def test_what_is_no_model_fails_in_one_line(server: Server, content: bytes) -> None:
    headers = {"X-File-Name": "..%2Fevil.pkl"}
    job = _finished(server, server.client.post("/api/models/import", content=content, headers=headers))
    assert job["state"] == "failed"
    assert job["message"]
    assert "\n" not in job["message"]
    assert not any(server.studio.workshop.folder.iterdir())


def test_a_style_is_learnt_in_a_process_of_its_own(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, commands = server.studio.workshop, []

    def run(command: list[str], running: Running) -> tuple[int, str]:
        commands.append(command)
        picture = Path(command[command.index("learn") + 1])
        assert picture.read_bytes() == b"a painting"
        return (0, "") if len(commands) == 1 else (2, f"faceloom: no face found in {picture.name}: use another")

    monkeypatch.setattr(workshop, "_run", run)
    headers = {"X-Name": "Water%20colour"}
    job = _finished(server, server.client.post("/api/styles", content=b"a painting", headers=headers))
    assert job["result"] == {"twin": "water-colour", "title": "Water colour"}
    assert commands[0][3:5] == ["domain", "learn"]
    assert commands[0][6:] == ["--name", "water-colour", "--title", "Water colour", "--replace", "--model", "default"]
    job = _finished(server, server.client.post("/api/styles", content=b"a painting", headers=headers))
    assert (job["state"], job["message"]) == ("failed", "no face found in Water colour: use another")
    headers = {"X-Name": "%E8%82%96%E5%83%8F"}  # no letter that a name could be made of
    job = _finished(server, server.client.post("/api/styles?steps=3", content=b"a painting", headers=headers))
    assert commands[-1][commands[-1].index("--name") + 1].startswith("style-")
    assert commands[-1][-2:] == ["--steps", "3"]
    server.assert_refused(server.client.post("/api/styles", content=b"x"), 422, "invalid")


def test_the_process_that_learns_tells_its_last_line(server: Server) -> None:
    script = "import sys; print('first', file=sys.stderr); sys.exit('last')"
    assert server.studio.workshop._run([sys.executable, "-c", script], _running()) == (1, "last")


def _running() -> Running:
    return Running(Job(id=NOBODY, kind="style", state="running", done=0, total=1, message=""))


def _process(main: str) -> str:
    """The program of a process that learns, with another thing to do."""
    assert _MAIN.count(_IMPORT) == 1
    return _MAIN.replace(_IMPORT, f"import pathlib, time\ndef main():\n    {main}")


_IMPORT = "from faceloom.cli.main import main"
_TIDIES = """
    try:
        pathlib.Path('begun').touch()
        time.sleep(600)
    finally:
        time.sleep(0.2)
        pathlib.Path('tidy').touch()
"""
_HAS_DONE_IT = """
    import atexit
    atexit.register(lambda: (pathlib.Path('begun').touch(), time.sleep(1)))
"""
_HEARS_NOTHING = """
    pathlib.Path('begun').touch()
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            pass
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes are ended without being asked")
@pytest.mark.parametrize(
    ("main", "succeeds", "tidies"),
    [(_TIDIES, False, True), (_HAS_DONE_IT, True, False), (_HEARS_NOTHING, False, False)],
    ids=["tidies up", "has done it", "hears nothing"],
)
def test_a_process_that_is_cancelled_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str, succeeds: bool, tidies: bool
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 2.0)
    monkeypatch.chdir(tmp_path)
    running, given_up = _running(), time.monotonic() + 60

    def cancel() -> None:
        while not Path("begun").exists() and time.monotonic() < given_up:
            time.sleep(0.01)
        running.cancel()
        running.cancel()  # no harm

    canceller = threading.Thread(target=cancel)
    canceller.start()
    status, _ = server.studio.workshop._run([sys.executable, "-c", _process(main)], running)
    canceller.join()
    assert (status == 0, Path("tidy").exists()) == (succeeds, tidies)


def test_a_process_that_is_cancelled_before_it_begins_ends(server: Server) -> None:
    running = _running()
    running.cancel()
    status, _ = server.studio.workshop._run([sys.executable, "-c", _process("time.sleep(600)")], running)
    assert status != 0


def test_a_studio_that_stops_ends_what_is_learnt_and_what_waits(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = server.studio.workshop
    monkeypatch.setattr(module, "_MAIN", _process("time.sleep(600)"))
    ids = [
        server.client.post("/api/styles", content=b"a painting", headers={"X-Name": name}).json()["id"]
        for name in ("one", "two")
    ]
    server.until(lambda: workshop._process is not None)
    workshop.stop()
    server.until(lambda: {workshop.job(one).state for one in ids} == {"cancelled"})
    assert not any(workshop.folder.iterdir())


def test_what_was_sent_for_a_job_that_is_cancelled_goes_and_makes_room(server: Server) -> None:
    client, workshop, go = server.client, server.studio.workshop, threading.Event()
    workshop.jobs.start("discover", lambda _: {"waited": go.wait(60)})
    requests = (("/api/models/import", {"X-File-Name": "a.pt"}), ("/api/styles", {"X-Name": "a"}))
    for path, headers in requests * 5:  # more than may wait
        answer = client.post(path, content=b"x", headers=headers)
        assert answer.status_code == 202
        assert any(workshop.folder.iterdir())
        assert client.post(f"/api/jobs/{answer.json()['id']}/cancel").json()["state"] == "cancelled"
        assert not any(workshop.folder.iterdir())
    go.set()


def test_jobs_are_cancelled_while_they_wait_or_run_but_not_afterwards(server: Server) -> None:
    client, jobs, steps = server.client, server.studio.workshop.jobs, threading.Semaphore(0)
    told: list[int] = []

    def work(running: Running) -> dict[str, Any]:
        for number in range(100):
            running.tell(number, 100)
            told.append(number)
            assert steps.acquire(timeout=60)
        return {}

    first, second = jobs.start("discover", work), jobs.start("model", work)
    server.until(lambda: bool(told))
    assert client.post(f"/api/jobs/{second.id}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/jobs/{first.id}/cancel").json()["state"] == "running"
    steps.release()
    server.until(lambda: client.get(f"/api/jobs/{first.id}").json()["state"] == "cancelled")
    third = jobs.start("model", lambda running: {"number": 3})
    server.until(lambda: client.get(f"/api/jobs/{third.id}").json()["state"] == "done")
    assert client.post(f"/api/jobs/{third.id}/cancel").json()["result"] == {"number": 3}
    assert client.post(f"/api/jobs/{third.id}/cancel").json()["state"] == "done"
    assert told == [0]
    assert jobs.get(first.id).job.message == ""


def test_a_download_that_is_cancelled_ends_at_its_next_piece(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = []

    def get(name: str, *, watch: Callable[[RemoteFile], Callable[..., None]]) -> None:
        update = watch(RemoteFile("weights.pt", "https://example.org/weights.pt"))
        for piece in range(6000):
            pieces.append(piece)
            update(piece, 6000)
            time.sleep(0.01)

    monkeypatch.setattr(collection, "get", get)
    name = next(one["id"] for one in server.client.get("/api/models").json() if not one["installed"])
    job = server.client.post(f"/api/models/{name}/get").json()
    server.until(lambda: len(pieces) > 2)
    server.client.post(f"/api/jobs/{job['id']}/cancel")
    server.until(lambda: server.client.get(f"/api/jobs/{job['id']}").json()["state"] == "cancelled")
    assert len(pieces) < 6000


def test_jobs_are_bounded() -> None:
    jobs, free = Jobs(), threading.Event()

    def work(running: Running) -> dict[str, Any]:
        free.wait(60)
        running.tell(1, 2, "half")
        return {"number": 7}

    begun = [jobs.start("model", work) for _ in range(4)]
    with pytest.raises(Refusal) as caught:
        jobs.start("model", work)
    assert caught.value.status == 429
    free.set()
    while jobs.get(begun[-1].id).job.state != "done":
        time.sleep(0.01)
    last = jobs.get(begun[-1].id).job
    assert (last.result, last.done, last.total) == ({"number": 7}, 2, 2)


def test_what_is_refused_for_want_of_time_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, go = server.studio.workshop, threading.Event()
    for _ in range(4):
        workshop.jobs.start("discover", lambda _: {"waited": go.wait(60)})
    requests = (("/api/models/import", {"X-File-Name": "a.pt"}), ("/api/styles", {"X-Name": "a"}))
    for checked in (True, False):
        if not checked:  # it filled up while the file came
            monkeypatch.setattr(workshop.jobs, "check_room", lambda: None)
        for path, headers in requests:
            server.assert_refused(server.client.post(path, content=b"x", headers=headers), 429, "busy")
    assert not any(workshop.folder.iterdir())
    go.set()


def test_directions_that_are_kept_at_once_are_all_kept(server: Server) -> None:
    client = server.client
    job = _finished(server, client.post("/api/discover", json={"count": 3}))
    path, names = f"/api/jobs/{job['id']}/name", ("one-more", "studio", "another")

    def keep(index: int) -> None:
        assert client.post(path, json={"index": index, "name": names[index]}).status_code == 200

    threads = [threading.Thread(target=keep, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    offered = {one["name"] for one in client.get("/api/status").json()["directions"]}
    assert set(names) <= offered
    left = {one["name"] for one in client.delete("/api/directions/studio").json()["directions"]}
    assert offered - left == {"studio"}
    server.assert_refused(client.delete("/api/directions/age"), 404, "not_found")


def test_a_project_keeps_the_tools_of_its_model(server: Server, ready: str, tmp_path: Path) -> None:
    config = StyleGAN2Config(resolution=16, z_dim=8, w_dim=8, mapping_layers=2, channels=(8, 8, 8))
    native.save_generator(tmp_path / "tiny.safetensors", StyleGAN2(config))
    content = (tmp_path / "tiny.safetensors").read_bytes()
    client = server.client
    _finished(server, client.post("/api/models/import", content=content, headers={"X-File-Name": "tiny.safetensors"}))
    before = client.get(f"/api/projects/{ready}/tools").json()
    status = client.post("/api/models/tiny/use").json()
    assert {key: status[key] for key in before} != before
    assert before["model"]["id"] == "default"
    assert client.get(f"/api/projects/{ready}/tools").json() == before
    client.post("/api/models/default/use")
    assert {key: client.get("/api/status").json()[key] for key in before} == before
    server.assert_refused(client.get(f"/api/projects/{NOBODY}/tools"), 404, "not_found")
