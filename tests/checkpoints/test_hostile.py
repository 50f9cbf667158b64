"""Files made to harm whoever opens them: none runs anything, none crashes or starves the process, each is refused."""

from __future__ import annotations

import json
import os
import pickle
import random
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

_HERE = Path(__file__).parent
_FILES = runpy.run_path(str(_HERE / "hostile_files.py"))
_SPARE = 256 << 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured on Linux only")


def _probe(folder: Path, work: Path) -> dict[str, Any]:
    """Load all files of a folder in one process of its own, and check what must hold for every file."""
    (work / "canary_module.py").write_text(f"open({str(work / 'canary')!r}, 'w').close()\n")
    paths = os.pathsep.join([str(_HERE.parents[1] / "src"), str(work)])
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(_HERE / "probe.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=work,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    files: dict[str, Any] = result["files"]
    assert not (work / "canary").exists()
    assert result["imported"] == []
    assert files.keys() == {path.name for path in folder.iterdir()}
    for name, file in files.items():
        assert file["outcome"] == "value" or name in file["outcome"], (name, file)
        assert "\n" not in file["outcome"], name
        assert "more memory than there is" not in file["outcome"], name
        assert file["bytes"] <= 2 * (folder / name).stat().st_size + _SPARE, (name, file)
        assert file["seconds"] < 60, (name, file)
    return files


def test_the_canary_sings(tmp_path: Path) -> None:
    # Without this, a canary that cannot sing would let everything else pass.
    wanted = {"call-os.system", "call-builtins.eval", "inst", "obj", "stack-global", "stack-global-of-memo"}
    for number, name in enumerate(sorted(wanted)):
        canary = tmp_path / str(number)
        command = f"touch {canary}"
        pickle.loads(dict([*_FILES["calls"](command), *_FILES["forms"](command)])[name])
        assert canary.exists(), name


def test_hostile_files_are_refused_and_do_nothing(tmp_path: Path) -> None:
    corpus: dict[str, bytes] = _FILES["corpus"](f"touch {tmp_path / 'canary'}")
    assert len(corpus) >= 60
    folder = tmp_path / "files"
    folder.mkdir()
    for name, data in corpus.items():
        (folder / f"{name}.pkl").write_bytes(data)
    files = _probe(folder, tmp_path)
    assert [name for name, file in files.items() if file["outcome"] == "value"] == []
    for name, _ in _FILES["forms"](""):
        assert "no instruction" not in files[f"{name}.pkl"]["outcome"], "the test itself is malformed"
    largest = max(files, key=lambda name: files[name]["bytes"])
    slowest = max(files, key=lambda name: files[name]["seconds"])
    print(f"{len(files)} files; {largest}: {files[largest]}; {slowest}: {files[slowest]}")


def test_damaged_files_give_an_error_or_a_value(tmp_path: Path, golden_folder: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    torch.save({"w": torch.arange(100.0), "v": torch.ones(3)}, tmp_path / "torch.pt")
    goldens = ("stylegan2ada_conditional_16.pkl", "stylegan2_tensorflow_32.pkl")
    for source in (tmp_path / "torch.pt", *(golden_folder / golden for golden in goldens)):
        data = source.read_bytes()
        for part in (1, 10, 500, len(data) // 3, len(data) // 2, len(data) - 1):
            (folder / f"cut-{part}-{source.name}").write_bytes(data[:part])
        for number, damaged in enumerate(_damaged(data, 30)):
            (folder / f"flip-{number}-{source.name}").write_bytes(damaged)
    files = _probe(folder, tmp_path)
    assert all(file["outcome"] != "value" for name, file in files.items() if name.startswith("cut"))
    refused = sum(file["outcome"] != "value" for name, file in files.items() if name.startswith("flip"))
    assert 10 <= refused < 90


def _damaged(data: bytes, count: int) -> Iterator[bytes]:
    """Copies with a few bits flipped. Most bytes are weights; half of the copies are damaged in what describes them."""
    rng = random.Random(len(data))
    for number in range(count):
        damaged = bytearray(data)
        reach = len(data) if number % 2 else min(len(data), 6000)
        for _ in range(rng.choice((1, 3, 30))):
            damaged[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        yield bytes(damaged)
