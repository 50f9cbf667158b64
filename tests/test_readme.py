"""What README shows, works."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from faceloom.cli.main import VERBS, cli
from faceloom.cli.options import parse_edits
from faceloom.imaging.photos import open_photo

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    found = []
    for line in "".join(blocks("console")).splitlines():
        for part in line.split("#")[0].split("&&"):
            words = shlex.split(part)
            if words and words[0].endswith("faceloom"):
                found.append(words[1:])
    return found


def test_there_are_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    assert words[0] in VERBS
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None
    context = command.make_context(words[0], words[1:])
    parse_edits(context.params.get("edits", ()))


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    example = next(block for block in blocks("python") if "Editor" in block)
    exec(compile(example, "README.md", "exec"), {})
    sizes = {open_photo(path).size for path in tmp_path.glob("age*.png")}
    assert len(list(tmp_path.glob("age*.png"))) == 4
    assert sizes == {open_photo("examples/portrait.jpg").size}


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
