from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

import faceloom
from faceloom.batch import Outcome, Task
from faceloom.checkpoints import native
from faceloom.cli.main import VERBS, main
from faceloom.cli.main import cli as group
from faceloom.cli.options import photo_and_edits
from faceloom.directions.importing import OPTIONS, word_of
from faceloom.imaging.photos import open_photo

ROOT = Path(__file__).resolve().parents[2]
PORTRAIT = ROOT / "examples" / "portrait.jpg"


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one call."""
    monkeypatch.setattr(sys, "argv", ["faceloom", *map(str, words)])
    monkeypatch.setattr("faceloom.settings.keep_memory", lambda: False)
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return lambda *words: run(capsys, monkeypatch, *words)


def test_edit_writes_photo_sheet_and_recipe(cli: Cli, tmp_path: Path) -> None:
    out, sheet, recipe = tmp_path / "out.png", tmp_path / "sheet.jpg", tmp_path / "recipe.json"
    words = ["--age", "+1.5", "--smile=-1", "--inversion", "encoder", "--json"]
    code, text, err = cli("edit", PORTRAIT, *words, "-o", out, "--sheet", sheet, "--save-recipe", recipe)
    assert (code, err) == (0, "")
    report = json.loads(text)
    assert report["recipe"]["edits"] == [
        {"direction": "age", "amount": 1.5},
        {"direction": "smile", "amount": -1.0},
    ]
    assert open_photo(out).size == open_photo(PORTRAIT).size
    assert open_photo(sheet).size[0] > 1000
    again = tmp_path / "again.png"
    assert cli("edit", PORTRAIT, "--recipe", recipe, "--inversion", "encoder", "-o", again)[0] == 0
    assert np.array_equal(open_photo(out).pixels, open_photo(again).pixels)


def test_amounts_beyond_the_range_are_noted(cli: Cli, tmp_path: Path) -> None:
    words = ["edit", PORTRAIT, "--age", "-9", "--smile", "1", "--inversion", "encoder", "-o", tmp_path / "o.png"]
    code, _, err = cli(*words)
    assert code == 0
    assert err.startswith("note: age -9 is beyond")
    assert err.count("\n") == 1


def test_sample_directions_and_invert(cli: Cli, tmp_path: Path) -> None:
    assert cli("sample", "-o", tmp_path / "s.png", "--count", 3)[0] == 0
    assert open_photo(tmp_path / "s.png").size[1] > 90
    code, text, _ = cli("directions", "--json")
    names = {one["name"] for one in json.loads(text)["directions"]}
    assert code == 0
    assert {"age", "gender", "smile", "hair-length", "hair-colour"} <= names
    assert "--age" in cli("directions")[1]
    assert "--preset NAME): grandparent," in cli("directions")[1]
    codes = tmp_path / "me.safetensors"
    assert cli("invert", PORTRAIT, "-o", codes, "--inversion", "encoder", "--sheet", tmp_path / "r.png")[0] == 0
    tensors, header = native.read(codes)
    assert header.kind == "codes"
    assert tensors["ws"].shape[0] == 1


def test_train_makes_a_model_that_opens_photos(cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("portrait.jpg", "beard.jpg"):
        (data / name).write_bytes((ROOT / "examples" / name).read_bytes())
    run = tmp_path / "run"
    words = ["train", "--data", data, "-o", run, "--minutes", "0.02", "--resolution", "32", "--batch", 2]
    code, out, err = cli(*words)
    assert (code, err) == (0, "")
    assert "2 faces, 0 pictures left out" in out
    assert "edits nothing yet" in out
    assert (run / "sheet.png").exists()
    done = ["edit", PORTRAIT, "--model", run / "model", "--inversion", "encoder", "-o", tmp_path / "out.png"]
    assert cli(*done)[0] == 0
    code, _, err = cli("train", "--data", tmp_path / "none", "-o", tmp_path / "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "neither a folder of pictures nor a zip" in err
    for option, numbers, said in (
        ("--channels", "64,abc", "not a list of numbers"),
        ("--channels", "64,32", "generator wants 4 numbers"),
        ("--encoder-widths", "64,32", "encoder wants 4 numbers"),
    ):
        code, _, err = cli("train", "--data", data, "-o", tmp_path / "third", "--resolution", "32", option, numbers)
        assert (code, err.count(said)) == (2, 1)


def test_batch_tells_of_every_photo(cli: Cli, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    Image.new("RGB", (200, 200), (60, 120, 50)).save(photos / "b.png")
    words = ["batch", photos, "--smile", "1", "--inversion", "encoder", "-o", out]
    code, text, err = cli(*words)
    assert (code, err) == (0, "")
    summary = "2 photo(s): 1 edited, 1 without a face; smile +1"
    assert text.splitlines()[1:] == [f"2/2 {photos / 'b.png'}: without a face", summary]
    assert open_photo(out / "a.jpg").size == open_photo(PORTRAIT).size
    (photos / "c.jpg").write_text("this is not a picture")
    code, text, err = cli(*words, "--json")
    assert code == 2
    assert [json.loads(line)["state"] for line in text.splitlines()] == ["kept", "no face", "failed"]
    assert err.splitlines()[-1].startswith("faceloom: 1 of 3 photos failed")
    code, _, err = cli("batch", photos / "b.png", "-o", tmp_path / "other")
    assert (code, err) == (2, "faceloom: no face was found in any photo; nothing was edited\n")
    code, _, err = cli("batch", photos, "smile", "1", "-o", out)
    assert (code, "no photo or folder 'smile'" in err) == (2, True)
    code, _, err = cli("batch", "--smile", "1", photos, "-o", out)
    assert (code, "before the edits" in err) == (2, True)


def test_a_batch_that_is_stopped_says_how_far_it_came(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(tasks: list[Task], *_: object) -> Iterator[Outcome]:
        yield Outcome(tasks[0].photo, tasks[0].output, "edited", faces=1)
        raise KeyboardInterrupt

    monkeypatch.setattr("faceloom.cli.batch.edit_photos", stopped)
    code, text, err = cli("batch", PORTRAIT, "--preset", "grandparent", "-o", tmp_path / "out")
    assert (code, err) == (130, "faceloom: stopped after 1 of 1; the same command goes on\n")
    assert text == f"1/1 {tmp_path / 'out' / 'portrait.jpg'}: 1 face(s), 0.0 s\n"


def bad_files(folder: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in ("text.jpg", "dot.png", "huge.png", "grass.png", "cut.jpg")}
    paths["text.jpg"].write_text("this is not a picture")
    Image.new("RGB", (1, 1)).save(paths["dot.png"])
    Image.new("1", (20_000, 20_000)).save(paths["huge.png"])
    Image.new("RGB", (200, 200), (60, 120, 50)).save(paths["grass.png"])
    paths["cut.jpg"].write_bytes(PORTRAIT.read_bytes()[:4000])
    return paths | {"missing.jpg": folder / "missing.jpg", "folder": folder}


@pytest.mark.parametrize("name", ["text.jpg", "dot.png", "huge.png", "grass.png", "cut.jpg", "missing.jpg", "folder"])
def test_bad_photos_give_one_line_and_write_nothing(cli: Cli, tmp_path: Path, name: str) -> None:
    place = tmp_path / "in"
    place.mkdir()
    photo = bad_files(place)[name]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = cli("edit", photo, "--age", 1, "-o", tmp_path / "out.jpg", "--sheet", tmp_path / "sheet.png")
    assert code == 2
    assert out == ""
    assert re.fullmatch(r"faceloom: [^\n]+\n", err), err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "nowhere/out.jpg", "--age", "1"], "no folder 'nowhere'"),
        (["-o", "out.xyz", "--age", "1"], "picture format"),
        (["-o", "out.jpg", "--agee", "1"], "did you mean 'age'"),
        (["-o", "out.jpg", "--age"], "--age needs an amount"),
        (["-o", "out.jpg", "--age", "much"], "must be a number"),
        (["-o", "out.jpg", "--age", "nan"], "must be between"),
        (["-o", "out.jpg", "older"], "'older' is not understood"),
        (["-o", "out.jpg", "--age", "1", PORTRAIT], "one photo at a time"),
        (["-o", "."], "'.' is a folder"),
        (["-o", "out.jpg", "--age", "1", "--face", "1", "--all-faces"], "either --face or --all-faces"),
        (["-o", "out.jpg", "--age", "1", "--face", "7", "--inversion", "encoder"], "1 face was found"),
        (["-o", "out.jpg", "--recipe", "none.json"], "cannot read the recipe"),
        (["-o", "out.jpg", "--age", "1", "--model", "none"], "there is no model 'none'"),
        (["-o", "out.jpg", "--age", "1", "--save-recipe", "nowhere/r.json"], "no folder 'nowhere'"),
    ],
)
def test_wrong_words_give_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("edit", PORTRAIT, *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert [path for path in tmp_path.iterdir() if not path.name.startswith("own-")] == []


@pytest.mark.parametrize(
    ("words", "photo", "edits"),
    [
        (["me.jpg", "--age", "-1"], "me.jpg", ["--age", "-1"]),
        (["--age", "-1", "me.jpg"], "me.jpg", ["--age", "-1"]),
        (["--age=2", "me.jpg", "--smile", "1"], "me.jpg", ["--age=2", "--smile", "1"]),
        (["--age", "2", "me.jpg", "older"], "me.jpg", ["--age", "2", "older"]),
        (["me.jpg", "--age"], "me.jpg", ["--age"]),
    ],
)
def test_edits_may_come_before_the_photo(words: list[str], photo: str, edits: list[str]) -> None:
    assert photo_and_edits(Path(words[0]), words[1:]) == (Path(photo), tuple(edits))


def test_edits_without_a_photo_are_told(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("edit", "--age", 1, "-o", tmp_path / "out.jpg")
    assert (code, "there is no photo to edit" in err) == (2, True)


def test_the_package_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "faceloom", "--version"], capture_output=True, text=True, check=True)
    assert faceloom.__version__ in done.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(cli: Cli, verb: str) -> None:
    code, out, _ = cli(verb, "--help")
    assert code == 0
    assert "Usage: faceloom" in out


def test_version_and_help_do_not_wait_for_pytorch() -> None:
    program = "import sys; sys.argv = ['faceloom', '--help']\nfrom faceloom.cli.main import main\ntry: main()\n"
    program += "except SystemExit: pass\nprint('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "edit" in done.stdout
    assert time.monotonic() - started < 10.0  # loose: what counts is that torch was not imported
    assert faceloom.__version__ == "0.1.0"


@pytest.mark.parametrize("result", ["-o", "--sheet", "--sticker", "--save-recipe"])
def test_no_result_takes_the_place_of_the_photo_or_of_another(cli: Cli, tmp_path: Path, result: str) -> None:
    photo = tmp_path / "me.png"
    Image.open(PORTRAIT).save(photo)
    before = photo.read_bytes()
    words = ["edit", photo, "--age", 1, "--inversion", "encoder", result, tmp_path / "." / "me.png"]
    code, _, err = cli(*words, *([] if result == "-o" else ["-o", tmp_path / "out.png"]))
    assert (code, "saving there would lose it" in err, photo.read_bytes() == before) == (2, True, True)
    if result != "-o":
        code, _, err = cli("edit", photo, "-o", tmp_path / "out.png", result, tmp_path / "out.png")
        assert (code, "cannot hold two results" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["sample", "-o", "x.png", "--truncation", "nan"],
        ["sample", "-o", "x.png", "--seed", "99999999999999999999"],
        ["animate", "x.avatar", "--edit", "age", "-o", "x.gif", "--seconds", "nan"],
        ["batch", "x", "-o", "y", "--fidelity", "nan"],
        ["edit", "x.jpg", "-o", "x.png", "--model", "a" * 300],
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*words)
    assert (code, "Traceback" in err, list(tmp_path.iterdir())) == (2, False, [])


def test_a_home_that_nobody_has_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_DATA", "~nosuchuser/x")
    code, _, err = cli("models", "list")
    assert (code, "$FACELOOM_DATA" in err) == (2, True)


def test_no_direction_is_called_like_an_option() -> None:
    context = click.Context(group)
    taken = {
        word.removeprefix("--")
        for verb in ("edit", "batch", "render", "animate", "morph")
        for option in (group.get_command(context, verb) or group).params
        for word in (*option.opts, *option.secondary_opts)
        if word.startswith("--")
    }
    assert taken | {"help"} == OPTIONS
    assert word_of("Quality") == word_of(word_of("quality")) == "quality-direction"
