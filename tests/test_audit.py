from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from faceloom.audit import Audit, Panel, audit, on_crop
from faceloom.cli.directions import directions
from faceloom.cli.directions_report import matrix_of, report_text
from faceloom.directions.direction import DirectionSet, Probe
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.imaging.matrices import matrix_picture
from faceloom.model import Model, load_model
from faceloom.recipe import Recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def model() -> Model:
    base = load_model()
    moves = [base.directions["age"], base.directions["smile"]]
    way = moves[0].vector.mean(dim=0)
    probe = Probe("age", way / float(way @ way), 0.0)
    effects = {"age": {"age": 1.0, "smile": 0.1}, "smile": {"age": 0.0, "smile": 1.0}}
    directions = DirectionSet(moves, base.generator.fingerprint, probes=[probe], effects=effects)
    return replace(base, directions=directions)


def test_photos_are_measured_once(model: Model, tmp_path: Path) -> None:
    photos = [EXAMPLES / "portrait.jpg", tmp_path / "none.jpg", EXAMPLES / "beard.jpg"]
    (tmp_path / "none.jpg").write_text("no picture")
    notes = tmp_path / "notes.jsonl"
    panel = Panel(model, judges=())
    done: list[int] = []
    result = audit(model, photos, notes, panel=panel, progress=lambda number, _: done.append(number))
    assert (result.photos, result.directions, result.scores, done) == (2, ("age", "smile"), ("probe: age",), [1, 2, 3])
    names, values = result.matrix()
    assert names == ["age"]
    assert values[0, 0] > 2 * abs(values[1, 0])
    assert result.right_way("age", "probe: age") == (1.0, 1.0)
    assert result.same_person("smile")[0] > 0
    assert len(notes.read_text().splitlines()) == 2
    with notes.open("a") as file:
        file.write('{"key": "half')
    again = audit(model, photos, notes, panel=panel, minutes=0.0)
    assert np.array_equal(again.changes, result.changes)
    text = report_text(result, model)
    assert "| age | own probe | 100% | 100% | 100% | 100% |" in text
    assert "As offered" in text
    assert matrix_of(result, model).shape[2] == 3
    other = replace(model, directions=DirectionSet([model.directions["smile"]], model.generator.fingerprint))
    with pytest.raises(UsageError, match="none of the 1 photos was measured"):
        audit(other, [tmp_path / "none.jpg"], notes, panel=Panel(other, judges=()))
    with pytest.raises(UsageError, match="take two at least"):
        audit(model, photos[:1], notes, panel=panel)
    # Another photo of the name is another photo.
    (tmp_path / "x").mkdir()
    shutil.copy(photos[2], tmp_path / "x" / photos[0].name)
    with pytest.raises(UsageError, match="was measured"):
        audit(other, [tmp_path / "x" / photos[0].name], tmp_path / "new.jsonl", panel=panel, minutes=0.0)
    known = audit(model, [tmp_path / "x" / photos[0].name, photos[0]], notes, panel=panel, minutes=0.0)
    assert np.array_equal(known.changes, result.changes[::-1])


def test_the_report_says_that_judges_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_JUDGES", str(tmp_path))
    monkeypatch.setenv("FACELOOM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for name in ("portrait.jpg", "beard.jpg"):
        shutil.copy(EXAMPLES / name, tmp_path / "photos")
    line = ["report", "--photos", str(tmp_path / "photos"), "--only", "smile", "--fidelity", "0"]
    result = CliRunner().invoke(directions, line)
    assert result.exit_code == 0
    assert "npm ci --prefix benchmarks/judges" in result.stderr
    assert "| smile | own probe |" in result.stdout


def test_a_crop_is_edited_as_in_the_photo(model: Model, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "portrait.jpg", tmp_path / "a.jpg")
    editor = Editor.open(tmp_path / "a.jpg", model=model, fidelity=0.0)
    crop = on_crop(editor)
    assert crop.photo.size == (crop.faces[0].crop.size,) * 2
    landmarks = crop.faces[0].crop.face.landmarks
    assert landmarks.min() > 0
    assert landmarks.max() < crop.faces[0].crop.size
    edited = crop.render(Recipe().with_edit("age", 2.0)).photo.pixels
    assert np.abs(edited.astype(int) - crop.photo.pixels).mean() > 1.0


def test_a_matrix_is_drawn() -> None:
    values = np.array([[1.0, np.nan], [-0.5, 0.0]])
    picture = matrix_picture(values, ["a", "b"], ["c", "d"], "title")
    coloured = np.ptp(picture.astype(int), axis=2) > 60
    assert coloured.any()
    assert picture[coloured][:, 0].max() > 200  # red, for what is above 0
    with pytest.raises(ValueError, match="need as many labels"):
        matrix_picture(values, ["a"], ["c", "d"], "title")


def test_what_has_no_room_is_told_apart() -> None:
    before = np.array([[5.0], [4.0], [-4.0], [-5.0]])  # two men, two women
    moves = np.array([[-3.0, -0.1], [-3.0, 0.1], [0.1, 3.0], [0.1, 3.0]])  # a man is hardly more of a man
    result = Audit(("gender",), ("judge: male",), moves[:, None, :, None], np.zeros((4, 1, 2)), np.ones(1), before)
    assert result.right_way("gender", "judge: male") == (0.5, 0.75)
    assert result.right_way_across("gender", "judge: male") == (1.0, 1.0)


def test_judges_are_averaged_in_their_deviations() -> None:
    before = np.array([[0.0, 0.0], [1.0, 10.0]])
    moves = np.array([[[-1.0, -1.0], [1.0, 30.0]], [[0.1, -4.0], [-2.0, 10.0]]])  # photos, amounts, judges
    scores = ("one: male", "other: male")
    result = Audit(("gender",), scores, moves[:, None], np.zeros((2, 1, 2)), np.array([1.0, 10.0]), before)
    assert result.right_way("gender", scores[0]) == (0.5, 0.5)
    assert result.right_way("gender", *scores) == (1.0, 0.5)  # 0.1 and -0.4; -2 and 1
    assert result.right_way_across("gender", *scores) == (1.0, 1.0)
