from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from faceloom.avatar import Avatar
from faceloom.recipe import Recipe

if TYPE_CHECKING:
    from tests.server.conftest import Running


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_thumbnail_shows_the_current_look(server: Running, photo: str) -> None:
    project = server.add_project(photo)
    path = f"/api/projects/{project['id']}"
    first = server.client.get(f"{path}/thumbnail")
    assert first.headers["content-type"] == "image/jpeg"
    assert max(_open(first.content).size) <= 256
    step = {"parent": project["current"], "label": "Age", "recipe": server.recipe(age=2.0)}
    server.client.post(f"{path}/steps", json=step)
    second = server.client.get(f"{path}/thumbnail").content
    assert second != first.content
    assert server.client.get(f"{path}/thumbnail").content == second
    server.client.patch(path, json={"current": project["current"]})
    assert server.client.get(f"{path}/thumbnail").content == first.content


def test_a_strip_shows_the_range_of_a_direction(server: Running, ready: str) -> None:
    body = {"recipe": server.recipe(smile=1.0), "direction": "age", "cells": 5, "size": 64}
    answer = server.client.post(f"/api/projects/{ready}/strip", json=body)
    assert answer.status_code == 200, answer.text
    strip = np.asarray(_open(answer.content)).astype(int)
    assert strip.shape == (64, 5 * 64, 3)
    cells = np.split(strip, 5, axis=1)
    assert all(np.abs(a - b).mean() > 0.5 for a, b in itertools.pairwise(cells))
    assert np.abs(cells[0] - cells[4]).mean() > np.abs(cells[0] - cells[1]).mean()
    assert server.client.post(f"/api/projects/{ready}/strip", json=body).content == answer.content


def test_a_strip_of_what_is_not_there_is_refused(server: Running, ready: str) -> None:
    path = f"/api/projects/{ready}/strip"
    server.assert_refused(server.client.post(path, json={"recipe": {}, "direction": "wings"}), 422, "invalid")
    for wrong in ({"cells": 1}, {"cells": 1000}, {"size": 5000}, {"direction": ""}):
        body = {"recipe": {}, "direction": "age", **wrong}
        server.assert_refused(server.client.post(path, json=body), 422, "invalid")


def test_a_row_of_twins_begins_with_none(server: Running, ready: str) -> None:
    twins = server.client.get("/api/status").json()["twins"]
    answer = server.client.post(f"/api/projects/{ready}/twins", json={"recipe": {}, "size": 48})
    assert answer.status_code == 200, answer.text
    assert _open(answer.content).size == (48 * (1 + len(twins)), 48)


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_an_export_has_the_size_of_the_photo_and_says_what_was_done(
    server: Running, ready: str, form: str, kind: str
) -> None:
    body = {"recipe": server.recipe(age=1.0), "format": form, "quality": 90}
    answer = server.client.post(f"/api/projects/{ready}/export", json=body)
    assert answer.status_code == 200, answer.text
    picture = _open(answer.content)
    assert (picture.format, picture.size) == (kind, (250, 250))
    assert "attachment" in answer.headers["content-disposition"]
    assert "portrait-faceloom" in answer.headers["content-disposition"]
    assert answer.headers["content-type"] == f"image/{form}"
    note = str(picture.getexif().get(270))
    assert note.startswith("Edited with AI by Faceloom")
    assert Recipe.from_json(note.partition("Recipe: ")[2]).edits[0].direction == "age"
    silent = server.client.post(f"/api/projects/{ready}/export", json={**body, "provenance": False})
    assert 270 not in _open(silent.content).getexif()
    assert not picture.getexif().get_ifd(0x8825)  # no place
    server.until(lambda: not any(server.studio.exports.folder.iterdir()) or None)


def test_a_pair_is_before_and_after(server: Running, ready: str) -> None:
    body = {"recipe": server.recipe(age=2.0), "format": "pair"}
    picture = _open(server.client.post(f"/api/projects/{ready}/export", json=body).content)
    assert picture.width > 2 * 250
    assert picture.height > 250


def test_the_recipe_is_exported_as_text_that_the_command_line_reads(server: Running, ready: str) -> None:
    body: dict[str, Any] = {"recipe": server.recipe(age=1.0, smile=-0.5), "format": "recipe"}
    answer = server.client.post(f"/api/projects/{ready}/export", json=body)
    assert answer.headers["content-type"] == "application/json"
    assert "portrait-faceloom-recipe.json" in answer.headers["content-disposition"]
    recipe = Recipe.from_json(answer.text)
    assert [(edit.direction, edit.amount) for edit in recipe.edits] == [("age", 1.0), ("smile", -0.5)]
    assert json.loads(answer.text)["version"] == 1


def test_a_sticker_is_transparent_around_the_head(server: Running, ready: str) -> None:
    answer = server.client.post(f"/api/projects/{ready}/export", json={"recipe": {}, "format": "sticker"})
    picture = _open(answer.content)
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    opacity = np.asarray(picture)[..., 3]
    assert opacity[0].max() == 0
    assert (opacity == 255).mean() > 0.2


def test_an_avatar_opens_as_the_same_face(server: Running, ready: str, tmp_path: Path) -> None:
    answer = server.client.post(f"/api/projects/{ready}/export", json={"recipe": {}, "format": "avatar"})
    assert "portrait-faceloom.avatar" in answer.headers["content-disposition"]
    path = tmp_path / "me.avatar"
    path.write_bytes(answer.content)
    assert Avatar.load(path).open(server.studio.model()).faces


def test_a_film_goes_from_the_photo_to_the_recipe(server: Running, ready: str, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    body = {"recipe": server.recipe(age=2.5), "format": "mp4"}
    answer = server.client.post(f"/api/projects/{ready}/export", json=body)
    assert answer.headers["content-type"] == "video/mp4"
    path = tmp_path / "film.mp4"
    path.write_bytes(answer.content)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) == 60
    assert frames[0].shape == (250, 250, 3)
    assert np.abs(frames[0] - frames[-1]).mean() > 2 * np.abs(frames[0] - frames[5]).mean()


def test_a_name_of_any_kind_becomes_the_name_of_a_file(server: Running, photo: str) -> None:
    project = server.add_project(photo, name='Été "2026"\r\nSet-Cookie: x/..\\📷')["id"]
    answer = server.client.post(f"/api/projects/{project}/export", json={"recipe": {}, "format": "recipe"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "filename*=utf-8''" in answer.headers["content-disposition"].lower()


def test_an_unknown_format_is_refused(server: Running, ready: str) -> None:
    answer = server.client.post(f"/api/projects/{ready}/export", json={"recipe": {}, "format": "exe"})
    server.assert_refused(answer, 422, "invalid")
