from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from faceloom.cli import doctor as module
from faceloom.cli.doctor import doctor
from faceloom.errors import UsageError


def test_it_fits_on_one_screen() -> None:
    result = CliRunner().invoke(doctor)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert 5 <= len(lines) <= 24
    assert any(line.startswith("draws with") for line in lines)


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_BACKEND", "plain")
    found = json.loads(CliRunner().invoke(doctor, ["--json"]).output)
    assert found["backend"] == {"name": "plain", "reason": "asked for"}
    assert found["threads"] >= 1
    assert found["packages"]["torch"] != "missing"
    assert found["device"] == "cpu"
    assert found["best_device"] in ("cpu", "mps", "cuda:0")


@pytest.mark.parametrize(("best", "said"), [("cuda:0", "--device cuda:0 of"), ("cpu", "processor")])
def test_a_gpu_that_is_not_used_is_named(monkeypatch: pytest.MonkeyPatch, best: str, said: str) -> None:
    known = module.examine()
    monkeypatch.setattr(module, "examine", lambda: {**known, "best_device": best})
    (line,) = [one for one in CliRunner().invoke(doctor).output.splitlines() if one.startswith("draws on")]
    assert said in line
    assert ("--device" in line) == (best == "cuda:0")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_DEVICE", "cuda:99")
    assert isinstance(CliRunner().invoke(doctor).exception, UsageError)


def test_an_unknown_back_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACELOOM_BACKEND", "quick")
    result = CliRunner().invoke(doctor)
    assert isinstance(result.exception, UsageError)
