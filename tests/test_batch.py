from __future__ import annotations

import errno
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
from faceloom.faces.detect import detect
from faceloom.imaging.photos import open_photo
from faceloom.model import load_model
from faceloom.presets import find_preset
from faceloom.recipe import Edit, Recipe
from faceloom.types import Face, Photo

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
JOB = Job(Recipe((Edit("smile", 1.0),)), inversion="encoder", provenance=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(EXAMPLES / "beard.jpg", folder)
    Image.new("RGB", (200, 200), (60, 120, 50)).save(folder / "grass.png")
    (folder / "cut.jpg").write_bytes((EXAMPLES / "portrait.jpg").read_bytes()[:4000])
    (folder / "notes.txt").write_text("not a photo")
    (folder / "within").mkdir()
    return folder


@pytest.fixture
def two(photos: Path) -> Path:
    shutil.copy(EXAMPLES / "portrait.jpg", photos)
    return photos


@pytest.fixture
def run(photos: Path, tmp_path: Path) -> Callable[..., list[Outcome]]:
    out = tmp_path / "out"

    def call(job: Job = JOB, form: str | None = "png") -> list[Outcome]:
        return list(edit_photos(plan([photos], out, form), out, load_model(), job))

    return call


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.photo.name: outcome.state for outcome in outcomes}


def test_each_photo_is_edited_as_it_would_be_alone(run: Callable[..., list[Outcome]], two: Path) -> None:
    found = run()
    assert states(found) == {
        "beard.jpg": "edited", "cut.jpg": "failed", "grass.png": "no face", "portrait.jpg": "edited"
    }  # fmt: skip
    alone = Editor.open(two / "beard.jpg", inverter="encoder").render(JOB.recipe).photo
    assert np.array_equal(open_photo(found[0].output).pixels, alone.pixels)
    assert "cut.jpg" in found[1].message
    names = sorted(path.name for path in found[0].output.parent.iterdir() if not path.name.startswith("."))
    assert names == ["beard.png", JOURNAL, "portrait.png"]


def test_what_is_done_is_kept_until_something_changes(run: Callable[..., list[Outcome]], two: Path) -> None:
    made = run()[0].output.stat().st_mtime_ns
    again = run()
    assert states(again) == {
        "beard.jpg": "kept", "cut.jpg": "failed", "grass.png": "no face", "portrait.jpg": "kept"
    }  # fmt: skip
    assert again[0].output.stat().st_mtime_ns == made
    assert again[0].faces == 1
    again[3].output.unlink()
    assert states(run())["portrait.jpg"] == "edited"
    shutil.copy(EXAMPLES / "distant.jpg", two / "beard.jpg")
    assert states(run()) == {
        "beard.jpg": "edited", "cut.jpg": "failed", "grass.png": "no face", "portrait.jpg": "kept"
    }  # fmt: skip
    assert states(run(replace(JOB, recipe=Recipe())))["portrait.jpg"] == "edited"


def test_what_is_interrupted_is_done_again(run: Callable[..., list[Outcome]], two: Path) -> None:
    journal = run()[0].output.parent / JOURNAL
    for whole in (False, True):  # within the line that tells of a result, and before it
        text = journal.read_text()
        journal.write_text(text[: -len(text.splitlines()[-1]) - 1] if whole else text[:-10])
        found = states(run())
        assert (found["beard.jpg"], found["portrait.jpg"]) == ("kept", "edited")
        assert all(json.loads(line)["stamp"] for line in journal.read_text().splitlines())


def test_what_is_interrupted_still_knows_the_result_before(
    run: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = run()[0].output
    younger = replace(JOB, recipe=Recipe().with_edit("age", -1.0))
    with monkeypatch.context() as patch:
        rename = os.replace

        def stopped(draft: Path, place: Path) -> None:
            if place == output:
                raise KeyboardInterrupt
            rename(draft, place)

        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(younger)
    assert not list(output.parent.glob(".faceloom-*.png"))
    output.write_bytes(b"my own")
    found = run(younger)
    assert (found[0].state, output.read_bytes()) == ("failed", b"my own")
    assert "was changed since" in found[0].message


def test_a_result_that_was_destroyed_is_not_called_done(run: Callable[..., list[Outcome]]) -> None:
    output = run()[0].output
    output.write_bytes(b"")
    assert run()[0].state == "failed"
    output.unlink()
    assert run()[0].state == "edited"


def test_a_fault_stops_no_other_photo(run: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **more: object) -> None:
        raise ValueError("of no kind that is known")

    monkeypatch.setattr("faceloom.batch.save_picture", broken)
    found = run()
    assert [one.state for one in found] == ["failed", "failed", "no face"]
    assert "unexpected: ValueError" in found[0].message


@pytest.mark.parametrize("damage", [{"faces": "x"}, {"output": []}, {"size": 1.5}])
def test_a_journal_with_other_values_is_refused(run: Callable[..., list[Outcome]], damage: dict[str, object]) -> None:
    journal = run()[0].output.parent / JOURNAL
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:-1], json.dumps(json.loads(lines[-1]) | damage)]) + "\n")
    with pytest.raises(UsageError, match="of another kind in line"):
        run()


