from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from faceloom.checkpoints import native
from faceloom.recipe import Recipe

if TYPE_CHECKING:
    from tests.server.conftest import Running

NOBODY = "0" * 16


def test_a_project_begins_with_the_original(server: Running, photo: str) -> None:
    body = {"photo": photo, "faces": "all", "fidelity": 0.0, "name": "Me"}
    answer = server.client.post("/api/projects", json=body)
    assert answer.status_code == 201
    begun = answer.json()
    assert begun["state"] in ("inverting", "ready")
    found = server.wait_for(begun["id"])
    assert found["state"] == "ready"
    assert (found["name"], found["faces"], found["fidelity"], found["width"]) == ("Me", "all", 0.0, 250)
    (root,) = found["steps"]
    assert root["parent"] is None
    assert root["label"] == "Original"
    assert root["recipe"]["edits"] == []
    assert found["current"] == root["id"]
    assert begun["id"] in [one["id"] for one in server.client.get("/api/projects").json()]


def test_the_history_is_a_tree_that_one_can_move_in(server: Running, photo: str) -> None:
    project = server.add_project(photo)
    path, root = f"/api/projects/{project['id']}", project["current"]

    def add(parent: str, label: str, **amounts: float) -> str:
        body: dict[str, Any] = {"parent": parent, "label": label, "recipe": server.recipe(**amounts)}
        answer = server.client.post(f"{path}/steps", json=body)
        assert answer.status_code == 201, answer.text
        assert answer.json()["recipe"]["edits"] == body["recipe"]["edits"]
        return str(answer.json()["id"])

    older = add(root, "Age +1", age=1.0)
    both = add(older, "Smile +1", age=1.0, smile=1.0)
    assert server.client.get(path).json()["current"] == both
    undone = server.client.patch(path, json={"current": older}).json()
    assert undone["current"] == older
    branch = add(older, "Gender −1", age=1.0, gender=-1.0)
    found = server.client.get(path).json()
    assert [(step["id"], step["parent"]) for step in found["steps"]] == [
        (root, None),
        (older, root),
        (both, older),
        (branch, older),
    ]
    assert found["current"] == branch
    assert found["changed"] > project["changed"]
    renamed = server.client.patch(path, json={"name": "A 📷 " + "long " * 39}).json()
    assert renamed["name"].startswith("A 📷 long")
    assert server.client.get("/api/projects").json()[0]["id"] == project["id"]


def test_what_makes_no_sense_is_refused(server: Running, photo: str, ready: str) -> None:
    client, path = server.client, f"/api/projects/{ready}"
    root = client.get(path).json()["current"]
    refuse = server.assert_refused
    refuse(client.post("/api/projects", json={"photo": NOBODY, "faces": "all"}), 404, "not_found")
    refuse(client.post("/api/projects", json={"photo": photo, "faces": [9]}), 422, "no_face")
    for body in ({}, {"photo": photo}, {"photo": "../x", "faces": "all"}, {"photo": photo, "faces": []}):
        refuse(client.post("/api/projects", json=body), 422, "invalid")
    refuse(client.post("/api/projects", content=b"{"), 422, "invalid")
    refuse(client.post("/api/projects", content=b'{"photo": NaN}'), 422, "invalid")
    for fidelity in (-0.1, 1.1, "much"):
        refuse(
            client.post("/api/projects", json={"photo": photo, "faces": "all", "fidelity": fidelity}), 422, "invalid"
        )
    step: dict[str, Any] = {"parent": root, "label": "x", "recipe": server.recipe(age=1.0)}
    refuse(client.post(f"{path}/steps", json={**step, "parent": NOBODY}), 404, "not_found")
    refuse(client.post(f"{path}/steps", json={**step, "label": ""}), 422, "invalid")
    refuse(client.post(f"{path}/steps", json={**step, "recipe": server.recipe(age=99.0)}), 422, "invalid")
    refuse(client.post(f"{path}/steps", json={**step, "recipe": {"edits": [], "colour": 1}}), 422, "invalid")
    refuse(client.patch(path, json={"current": NOBODY}), 404, "not_found")
    refuse(client.patch(path, json={"state": "ready"}), 422, "invalid")
    assert client.get(path).json()["current"] == root


