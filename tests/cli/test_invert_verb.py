from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from faceloom.checkpoints import native
from faceloom.cli.benchmark import benchmark
from faceloom.cli.invert import invert
from faceloom.errors import UsageError
from faceloom.imaging.photos import open_photo
from faceloom.inversion.protocol import Inversion

PORTRAIT = Path(__file__).resolve().parents[2] / "examples" / "portrait.jpg"


@pytest.fixture(autouse=True)
def _usual_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceloom.cli.invert.keep_memory", lambda: False)


def run(*words: object) -> Result:
    return CliRunner().invoke(invert, [str(PORTRAIT), *map(str, words)])


def test_codes_are_saved_with_what_was_tuned(tmp_path: Path) -> None:
    file = tmp_path / "me.safetensors"
    done = run("-o", file, "--fidelity", 0.3, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["bytes"] < 1_000_000
    assert report["inversion"] == "fidelity 0.3"
    tensors, header = native.read(file)
    assert header.kind == "codes"
    tensors["codes"] = tensors.pop("ws")
    found = Inversion.from_tensors(tensors, header.config["generator"])
    assert len(found.tunings) == len(found.codes) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --output to save the codes, or --curve"),
        (["-o", "me.txt"], "must end in .safetensors"),
        (["-o", "none/me.avatar"], "there is no folder 'none'"),
        (["-o", "folder.avatar"], "it is a folder"),
        (["-o", "me.avatar", "--all-faces"], "an avatar is one face"),
        (["-o", "me.avatar", "--sheet", str(PORTRAIT)], "saving there would lose it"),
        (["--sheet", "x.png", "--curve", "x.png"], "cannot hold two results"),
        (["--curve", "c.png", "--curve-edit", "smile"], "such as smile=2"),
        (["--curve", "c.png", "--curve-edit", "smlie=2"], "did you mean 'smile'"),
        (["-o", "me.safetensors", "--fidelity", "0.5", "--inversion", "w+"], "either --fidelity or --inversion"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.avatar").mkdir()
    done = run(*words)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_fidelity_beyond_the_dial_is_refused() -> None:
    assert "0.0<=x<=1.0" in run("--curve", "c.png", "--fidelity", 2).output


@pytest.mark.slow
def test_the_curve_is_drawn(tmp_path: Path) -> None:
    done = run("--curve", tmp_path / "curve.png", "--curve-edit", "smile=2", "--json")
    assert done.exit_code == 0, done.output
    errors = [place["error"] for place in json.loads(done.stdout)["curve"]]
    assert errors == sorted(errors, reverse=True)
    assert open_photo(tmp_path / "curve.png").size[0] > 900


def test_the_benchmark_refuses_what_it_cannot_run(tmp_path: Path) -> None:
    for words, message in (
        (["inversion", "--photos", tmp_path, "--out", tmp_path / "none" / "x.md"], "no folder"),
        (["inversion", "--photos", tmp_path / "none", "--out", tmp_path / "x.md"], "no folder"),
        (["inversion", "--photos", tmp_path, "--out", tmp_path / "x.md", "--methods", "magic"], "choose from"),
        (["likeness", "--photos", tmp_path, "--out", tmp_path / "none" / "x.json"], "no folder"),
    ):
        done = CliRunner().invoke(benchmark, list(map(str, words)))
        assert isinstance(done.exception, UsageError)
        assert message in str(done.exception)
