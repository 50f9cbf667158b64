from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom.checkpoints import native
from faceloom.editor import Editor, make_inverter
from faceloom.effects import effect_sheet, face_picture
from faceloom.errors import CheckpointError, DirectionError, FaceError, UsageError
from faceloom.faces.detect import detect
from faceloom.generators.cache import Cancelled
from faceloom.imaging.photos import open_photo
from faceloom.inversion.protocol import Step
from faceloom.inversion.tuning import Tuning, lent
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE, forget_models, load_model
from faceloom.recipe import Edit, Recipe
from faceloom.types import Photo

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
AGED = Recipe().with_edit("age", 2.0)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.open(EXAMPLES / "portrait.jpg", inverter="encoder")


@pytest.fixture(scope="module")
def couple() -> Photo:
    left, right = (open_photo(EXAMPLES / name).pixels for name in ("portrait.jpg", "beard.jpg"))
    return Photo(np.concatenate([left, right], axis=1), name="couple")


def test_no_edit_gives_the_photo_back(editor: Editor) -> None:
    render = editor.render(Recipe())
    assert np.array_equal(render.photo.pixels, editor.photo.pixels)


@pytest.mark.parametrize("paste", ["transfer", "replace"])
def test_an_edit_changes_the_face_and_nothing_else(editor: Editor, paste: str) -> None:
    render = editor.render(replace(AGED, paste=paste))  # type: ignore[arg-type]
    outside = render.mask == 0
    assert outside.any()
    assert np.array_equal(render.photo.pixels[outside], editor.photo.pixels[outside])
    inside = render.mask > 0.9
    assert np.abs(render.photo.pixels[inside].astype(int) - editor.photo.pixels[inside]).mean() > 1.0
    assert render.before[0].shape == render.after[0].shape


def test_previews_are_what_a_render_draws_smaller_and_can_be_stopped(editor: Editor) -> None:
    full = editor.preview(AGED)
    assert all(map(np.array_equal, full, editor.render(AGED).after))
    half = editor.model.generator.resolution // 2
    (small,) = editor.preview(AGED, resolution=half)
    assert small.shape == (half, half, 3)
    with pytest.raises(Cancelled):
        editor.preview(AGED.with_edit("smile", 1.5), cancelled=lambda: True)
    assert all(map(np.array_equal, full, editor.preview(AGED)))


def test_a_twin_can_be_stopped(editor: Editor) -> None:
    for paste in ("transfer", "replace"):
        recipe = replace(Recipe(twin="comic").with_edit("age", 0.7), paste=paste)
        asked: list[bool] = []

        def count(asked: list[bool] = asked) -> bool:
            asked.append(True)
            return len(asked) == 3

        with pytest.raises(Cancelled):
            editor.render(recipe, cancelled=count)
        assert len(asked) == 3


def test_a_face_alone_keeps_the_colour_profile(editor: Editor) -> None:
    photo = replace(editor.photo, icc_profile=b"a profile")
    assert Editor(photo, editor.faces, editor.model).face_alone().photo.icc_profile == b"a profile"