@pytest.mark.parametrize("bad", ["..", "%2e%2e", "x", "0123456789ABCDEF", "0123456789abcdef%00", "a" * 400])
def test_a_wrong_id_is_refused_everywhere(server: Running, bad: str) -> None:
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/steps", {}),
        ("POST", "/invert", {"fidelity": 0.5}),
        ("POST", "/cancel", None),
        ("GET", "/thumbnail", None),
        ("POST", "/strip", {"recipe": {}, "direction": "age"}),
        ("POST", "/twins", {"recipe": {}}),
        ("POST", "/export", {"recipe": {}, "format": "png"}),
    ]
    for method, rest, body in calls:
        assert server.client.request(method, f"/api/projects/{bad}{rest}", json=body).status_code in (404, 405, 422)
        if body != {}:
            answer = server.client.request(method, f"/api/projects/{NOBODY}{rest}", json=body)
            server.assert_refused(answer, 404, "not_found")


def test_a_deleted_project_is_gone_with_its_files(server: Running) -> None:
    photo = server.client.post("/api/photos?sample=beard").json()["id"]
    first, second = server.add_project(photo)["id"], server.add_project(photo)["id"]
    data = server.studio.settings.data
    assert (data / "projects" / first).is_dir()
    assert server.client.delete(f"/api/projects/{first}").status_code == 204
    server.assert_refused(server.client.get(f"/api/projects/{first}"), 404, "not_found")
    server.until(lambda: not (data / "projects" / first).exists() or None)
    assert server.client.get(f"/api/photos/{photo}/image").status_code == 200
    assert server.client.delete(f"/api/projects/{second}").status_code == 204
    server.assert_refused(server.client.get(f"/api/photos/{photo}"), 404, "not_found")
    server.until(lambda: not (data / "photos" / photo).exists() or None)


def test_an_inversion_is_cancelled_while_it_waits_and_while_it_runs(server: Running, photo: str) -> None:
    with server.engine_held():
        body = {"photo": photo, "faces": "all", "fidelity": 1.0}
        waiting = server.client.post("/api/projects", json=body).json()["id"]
        server.assert_refused(
            server.client.post(f"/api/projects/{waiting}/invert", json={"fidelity": 0.0}), 409, "busy"
        )
        assert server.client.post(f"/api/projects/{waiting}/cancel").status_code == 202
    assert server.wait_for(waiting)["state"] == "cancelled"
    server.assert_refused(server.client.post(f"/api/projects/{waiting}/cancel"), 409, "not_inverting")

    with server.live(waiting) as socket:
        assert server.news(socket.recv())["state"] == "cancelled"
        assert server.client.post(f"/api/projects/{waiting}/invert", json={"fidelity": 1.0}).status_code == 202
        while (news := socket.recv(timeout=60)) and (isinstance(news, bytes) or '"progress"' not in news):
            pass
        assert server.client.post(f"/api/projects/{waiting}/cancel").status_code == 202
        assert server.wait_for(waiting)["state"] == "cancelled"
    # The thread has survived, and the face can be found after all.
    server.client.post(f"/api/projects/{waiting}/invert", json={"fidelity": 0.0})
    assert server.wait_for(waiting)["state"] == "ready"


def test_a_cancelled_second_inversion_leaves_the_first(server: Running, photo: str) -> None:
    project = server.add_project(photo)["id"]
    before = server.client.get(f"/api/projects/{project}/thumbnail").content
    with server.engine_held():
        again = server.client.post(f"/api/projects/{project}/invert", json={"fidelity": 1.0}).json()
        assert (again["state"], again["fidelity"]) == ("inverting", 1.0)
        server.client.post(f"/api/projects/{project}/cancel")
    found = server.wait_for(project)
    assert (found["state"], found["fidelity"]) == ("ready", 0.0)
    assert server.client.get(f"/api/projects/{project}/thumbnail").content == before


