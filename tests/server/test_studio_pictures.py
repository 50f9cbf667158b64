from __future__ import annotations

import io
import itertools
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from faceloom.avatar import Avatar
from faceloom.editor import Editor
from faceloom.provenance.reading import Statement, read_statement
from faceloom.recipe import Recipe
from faceloom.server import pictures
from faceloom.types import Pixels

if TYPE_CHECKING:
    from tests.server.conftest import Running


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _said(content: bytes, path: Path) -> Statement:
    path.write_bytes(content)
    return read_statement(path)


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


def test_a_look_that_needs_what_was_removed_shows_the_photo(server: Running, photo: str) -> None:
    project = server.add_project(photo)
    path = f"/api/projects/{project['id']}"
    step = {"parent": project["current"], "label": "Wings", "recipe": server.recipe(wings=1.0)}
    assert server.client.post(f"{path}/steps", json=step).status_code == 201
    shown = server.client.get(f"{path}/thumbnail")
    assert shown.status_code == 200
    assert shown.content == server.client.get(f"/api/photos/{photo}/image?side=256").content


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


def test_a_strip_that_nobody_waits_for_is_given_up(
    server: Running, ready: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[None] = []
    draw, left = pictures._face, threading.Event()

    def slowly(editor: Editor, recipe: Recipe, size: int, gone: pictures.Gone) -> Pixels:
        drawn.append(None)
        left.wait(30)
        time.sleep(0.3)  # until the server has seen it
        return draw(editor, recipe, size, gone)

    monkeypatch.setattr(pictures, "_face", slowly)
    path = f"/api/projects/{ready}/strip"
    body = {"recipe": server.recipe(smile=0.7), "direction": "age", "cells": 7, "size": 48}
    with pytest.raises(httpx.ReadTimeout):
        server.client.post(path, json=body, timeout=1.0)
    left.set()
    assert server.client.post(path, json={**body, "cells": 3}).status_code == 200
    assert len(drawn) <= 2 + 3  # not 7 + 3


def test_a_row_of_twins_begins_with_none(server: Running, ready: str) -> None:
    twins = server.client.get("/api/status").json()["twins"]
    answer = server.client.post(f"/api/projects/{ready}/twins", json={"recipe": {}, "size": 48})
    assert answer.status_code == 200, answer.text
    assert _open(answer.content).size == (48 * (1 + len(twins)), 48)


@pytest.mark.parametrize(("form", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_an_export_has_the_size_of_the_photo_and_says_what_was_done(
    server: Running, ready: str, tmp_path: Path, form: str, kind: str
) -> None:
    body = {"recipe": server.recipe(age=1.0), "format": form, "quality": 90}
    answer = server.client.post(f"/api/projects/{ready}/export", json=body)
    assert answer.status_code == 200, answer.text
    picture = _open(answer.content)
    assert (picture.format, picture.size) == (kind, (250, 250))
    assert "attachment" in answer.headers["content-disposition"]
    assert "portrait-faceloom" in answer.headers["content-disposition"]
    assert answer.headers["content-type"] == f"image/{form}"
    assert picture.getexif()[270] == "Edited with AI by Faceloom"
    said = _said(answer.content, tmp_path / f"it.{form}")
    assert (said.mark, said.intact) == (server.client.get("/api/status").json()["provenance"], True)
    assert said.recipe is not None
    assert [(edit.direction, edit.amount) for edit in said.recipe.edits] == [("age", 1.0)]
    silent = server.client.post(f"/api/projects/{ready}/export", json={**body, "provenance": False})
    assert 270 not in _open(silent.content).getexif()
    assert _said(silent.content, tmp_path / f"it.{form}").mark == "none"
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


@pytest.mark.parametrize(("form", "name"), [("pair", "pair.jpg"), ("sticker", "sticker.png"), ("mp4", "film.mp4")])
def test_every_picture_and_film_says_what_was_done(
    server: Running, ready: str, tmp_path: Path, form: str, name: str
) -> None:
    pytest.importorskip("av")
    body = {"recipe": server.recipe(smile=1.5), "format": form}
    path = f"/api/projects/{ready}/export"
    said = _said(server.client.post(path, json=body).content, tmp_path / name)
    assert (said.mark, said.intact) == ("credentials", True)
    assert said.source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert said.recipe is not None
    assert said.recipe.edits[0].direction == "smile"
    silent = server.client.post(path, json={**body, "provenance": False})
    assert _said(silent.content, tmp_path / name).mark == "none"


def test_a_place_in_the_photo_goes_nowhere(server: Running, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)})
    exif[315] = "Erika Mustermann"
    original = io.BytesIO()
    with Image.open(Path(__file__).parents[2] / "examples" / "portrait.jpg") as picture:
        picture.save(original, "JPEG", exif=exif)
    assert b"Mustermann" in original.getvalue()
    sent = server.client.post("/api/photos", content=original.getvalue(), headers={"X-File-Name": "me.jpg"})
    assert sent.status_code == 201, sent.text
    project = server.add_project(sent.json()["id"])["id"]
    for form in ("jpeg", "png", "webp", "pair", "sticker"):
        for provenance in (True, False):
            body = {"recipe": server.recipe(age=1.0), "format": form, "provenance": provenance}
            content = server.client.post(f"/api/projects/{project}/export", json=body).content
            assert not _open(content).getexif().get_ifd(0x8825)
            assert b"Mustermann" not in content
    shown = server.client.get(f"/api/photos/{sent.json()['id']}/image")
    assert shown.status_code == 200
    assert b"Mustermann" not in shown.content


def test_a_name_of_any_kind_becomes_the_name_of_a_file(server: Running, photo: str) -> None:
    project = server.add_project(photo, name='Été "2026"\r\nSet-Cookie: x/..\\📷')["id"]
    answer = server.client.post(f"/api/projects/{project}/export", json={"recipe": {}, "format": "recipe"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "filename*=utf-8''" in answer.headers["content-disposition"].lower()


def test_an_unknown_format_is_refused(server: Running, ready: str) -> None:
    answer = server.client.post(f"/api/projects/{ready}/export", json={"recipe": {}, "format": "exe"})
    server.assert_refused(answer, 422, "invalid")
