from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from faceloom.cli.edit import edit
from faceloom.domains.twin import Twin, resolution_of, twin_of
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.model import load_model
from faceloom.recipe import Recipe

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