def test_a_photo_that_lost_its_face_gets_its_result_again(run: Callable[..., list[Outcome]], photos: Path) -> None:
    run()
    shutil.copy(photos / "grass.png", photos / "beard.jpg")
    found = run()
    assert found[0].state == "no face"
    assert "is of what the photo was before" in found[0].message
    shutil.copy(EXAMPLES / "beard.jpg", photos / "beard.jpg")
    assert states(run())["beard.jpg"] == "edited"


def test_a_strangers_file_stays(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "beard.png").write_bytes(b"mine")
    found = run()
    assert found[0].state == "failed"
    assert "no batch has made it" in found[0].message
    assert (tmp_path / "out" / "beard.png").read_bytes() == b"mine"


def test_a_result_is_replaced_by_that_of_the_same_photo_alone(
    run: Callable[..., list[Outcome]], photos: Path, tmp_path: Path
) -> None:
    output = run()[0].output
    other = tmp_path / "other" / "beard.jpg"
    other.parent.mkdir()
    shutil.copy(EXAMPLES / "portrait.jpg", other)
    before = output.read_bytes()
    found = list(edit_photos(plan([other], output.parent, "png"), output.parent, load_model(), JOB))
    assert found[0].state == "failed"
    assert "is made of" in found[0].message
    output.write_bytes(before + b"touched up")
    found = run(replace(JOB, recipe=Recipe()))
    assert "was changed since" in found[0].message
    assert output.read_bytes() == before + b"touched up"


def test_two_batches_do_not_share_a_folder(run: Callable[..., list[Outcome]], photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = edit_photos(plan([photos], out, "png"), out, load_model(), JOB)
    next(first)
    with pytest.raises(UsageError, match="another batch is writing"):
        run()
    first.close()  # type: ignore[attr-defined]
    assert states(run())["beard.jpg"] == "kept"


def test_whatever_goes_wrong_with_a_photo_stops_no_other(
    run: Callable[..., list[Outcome]], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(photo: Photo) -> tuple[Face, ...]:
        if "beard" in photo.name:
            raise RuntimeError("can't allocate memory")
        return detect(photo)

    monkeypatch.setattr("faceloom.batch.detect", short_of_memory)
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes((EXAMPLES / "portrait.jpg").read_bytes())
    found = run()
    assert found[0].message == "unexpected: RuntimeError: can't allocate memory"
    assert [outcome.state for outcome in found] == ["failed", "edited", "failed", "no face"]


def test_a_full_disk_stops_the_batch(run: Callable[..., list[Outcome]], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("faceloom.batch.save_picture", full)
    with pytest.raises(UsageError, match="No space left"):
        run()


def test_a_preset_suits_each_face(run: Callable[..., list[Outcome]], photos: Path) -> None:
    preset = find_preset(load_model(), "opposite")
    found = run(replace(JOB, recipe=Recipe(), preset=preset))
    editor = Editor.open(photos / "beard.jpg", inverter="encoder")
    alone = editor.render(preset.recipe_for(editor)).photo
    assert np.array_equal(open_photo(found[0].output).pixels, alone.pixels)


def test_a_format_is_the_photos_own_or_jpeg(photos: Path, tmp_path: Path) -> None:
    (photos / "phone.heic").write_bytes(b"")
    names = [task.output.name for task in plan([photos], tmp_path / "out")]
    assert names == ["beard.jpg", "cut.jpg", "grass.png", "phone.jpg"]
    assert plan([photos, photos / "beard.jpg"], tmp_path / "out") == plan([photos], tmp_path / "out")


def test_plans_that_would_lose_something_are_refused(photos: Path, tmp_path: Path) -> None:
    for out in (photos, photos / "within" / ".."):
        with pytest.raises(UsageError, match="is where the photos are"):
            plan([photos], out, "webp")
    with pytest.raises(UsageError, match="is where the photos are"):
        plan([photos / "beard.jpg"], photos)
    shutil.copy(photos / "beard.jpg", photos / "BEARD.webp")
    with pytest.raises(UsageError, match=r"would both become 'beard.png'"):
        plan([photos], tmp_path / "out", "png")


def test_sources_without_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    (photos / "within" / "._beard.jpg").write_bytes(b"of a Mac")
    with pytest.raises(UsageError, match="there are no photos in"):
        plan([photos / "within"], tmp_path / "out")
    with pytest.raises(UsageError, match="there is no photo or folder"):
        plan([photos, tmp_path / "smile"], tmp_path / "out")
    with pytest.raises(UsageError, match="name the photos"):
        plan([], tmp_path / "out")


def test_what_concerns_all_photos_stops_before_the_first(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no-such"):
        run(replace(JOB, recipe=Recipe((Edit("no-such", 1.0),))))
    with pytest.raises(UsageError, match="counted from 1"):
        run(replace(JOB, face=0))
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    for text, said in (('{"a": 1}\n', "of another kind in line 1"), ("a\n", "damaged in line 1")):
        (tmp_path / "out" / JOURNAL).write_text(text)
        with pytest.raises(UsageError, match=said):
            run()
        assert (tmp_path / "out" / JOURNAL).read_text() == text
