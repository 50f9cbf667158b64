from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faceloom.errors import TrainingError
from faceloom.training.attributes import MEASURES, Attribute, attribute_table, read_attributes, read_looks
from faceloom.training.images import FaceSet


def faces(names: tuple[str, ...]) -> FaceSet:
    return FaceSet(
        np.zeros((len(names), 8, 8, 3), np.uint8), np.random.default_rng(0).random((len(names), 68, 2)), names
    )


def test_looks_are_joined_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "name,beard,glasses,broken\nset/a.jpg,2,,0\nset/b.jpg,1,0,1\nother/c.jpg,0,1,0\n"
    (tmp_path / "looks.csv").write_text(table)
    monkeypatch.setattr("faceloom.training.attributes.resources.files", lambda _: tmp_path)
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,age\na.jpg,40\nb.jpg,50\n")
    wanted = [
        Attribute("beard", column="beard"),
        Attribute("glasses", column="glasses"),
        Attribute("age", column="age"),
    ]
    values = attribute_table(faces(("set/a.jpg", "set/b.jpg", "other/c.jpg", "set/d.jpg")), [folder], wanted)
    nan = float("nan")
    assert values["beard"] == pytest.approx([2, nan, 0, nan], nan_ok=True)  # b.jpg is broken
    assert values["glasses"] == pytest.approx([nan, nan, 1, nan], nan_ok=True)
    assert values["age"] == pytest.approx([40, 50, nan, nan], nan_ok=True)
    (tmp_path / "looks.csv").unlink()
    assert read_looks() == {}


def test_the_looks_of_the_default_model_are_there() -> None:
    looks = read_looks()
    assert len(looks) > 900
    columns = {one.column for one in read_attributes()}
    assert {"beard", "moustache", "glasses", "grey_hair", "bangs", "makeup", "bald"} <= columns
    assert all(row["beard"] in ("", "0", "1", "2") for row in looks.values())
    assert sum(row["beard"] in ("1", "2") for row in looks.values()) > 50


def test_the_attributes_of_the_default_model_fit_together() -> None:
    found = read_attributes()
    names = {one.name for one in found}
    assert all(set(one.free) <= names for one in found)
    assert all(one.range[0] < 0 < one.range[1] for one in found)
    assert {"beard", "moustache", "grey-hair", "bangs", "face-width", "pitch"} <= {
        one.name for one in found if one.offered
    }
    glasses = next(one for one in found if one.name == "glasses")
    age = next(one for one in found if one.name == "age")
    assert glasses.name not in age.free


def test_layers_are_shares(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[[attribute]]\nname = "x"\ncolumn = "x"\nlayers = [0.5, 1]\n')
    assert read_attributes(path)[0].layers == (0.5, 1.0)
    path.write_text('[[attribute]]\nname = "x"\ncolumn = "x"\nlayers = [0.9, 0.1]\n')
    with pytest.raises(TrainingError, match="layers are shares from 0 to 1"):
        read_attributes(path)


def test_new_measures_on_a_drawn_face() -> None:
    face = np.zeros((1, 68, 2))
    for start, x in ((36, 0.3), (42, 0.6)):
        face[0, start], face[0, start + 3] = (x, 0.4), (x + 0.1, 0.4)
        face[0, [start + 1, start + 2], 1], face[0, [start + 5, start + 4], 1] = 0.38, 0.42
        face[0, [start + 1, start + 5], 0], face[0, [start + 2, start + 4], 0] = x + 0.03, x + 0.07
    face[0, 2:5], face[0, 12:15] = (0.2, 0.6), (0.8, 0.6)
    face[0, 17:27], face[0, 8] = (0.5, 0.3), (0.5, 0.9)
    drawn = FaceSet(np.zeros((1, 8, 8, 3), np.uint8), face, ("drawn/0.png",))
    assert MEASURES["eyes-open"](drawn)[0] == pytest.approx(0.4)
    assert MEASURES["face-width"](drawn)[0] == pytest.approx(1.0)


def test_a_dropped_attribute_is_not_offered() -> None:
    assert Attribute("x", column="x", low="a", high="b").offered
    dropped = Attribute("x", column="x", low="a", high="b", dropped="too faint")
    assert dropped.movable
    assert not dropped.offered
    assert not Attribute("x", column="x").movable
