from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from faceloom.directions.direction import Direction, DirectionSet, Probe
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.model import Model, load_model
from faceloom.presets import Preset, find_preset, load_presets, read_presets, readings_of
from faceloom.recipe import Edit, Recipe

PORTRAIT = Path(__file__).resolve().parents[1] / "examples" / "portrait.jpg"


def model(*names: str, probes: tuple[str, ...] = ()) -> Model:
    base = load_model()
    rows, width = base.generator.num_ws, base.generator.w_dim
    moves = [Direction(name, torch.ones(rows, width), (0, rows), (-1.5, 2.0), "a", "b") for name in names]
    read = [Probe(name, torch.ones(width), 0.0) for name in probes]
    return replace(base, directions=DirectionSet(moves, base.generator.fingerprint, probes=read))


def test_only_presets_that_the_model_can_do_are_offered() -> None:
    assert load_presets(model()) == ()
    assert {"grandparent", "silver", "young-again"} <= {
        one.name for one in load_presets(model("age", "grey-hair", "face-width"))
    }
    assert "opposite" not in [one.name for one in load_presets(model("gender"))]
    assert [one.name for one in load_presets(model("gender", probes=("gender",)))] == ["opposite"]
    assert load_presets(load_model())


def test_strength_scales_and_ranges_hold() -> None:
    preset = Preset("x", "X", (Edit("age", 3.0), Edit("smile", -1.0)), strength=0.5)
    directions = model("age", "smile").directions
    assert preset.edits_for(directions) == (Edit("age", 1.5), Edit("smile", -0.5))
    assert preset.edits_for(directions, 1.0)[0] == Edit("age", 2.0)
    assert all(edit.amount == 0 for edit in preset.edits_for(directions, 0.0))
    with pytest.raises(UsageError, match="from 0 to 2, not 3"):
        preset.edits_for(directions, 3.0)


def test_a_mirror_leads_away_from_what_a_face_is() -> None:
    preset = Preset("x", "X", (Edit("gender", 1.0),), mirror="gender")
    directions = model("gender").directions
    assert preset.edits_for(directions, readings={"gender": 0.7}) == (Edit("gender", -1.0),)
    assert preset.edits_for(directions, readings={"gender": -0.7}) == (Edit("gender", 1.0),)


def test_a_mirror_is_refused_for_faces_that_it_leads_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    editor = Editor.open(PORTRAIT, model=model("gender", probes=("gender",)), inverter="encoder")
    both = Editor(editor.photo, editor.faces * 2, editor.model)
    preset = Preset("x", "X", (Edit("gender", 1.0),), mirror="gender")
    assert preset.recipe_for(both).edits
    monkeypatch.setattr("faceloom.presets.readings_of", lambda _, number=0: {"gender": 1.0 - 2.0 * number})
    with pytest.raises(UsageError, match="leads these faces different ways"):
        preset.recipe_for(both)
    assert preset.recipe_for(editor).edits == (Edit("gender", -1.0),)


def test_edits_given_as_well_count_more() -> None:
    editor = Editor.open(PORTRAIT, model=model("age", "smile", probes=("age",)), inverter="encoder")
    preset = Preset("x", "X", (Edit("age", 1.0), Edit("smile", 1.0)))
    recipe = preset.recipe_for(editor, base=Recipe((Edit("smile", -2.0),), paste="replace"))
    assert recipe.edits == (Edit("age", 1.0), Edit("smile", -2.0))
    assert recipe.paste == "replace"
    codes = editor.faces[0].latent.codes
    assert readings_of(editor)["age"] == pytest.approx(float(codes.mean(dim=0).sum()), rel=1e-4)


def test_names_and_titles_are_found() -> None:
    able = model("age", "grey-hair")
    assert find_preset(able, "Grandparent").name == "grandparent"
    with pytest.raises(UsageError, match="did you mean 'grandparent'"):
        find_preset(able, "grandparents")
    with pytest.raises(UsageError, match="a preset needs a name, a title and edits"):
        read_presets([{"name": "x", "title": "X"}])
