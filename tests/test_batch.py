from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloom.batch import JOURNAL, Job, Outcome, edit_photos, plan
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.imaging.photos import open_photo
from faceloom.model import load_model
from faceloom.presets import find_preset
from faceloom.recipe import Edit, Recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
JOB = Job(Recipe((Edit("smile", 1.0),)), inversion="encoder", provenance=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("portrait.jpg", "beard.jpg"):
        shutil.copy(EXAMPLES / name, folder / name)
    Image.new("RGB", (200, 200), (60, 120, 50)).save(folder / "grass.png")
    (folder / "cut.jpg").write_bytes((EXAMPLES / "portrait.jpg").read_bytes()[:4000])
    (folder / "notes.txt").write_text("not a photo")
    (folder / "within").mkdir()
    return folder


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Callable[..., list[Outcome]]:
    out = tmp_path / "out"

    def call(job: Job = JOB, form: str | None = "png") -> list[Outcome]:
        return list(edit_photos(plan([photos], out, form), out, load_model(), job))

    return call


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.photo.name: outcome.state for outcome in outcomes}


def test_each_photo_is_edited_as_it_would_be_alone(run: Callable[..., list[Outcome]], photos: Path) -> None:
    found = run()
    assert states(found) == {
        "beard.jpg": "edited", "cut.jpg": "failed", "grass.png": "no face", "portrait.jpg": "edited"
    }  # fmt: skip
    alone = Editor.open(photos / "beard.jpg", inverter="encoder").render(JOB.recipe).photo
    assert np.array_equal(open_photo(found[0].output).pixels, alone.pixels)
    assert "cut.jpg" in found[1].message
    assert sorted(path.name for path in found[0].output.parent.iterdir()) == ["beard.png", JOURNAL, "portrait.png"]


def test_what_is_done_is_kept_until_something_changes(run: Callable[..., list[Outcome]], photos: Path) -> None:
    made = run()[0].output.stat().st_mtime_ns
    again = run()
    assert states(again) == {
        "beard.jpg": "kept", "cut.jpg": "failed", "grass.png": "no face", "portrait.jpg": "kept"
    }  # fmt: skip
    assert again[0].output.stat().st_mtime_ns == made
    assert again[0].faces == 1
    shutil.copy(EXAMPLES / "distant.jpg", photos / "beard.jpg")
    again[3].output.unlink()
    assert states(run())["beard.jpg"] == states(run(replace(JOB, quality=90)))["portrait.jpg"] == "edited"
    assert states(run())["portrait.jpg"] == "edited"


def test_an_interrupted_line_is_done_again_and_others_are_not(run: Callable[..., list[Outcome]]) -> None:
    journal = run()[0].output.parent / JOURNAL
    text = journal.read_text()
    journal.write_text(text[:-10])
    found = states(run())
    assert (found["beard.jpg"], found["portrait.jpg"]) == ("kept", "failed"), "its result is there, but who made it?"
    assert all(json.loads(line)["stamp"] for line in journal.read_text().splitlines())


def test_a_strangers_file_stays(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "beard.png").write_bytes(b"mine")
    found = run()
    assert found[0].state == "failed"
    assert "was there before" in found[0].message
    assert (tmp_path / "out" / "beard.png").read_bytes() == b"mine"
    assert found[3].state == "edited"


def test_a_preset_suits_each_face(run: Callable[..., list[Outcome]], photos: Path) -> None:
    preset = find_preset(load_model(), "opposite")
    found = run(replace(JOB, recipe=Recipe(), preset=preset))
    editor = Editor.open(photos / "beard.jpg", inverter="encoder")
    alone = editor.render(preset.recipe_for(editor)).photo
    assert np.array_equal(open_photo(found[0].output).pixels, alone.pixels)


def test_a_format_is_the_photos_own_or_jpeg(photos: Path, tmp_path: Path) -> None:
    (photos / "phone.heic").write_bytes(b"")
    names = [task.output.name for task in plan([photos], tmp_path / "out")]
    assert names == ["beard.jpg", "cut.jpg", "grass.png", "phone.jpg", "portrait.jpg"]
    assert plan([photos, photos / "beard.jpg"], tmp_path / "out") == plan([photos], tmp_path / "out")


def test_plans_that_would_lose_something_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="take the place of a photo"):
        plan([photos], photos)
    shutil.copy(photos / "beard.jpg", photos / "beard.webp")
    with pytest.raises(UsageError, match=r"would both become 'beard.png'"):
        plan([photos], tmp_path / "out", "png")
    with pytest.raises(UsageError, match="there are no photos in"):
        plan([photos / "within"], tmp_path / "out")
    with pytest.raises(UsageError, match="name the photos"):
        plan([], tmp_path / "out")


def test_what_concerns_all_photos_stops_before_the_first(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such"):
        run(replace(JOB, recipe=Recipe((Edit("no-such", 1.0),))))
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / JOURNAL).write_text('{"a": 1}\n')
    with pytest.raises(UsageError, match="is no journal of a batch"):
        run()
    assert os.listdir(tmp_path / "out") == [JOURNAL]