def test_a_tuned_face_comes_back_as_it_was(
    start: Callable[..., AbstractContextManager[Running]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = {"recipe": {"model": "default", "edits": [{"direction": "age", "amount": 1.5}]}, "format": "png"}
    with start(tmp_path / "data") as first:
        photo = first.client.post("/api/photos?sample=portrait").json()["id"]
        project = first.add_project(photo, fidelity=0.26)["id"]
        plain = first.add_project(photo, fidelity=0.0)["id"]
        (file,) = (tmp_path / "data" / "projects" / project).glob("codes-*.safetensors")
        assert any(name.startswith("tuning.0.") for name in native.read(file)[0])
        pictures = [first.client.post(f"/api/projects/{one}/export", json=export).content for one in (project, plain)]
        assert pictures[0] != pictures[1]
    monkeypatch.setattr("faceloom.model.Model.inverter_at", None)  # nothing is inverted anew
    with start(tmp_path / "data") as second:
        assert second.client.get(f"/api/projects/{project}").json()["state"] == "ready"
        again = [second.client.post(f"/api/projects/{one}/export", json=export).content for one in (project, plain)]
    sizes = [Image.open(io.BytesIO(picture)).size for picture in again]
    assert sizes == [(250, 250)] * 2
    for old, new in zip(pictures, again, strict=True):
        assert Image.open(io.BytesIO(old)).tobytes() == Image.open(io.BytesIO(new)).tobytes()


def test_codes_that_are_damaged_or_of_another_model_ask_for_another_inversion(
    start: Callable[..., AbstractContextManager[Running]], tmp_path: Path
) -> None:
    with start(tmp_path / "data") as first:
        photo = first.client.post("/api/photos?sample=portrait").json()["id"]
        damaged, foreign = (first.add_project(photo)["id"] for _ in range(2))
        first.studio.store.finish_inversion(foreign, "codes-0.safetensors", "another")
    (file,) = (tmp_path / "data" / "projects" / damaged).glob("codes-*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with start(tmp_path / "data") as second:
        for project in (damaged, foreign):
            export = {"recipe": {}, "format": "png"}
            answer = second.client.post(f"/api/projects/{project}/export", json=export)
            second.assert_refused(answer, 409, "not_ready")
            found = second.client.get(f"/api/projects/{project}").json()
            assert found["state"] == "failed"
            assert "history is kept" in found["message"]
            second.client.post(f"/api/projects/{project}/invert", json={"fidelity": 0.0})
            assert second.wait_for(project)["state"] == "ready"


def test_two_faces_are_found_kept_and_opened_again(server: Running) -> None:
    with Image.open(Path(__file__).parents[2] / "examples" / "portrait.jpg") as one:
        small = one.resize((400, round(400 * one.height / one.width)))
    both, packed = Image.new("RGB", (800, small.height)), io.BytesIO()
    both.paste(small, (0, 0))
    both.paste(small.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (400, 0))
    both.save(packed, "jpeg", quality=92)
    uploaded = server.client.post("/api/photos", content=packed.getvalue()).json()
    assert len(uploaded["faces"]) == 2
    found = server.add_project(uploaded["id"], faces="all", fidelity=0.3)
    assert found["state"] == "ready", found
    strip = {"recipe": server.recipe(age=1.0), "direction": "smile", "cells": 3, "size": 64}
    path = f"/api/projects/{found['id']}/strip"
    before = server.client.post(path, json=strip)
    assert before.status_code == 200, before.text
    server.studio.openings.close(found["id"])
    opened = server.studio.openings.get(found["id"])
    assert len(opened.editor.faces) == 2
    codes = opened.editor.inversion.codes
    assert codes.shape[0] == len(opened.editor.inversion.tunings) == 2
    assert not codes[0].equal(codes[1])
    assert server.client.post(path, json=strip).status_code == 200


def test_what_is_kept_for_the_next_picture_counts_as_held(server: Running, ready: str) -> None:
    opened = server.studio.openings.get(ready)
    small = opened.scaled(200)
    opened.editor.clear_cache()
    before = opened.bytes
    small.render(Recipe().with_edit("age", 0.5))
    kept = opened.editor.cached_bytes
    assert kept > 100_000
    assert small.cached_bytes == kept
    assert opened.bytes == before + kept


def test_caches_go_before_projects_are_closed(
    start: Callable[..., AbstractContextManager[Running]], tmp_path: Path
) -> None:
    with start(tmp_path / "data") as one:
        photo = one.client.post("/api/photos?sample=portrait").json()["id"]
        first, second = (one.add_project(photo, fidelity=0.0)["id"] for _ in range(2))
        openings = one.studio.openings
        unused = openings.get(first)
        unused.scaled(200).render(Recipe().with_edit("age", 0.5))
        openings.get(second)
        held = sum(opened.bytes for opened in (unused, openings.get(second)))
        openings.most_bytes = held - 1
        openings.get(second)
        assert unused.editor.cached_bytes == 0
        assert openings.get(first) is unused
        openings.most_bytes = 1
        openings.get(second)
        assert openings.get(first) is not unused