def test_a_preview_by_a_large_generator_stops_early(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = editor.scaled(128)
    monkeypatch.setattr("faceloom.editor._LEAST_PREVIEW", 32)
    quick = editor.scaled(128)
    full, small = whole.render(AGED), quick.render(AGED)
    assert full.after[0].shape[0] == editor.model.generator.resolution
    assert small.before[0].shape == small.after[0].shape == (64, 64, 3)
    assert small.photo.size == full.photo.size
    change = np.abs(full.photo.pixels.astype(int) - whole.photo.pixels).mean()
    assert change > 1.0
    assert np.abs(small.photo.pixels.astype(int) - full.photo.pixels).mean() < change / 2, "much the same"
    assert np.array_equal(quick.render(Recipe()).photo.pixels, quick.photo.pixels)
    twin = next(iter(editor.model.twins))
    assert quick.render(Recipe(twin=twin)).after[0].shape == full.after[0].shape


def test_edits_add_up_in_any_order(editor: Editor) -> None:
    one = editor.codes(Recipe((Edit("age", 1.0), Edit("smile", -1.0))))
    other = editor.codes(Recipe((Edit("smile", -1.0), Edit("age", 1.0))))
    assert torch.allclose(one, other, atol=1e-5)


def test_refinement_draws_a_likelier_face(editor: Editor) -> None:
    steps: list[Step] = []
    inverter = make_inverter("hybrid", editor.model, steps=15)
    refined = Editor.open(EXAMPLES / "portrait.jpg", inverter=inverter, progress=steps.append)
    small = face_picture(editor.photo, editor.faces[0], editor.model.generator.resolution).astype(float)

    def distance(one: Editor) -> float:
        return float(np.abs(one.faces[0].before - small).mean())

    assert distance(refined) < distance(editor)
    assert len(steps) == 15


def test_a_neighbour_keeps_every_pixel_of_their_face() -> None:
    left, right = (open_photo(EXAMPLES / name).pixels for name in ("portrait.jpg", "beard.jpg"))
    pair = Photo(np.concatenate([left[:, :185], right[:, 65:]], axis=1), name="pair")  # their hair touches
    woman, man = sorted(found := detect(pair), key=lambda face: face.box[0])
    x, y = woman.landmarks.astype(int).T
    for paste in ("transfer", "replace"):
        longer = replace(Recipe().with_edit("hair-length", 2.0), paste=paste)
        render = Editor.open(pair, face=1 + found.index(man), inverter="encoder").render(longer)
        changed = (render.photo.pixels != pair.pixels).any(axis=2)
        assert changed.any()
        assert not changed[y.min() : y.max(), x.min() : x.max()].any(), paste


def test_all_faces_or_one_of_them(couple: Photo) -> None:
    both = Editor.open(couple, face="all", inverter="encoder")
    assert len(both.faces) == 2
    width = couple.size[0] // 2
    changed = np.abs(both.render(AGED).photo.pixels.astype(int) - couple.pixels).max(axis=2) > 0
    assert changed[:, :width].any()
    assert changed[:, width:].any()
    second = Editor.open(couple, face=2, inverter="encoder").render(AGED)
    touched = np.abs(second.photo.pixels.astype(int) - couple.pixels).max(axis=2) > 0
    assert touched[:, :width].any() != touched[:, width:].any()
    with pytest.raises(FaceError, match="2 faces were found"):
        Editor.open(couple, face=3)


def test_a_photo_without_a_face_is_refused() -> None:
    with pytest.raises(FaceError, match="no face found in grass"):
        Editor.open(Photo(np.full((120, 160, 3), 90, np.uint8), name="grass"), face="all")


def test_what_the_model_does_not_know_is_refused(editor: Editor) -> None:
    with pytest.raises(UsageError, match="did you mean 'smile'"):
        editor.render(Recipe().with_edit("smlie", 1.0))
    for edits in (Recipe(model="other"), Recipe(model="other").with_edit("nonesuch", 1.0)):
        for recipe in (edits, replace(edits, twin="toon")):
            with pytest.raises(UsageError, match="the recipe is for the model 'other'"):
                editor.render(recipe)
    with pytest.raises(UsageError, match="there is no model 'nowhere'"):
        load_model("nowhere")
    with pytest.raises(UsageError, match="there is no inversion method"):
        make_inverter("magic", editor.model)  # type: ignore[arg-type]


def test_files_of_different_models_are_not_mixed(tmp_path: Path, editor: Editor) -> None:
    folder = resources.files("faceloom") / "assets" / "default"
    for name in (ENCODER_FILE, DIRECTIONS_FILE, GENERATOR_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert load_model(str(tmp_path)).generator.fingerprint == editor.model.generator.fingerprint
    other = native.load_generator(tmp_path / GENERATOR_FILE)
    other.const.data += 1.0
    native.save_generator(tmp_path / GENERATOR_FILE, other)
    forget_models()
    with pytest.raises(CheckpointError, match="belongs to another generator"):
        load_model(str(tmp_path))
    with pytest.raises(DirectionError, match="made for the generator"):
        editor.model.directions.check_generator(other.fingerprint)


def test_the_effect_sheet_has_a_row_for_each_edit(editor: Editor) -> None:
    one, two = (effect_sheet(editor, recipe, cell=32) for recipe in (AGED, AGED.with_edit("smile", 1.0)))
    assert two.shape[0] > one.shape[0]
    assert one.shape[2] == 3


def test_edits_of_a_stiff_tuning_go_further(editor: Editor) -> None:
    face = editor.faces[0]
    recipe = Recipe().with_edit("age", 1.0)
    step = editor.codes(recipe) - face.latent.codes
    tuning = Tuning({}, editor.model.generator.fingerprint, response=0.5)
    stiff = Editor(editor.photo, (replace(face, tuning=tuning),), editor.model)
    assert torch.allclose(stiff.codes(recipe) - face.latent.codes, 2.0 * step, atol=1e-5)
    # A twin is lent half of the tuning, which makes it half as stiff.
    lender = lent(tuning, "twin", 0.5)
    assert lender.response == 0.75
    assert torch.allclose(stiff._moved(recipe, [lender]) - face.latent.codes, step / 0.75, atol=1e-5)


def test_faces_are_chosen_by_number(couple: Photo) -> None:
    both = Editor.open(couple, face=(2, 1), fidelity=0.0)
    second = Editor.open(couple, face=2, fidelity=0.0)
    assert len(both.faces) == 2
    assert np.array_equal(both.faces[0].crop.quad, second.faces[0].crop.quad)
    assert len(second.faces[0].crop.others) == 1, "the other face is known, though not open"
    again = Editor.open(couple, face=[np.int64(2), 2], fidelity=0.0)  # type: ignore[list-item]
    assert len(again.faces) == 1, "a face is edited once"
    assert np.array_equal(again.faces[0].crop.quad, second.faces[0].crop.quad)
    for wrong, message in (([], "at least"), ("both", "'both'"), ([1.5], "whole numbers"), (1.5, "whole numbers")):
        with pytest.raises(UsageError, match=message):
            Editor.open(couple, face=wrong, fidelity=0.0)  # type: ignore[arg-type]
