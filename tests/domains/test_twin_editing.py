from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceloom.cli.edit import edit
from faceloom.cli.sample import sample
from faceloom.domains.twin import Twin, resolution_of, twin_of
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.inversion.tuning import Tuning
from faceloom.model import load_model
from faceloom.recipe import Recipe
from faceloom.types import Photo

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def a_twin(name: str, illustrator: str) -> Twin:
    """A twin that draws everything green, and shifts a little."""
    base = load_model("default").generator
    assert isinstance(base, StyleGAN2)
    tuned = copy.deepcopy(base)
    for key, tensor in tuned.named_parameters():
        if key.endswith("to_rgb.bias") and resolution_of(key) == base.resolution:
            tensor.data += torch.tensor([-0.3, 0.3, -0.3])
    return twin_of(base, tuned, name, "green", illustrator)


@pytest.fixture(scope="module", autouse=True)
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACELOOM_DATA", str(tmp_path_factory.mktemp("data")))
        load_model("default").__dict__.pop("twins", None)  # it remembers its folders
        folder = load_model("default").twin_folder
        folder.mkdir(parents=True)
        a_twin("green", "").save(folder / "green.safetensors")
        a_twin("inked", "comic").save(folder / "inked.safetensors")
        assert {"green", "inked"} <= set(load_model("default").twins)
        yield folder
        load_model("default").__dict__.pop("twins", None)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.open(EXAMPLES / "portrait.jpg", inverter="encoder").scaled(320)


def greenness(pixels: np.ndarray) -> float:
    values = pixels.astype(np.float32)
    return float((values[..., 1] - values[..., [0, 2]].mean(axis=-1)).mean())


@pytest.mark.parametrize("name", ["green", "inked"])
def test_the_twin_draws_after_and_before_stays(editor: Editor, name: str) -> None:
    plain = editor.render(Recipe())
    drawn = editor.render(Recipe(twin=name))
    assert greenness(drawn.after[0]) > greenness(plain.after[0]) + 30
    np.testing.assert_array_equal(drawn.before[0], plain.before[0])
    assert drawn.mask.all()
    assert drawn.photo.pixels.shape == editor.photo.pixels.shape


def test_without_an_illustrator_the_photo_takes_the_twins_colours(editor: Editor) -> None:
    before = greenness(editor.photo.pixels)
    half, full = (greenness(editor.render(Recipe(twin="green", degree=degree)).photo.pixels) for degree in (0.5, 1.0))
    assert before + 10 < half < full


def test_an_illustrator_draws_the_photo_itself(editor: Editor) -> None:
    drawn = editor.render(Recipe(twin="inked")).photo.pixels
    assert abs(greenness(drawn) - greenness(editor.photo.pixels)) < 10
    assert np.abs(drawn.astype(float) - editor.photo.pixels).mean() > 4


def test_degree_0_leaves_the_photo_alone(editor: Editor) -> None:
    for name in ("green", "inked"):
        np.testing.assert_array_equal(editor.render(Recipe(twin=name, degree=0.0)).photo.pixels, editor.photo.pixels)


def test_edits_show_on_the_drawing(editor: Editor) -> None:
    for paste in ("transfer", "replace"):
        still = Recipe(twin="inked", paste=paste)
        direction = next(iter(editor.model.directions)).name
        moved = editor.render(still.with_edit(direction, 2.0))
        assert np.abs(moved.photo.pixels.astype(float) - editor.render(still).photo.pixels).mean() > 0.2
        assert (moved.after[0] != editor.render(still).after[0]).any()


def test_replace_puts_the_twins_picture_in_and_keeps_the_rest(editor: Editor) -> None:
    render = editor.render(Recipe(twin="green", paste="replace"))
    outside = render.mask == 0
    assert outside.any()
    np.testing.assert_array_equal(render.photo.pixels[outside], editor.photo.pixels[outside])
    assert greenness(render.photo.pixels[render.mask > 0.9]) > greenness(editor.photo.pixels[render.mask > 0.9]) + 30


@pytest.mark.parametrize("paste", ["transfer", "replace"])
@pytest.mark.parametrize("name", ["green", "inked"])
def test_the_degree_of_a_recipe_goes_all_the_way(editor: Editor, name: str, paste: str) -> None:
    recipe = Recipe.from_json(Recipe(twin=name, paste=paste).to_json())  # type: ignore[arg-type]
    renders = [editor.render(Recipe.from_json(replace(recipe, degree=at).to_json())) for at in (0.0, 0.3, 0.6, 1.0)]
    ways = [float(np.abs(one.photo.pixels.astype(float) - renders[0].photo.pixels).mean()) for one in renders]
    assert ways == sorted(ways)
    assert ways[-1] > ways[1] > 0.0
    own = [greenness(one.after[0]) for one in renders]
    assert own == sorted(own)
    np.testing.assert_array_equal(renders[0].after[0], editor.render(Recipe()).after[0])


