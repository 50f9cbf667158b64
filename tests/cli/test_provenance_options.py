from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from faceloom.cli.edit import edit
from faceloom.cli.invert import invert
from faceloom.cli.morph import morph
from faceloom.cli.render import render
from faceloom.cli.sample import sample
from faceloom.provenance.claims import COMPOSITE, GENERATED
from faceloom.provenance.reading import read_statement
from faceloom.provenance.saving import mark_in_use

PORTRAIT = str(Path(__file__).parents[2] / "examples" / "portrait.jpg")
QUICK = ["--inversion", "encoder"]


def run(command: object, *words: object) -> str:
    done = CliRunner().invoke(command, [str(word) for word in words])  # type: ignore[arg-type]
    assert done.exit_code == 0, done.output
    return done.stdout


def test_edit_marks_all_it_saves_unless_told_not_to(tmp_path: Path) -> None:
    picture, sticker, sheet = (tmp_path / name for name in ("me.jpg", "me.png", "strip.webp"))
    words = [PORTRAIT, "--age", "1.5", "-o", picture, "--sticker", sticker, "--sheet", sheet, "--json", *QUICK]
    assert json.loads(run(edit, *words))["provenance"] == mark_in_use()
    for path in (picture, sticker, sheet):
        said = read_statement(path)
        assert (said.mark, said.source_type) == (mark_in_use(), COMPOSITE)
        assert said.intact or said.mark == "metadata"
    for path in (picture, sticker):
        recipe = read_statement(path).recipe
        assert recipe is not None
        assert [(one.direction, one.amount) for one in recipe.edits] == [("age", 1.5)]
    assert json.loads(run(edit, *words, "--no-provenance"))["provenance"] == "none"
    assert {read_statement(path).mark for path in (picture, sticker, sheet)} == {"none"}


def test_what_is_made_of_an_avatar_is_marked(tmp_path: Path) -> None:
    avatar, picture, film = (tmp_path / name for name in ("me.avatar", "me.webp", "me.gif"))
    run(invert, PORTRAIT, "-o", avatar, *QUICK)
    run(render, avatar, "--smile", "1", "-o", picture)
    assert read_statement(picture).source_type == COMPOSITE
    run(render, avatar, "--smile", "1", "-o", picture, "--no-provenance")
    assert read_statement(picture).mark == "none"
    run(morph, avatar, avatar, "-o", film, "--seconds", "0.1", "--rate", "20")
    assert read_statement(film).mark == ("credentials" if mark_in_use() == "credentials" else "none")


def test_people_who_do_not_exist_are_said_to_be_drawn(tmp_path: Path) -> None:
    run(sample, "-o", tmp_path / "nobody.png", "--count", "2")
    assert read_statement(tmp_path / "nobody.png").source_type == GENERATED
    run(sample, "-o", tmp_path / "nobody.png", "--count", "2", "--no-provenance")
    assert read_statement(tmp_path / "nobody.png").mark == "none"


@pytest.mark.parametrize("command", [edit, render, morph, sample])
def test_the_help_says_how_to_turn_it_off(command: object) -> None:
    text = " ".join(run(command, "--help").split())
    assert "--no-provenance" in text
    assert "Others then cannot tell" in text
