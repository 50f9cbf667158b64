from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from faceloom.cli.main import main
from faceloom.directions.direction import DirectionSet
from faceloom.imaging.photos import open_photo
from faceloom.metrics.judges import judges_folder
from faceloom.model import forget_models

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["faceloom", *map(str, words)])
        monkeypatch.setattr("faceloom.settings.keep_memory", lambda: False)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    forget_models()
    yield run
    forget_models()  # the data folder is this test's own


def test_discover_name_edit_pack_and_remove(cli: Cli, tmp_path: Path) -> None:
    found, sheet = tmp_path / "found.safetensors", tmp_path / "sheet.png"
    code, out, _ = cli(
        "discover", "pca", "--count", 3, "--samples", 200, "--out", found, "--sheet", sheet, "--people", 1
    )
    assert code == 0
    assert "3 direction(s) from 200 random codes" in out
    assert open_photo(sheet).size[0] > 400
    code, out, _ = cli("directions", "name", found, 1, "Hair volume", "--low", "flat", "--high", "full")
    assert (code, "faceloom edit --hair-volume 1" in out) == (0, True)
    entries = json.loads(cli("directions", "--json")[1])["directions"]
    named = next(one for one in entries if one["name"] == "hair-volume")
    assert (named["low"], named["high"], named["unit"]) == ("flat", "full", "one standard deviation of codes along it")
    photo = EXAMPLES / "portrait.jpg"
    assert cli("edit", photo, "--hair-volume", 2, "--inversion", "encoder", "-o", tmp_path / "o.png")[0] == 0
    assert not np.array_equal(open_photo(tmp_path / "o.png").pixels, open_photo(photo).pixels)
    pack = tmp_path / "mine.pack.safetensors"
    assert cli("directions", "pack", "hair-volume", "-o", pack, "--author", "Me", "--licence", "CC0")[0] == 0
    assert "pack hair-volume: hair-volume" in cli("directions", "list")[1]
    assert cli("directions", "remove", "hair-volume")[0] == 0
    assert "hair-volume" not in cli("directions")[1]
    assert cli("directions", "install", pack)[0] == 0
    assert "pack mine: hair-volume (Me, CC0)" in cli("directions", "list")[1]
    assert cli("directions", "install", pack)[0] == 0  # again: replaced


def test_what_is_wrong_is_told(cli: Cli, tmp_path: Path) -> None:
    found = tmp_path / "found.safetensors"
    assert cli("discover", "sefa", "--count", 1, "--layers", "0-1", "--out", found)[0] == 0
    assert "sefa0-layers-0-1" in DirectionSet.load(found).names()
    code, _, err = cli("directions", "name", found, 7, "x")
    assert (code, "holds the directions 0 to 0, not 7" in err) == (2, True)
    code, _, err = cli("directions", "name", found, 0, "sheet")
    assert (code, "--sheet is an option of `faceloom edit`" in err) == (2, True)
    code, _, err = cli("directions", "name", found, 0, "age")
    assert (code, "already has a direction 'age'" in err) == (2, True)
    given = DirectionSet.load(found)
    DirectionSet(list(given), "0123456789abcdef").save(found)
    code, _, err = cli("directions", "install", found)
    assert (code, "made for the generator 0123456789abcdef" in err) == (2, True)
    assert cli("discover", "stylespace", "--out", found)[0] == 2
    assert cli("discover", "labels", "x", "--out", found)[0] == 2
    assert cli("discover", "pca", "--layers", "a-b", "--out", found)[0] == 2
    assert cli("discover", "pca", "--out", tmp_path / "none" / "x")[0] == 2


def test_two_folders_of_photos_and_a_table(cli: Cli, tmp_path: Path) -> None:
    with_it, without = tmp_path / "with", tmp_path / "without"
    for folder, name in ((with_it, "beard.jpg"), (without, "portrait.jpg")):
        folder.mkdir()
        for number in range(5):
            shutil.copy(EXAMPLES / name, folder / f"{number}.jpg")
    (with_it / "broken.jpg").write_text("no picture")
    found = tmp_path / "found.safetensors"
    code, out, err = cli("discover", "labels", "Beard 2", "--with", with_it, "--without", without, "--out", found)
    assert (code, "broken.jpg is left out" in err) == (0, True)
    assert "1 direction(s) from 10 labelled faces" in out
    assert DirectionSet.load(found).names() == ("beard-2",)
    table = tmp_path / "labels.csv"
    table.write_text("file,beard\n" + "".join(f"with/{number}.jpg,1\n" for number in range(5)))
    code, _, err = cli("discover", "labels", "beard", "--csv", table, "--out", found)
    assert (code, "has labels for 5 faces" in err) == (2, True)
    code, _, err = cli("discover", "labels", "hat", "--csv", table, "--out", found)
    assert (code, "needs the columns 'file' and 'hat'" in err) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(not (judges_folder() / "node_modules").is_dir(), reason="the judges are not installed")
def test_judges_label_random_faces(cli: Cli, tmp_path: Path) -> None:
    found = tmp_path / "found.safetensors"
    words = ["--judge", "happy_logit", "--samples", 60, "--method", "ridge", "--out", found]
    assert cli("discover", "labels", "grin", *words)[0] == 0
    assert cli("discover", "stylespace", "--judge", "happy_logit", "--samples", 60, "--out", found)[0] == 0
    assert all(one.space == "s" for one in DirectionSet.load(found))
    code, _, err = cli("discover", "labels", "grin", "--judge", "grumpy", "--samples", 10, "--out", found)
    assert (code, "no judge has a score 'grumpy'" in err) == (2, True)


def test_channels_of_a_region_edit_a_photo(cli: Cli, tmp_path: Path) -> None:
    found = tmp_path / "found.safetensors"
    words = ["--region", "mouth", "--count", 2, "--samples", 60, "--out", found]
    assert cli("discover", "stylespace", *words)[0] == 0
    name = DirectionSet.load(found).names()[0]
    assert cli("directions", "name", found, name, "lips")[0] == 0
    out = tmp_path / "o.png"
    assert cli("edit", EXAMPLES / "portrait.jpg", "--lips", 5, "--inversion", "encoder", "-o", out)[0] == 0
    assert not np.array_equal(open_photo(out).pixels, open_photo(EXAMPLES / "portrait.jpg").pixels)


def test_presets_and_kept_attributes(cli: Cli, tmp_path: Path) -> None:
    photo, out, recipe = EXAMPLES / "portrait.jpg", tmp_path / "o.png", tmp_path / "r.json"
    words = ["--preset", "say-cheese", "--strength", 0.5, "--save-recipe", recipe, "--inversion", "encoder", "-o", out]
    assert cli("edit", photo, *words)[0] == 0
    assert json.loads(recipe.read_text())["edits"] == [{"direction": "smile", "amount": 1.25}]
    kept = tmp_path / "k.png"
    words = ["--smile", 1.25, "--keep", "mouth-open", "--save-recipe", recipe, "--inversion", "encoder", "-o", kept]
    assert cli("edit", photo, *words)[0] == 0
    saved = json.loads(recipe.read_text())
    assert saved["balance"] is True
    assert {"direction": "mouth-open", "amount": 0.0} in saved["edits"]
    assert not np.array_equal(open_photo(kept).pixels, open_photo(out).pixels)
    assert cli("edit", photo, "--strength", 1, "-o", out)[0] == 2
    code, _, err = cli("edit", photo, "--preset", "nonsense", "-o", out)
    assert (code, "there is no preset 'nonsense'" in err) == (2, True)