@pytest.mark.parametrize("name", ["green", "inked"])
def test_a_large_photo_keeps_its_own_detail_as_far_as_the_degree_leaves_it(editor: Editor, name: str) -> None:
    side = 1600
    pixels = np.asarray(Image.fromarray(editor.photo.pixels).resize((side, side)))
    grain = np.random.default_rng(0).normal(0.0, 12.0, pixels.shape)
    photo = Photo(np.clip(pixels + grain, 0, 255).astype(np.uint8))
    crop = editor.faces[0].crop
    large = Editor(photo, (replace(editor.faces[0], crop=crop.placed(crop.quad * side / 320)),), editor.model)
    none, some, full = (large.render(Recipe(twin=name, degree=at)).photo.pixels for at in (0.0, 0.3, 1.0))
    np.testing.assert_array_equal(none, photo.pixels)

    def detail(shown: np.ndarray) -> float:
        return float(np.abs(np.diff(shown[:200, :200].astype(float), axis=1)).mean())

    assert detail(full) < 0.5 * detail(photo.pixels)
    assert detail(some) > 0.6 * detail(photo.pixels)


def test_the_degree_shows_on_stickers_and_their_outline_stays(editor: Editor) -> None:
    none, half, full = (editor.sticker(Recipe(twin="inked", degree=at), side=128) for at in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none, editor.sticker(Recipe(), side=128))
    np.testing.assert_array_equal(none[..., 3], full[..., 3])
    near, far = (np.abs(one[..., :3].astype(float) - none[..., :3]).mean() for one in (half, full))
    assert 0.0 < near < far


@pytest.mark.parametrize("name", ["green", "inked"])
def test_a_face_that_was_inverted_with_a_tuning_is_drawn_with_it(name: str) -> None:
    editor = Editor.open(EXAMPLES / "portrait.jpg", inverter="encoder").scaled(160)
    state = dict(cast(StyleGAN2, editor.model.generator).named_parameters())
    weight = next(key for key in state if key.endswith("conv.weight"))
    tuning = Tuning({weight: 0.2 * torch.ones_like(state[weight])}, editor.model.generator.fingerprint)
    tuned = Editor(editor.photo, tuple(replace(one, tuning=tuning) for one in editor.faces), editor.model)
    (plain,), drawn = tuned.preview(Recipe()), tuned.render(Recipe(twin=name))
    assert greenness(drawn.after[0]) > greenness(plain) + 20
    assert (drawn.after[0] != editor.render(Recipe(twin=name)).after[0]).any()
    np.testing.assert_array_equal(tuned.render(Recipe(twin=name, degree=0.0)).after[0], plain)


def test_stickers(editor: Editor) -> None:
    sticker = editor.sticker(Recipe(twin="inked"), side=128)
    assert sticker.shape == (128, 128, 4)
    assert sticker[0, 0, 3] == 0
    assert sticker[64, 64, 3] == 255
    with pytest.raises(UsageError, match="no open face 2"):
        editor.sticker(Recipe(), 2)


def test_an_unknown_twin_is_refused(editor: Editor) -> None:
    with pytest.raises(UsageError, match="there is no twin 'nobody'"):
        editor.render(Recipe(twin="nobody"))


def test_the_command_line_draws_and_cuts_out(tmp_path: Path) -> None:
    out, sticker, kept = tmp_path / "out.png", tmp_path / "head.png", tmp_path / "recipe.json"
    words = [str(EXAMPLES / "portrait.jpg"), "-o", str(out), "--twin", "inked", "--degree", "0.6"]
    words += ["--sticker", str(sticker), "--save-recipe", str(kept), "--inversion", "encoder"]
    result = CliRunner().invoke(edit, words, catch_exceptions=False)
    assert "drawn by inked to 60%" in result.output
    with Image.open(sticker) as picture:
        assert picture.mode == "RGBA"
    recipe = Recipe.from_json(kept.read_text())
    assert (recipe.twin, recipe.degree) == ("inked", 0.6)
    assert json.loads(replace(recipe).to_json())["twin"] == "inked"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--degree", "0.5"], "--degree says how far"),
        (["--twin", "nobody"], "no twin 'nobody'"),
        (["--twin", "inked", "--sticker", "head.jpg"], "save it as .png"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, words: list[str], said: str) -> None:
    result = CliRunner().invoke(edit, [str(EXAMPLES / "portrait.jpg"), "-o", str(tmp_path / "out.png"), *words])
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_random_faces_are_drawn_by_a_twin(tmp_path: Path) -> None:
    sheets = []
    for words in ([], ["--twin", "green"]):
        out = tmp_path / "sheet.png"
        result = CliRunner().invoke(sample, ["-o", str(out), "--count", "2", *words], catch_exceptions=False)
        assert ("drawn by green" in result.output) == bool(words)
        with Image.open(out) as picture:
            sheets.append(np.asarray(picture.convert("RGB")))
    assert greenness(sheets[1]) > greenness(sheets[0]) + 20
    result = CliRunner().invoke(sample, ["-o", str(tmp_path / "none.png"), "--twin", "nobody"])
    assert isinstance(result.exception, UsageError)
    assert not (tmp_path / "none.png").exists()
