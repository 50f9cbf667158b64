from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
import torch

from faceloom import settings
from faceloom.errors import UsageError


@pytest.mark.parametrize(
    ("find", "variable", "system"),
    [
        (settings.data_folder, "FACELOOM_DATA", platformdirs.user_data_path("faceloom", appauthor=False)),
        (settings.cache_folder, "FACELOOM_CACHE", platformdirs.user_cache_path("faceloom", appauthor=False)),
    ],
)
def test_folders_follow_the_environment_and_are_not_created(
    find: type[Path], variable: str, system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "mine"))
    assert find() == tmp_path / "mine"
    assert not find().exists()
    monkeypatch.delenv(variable)
    assert find() == system


def test_device_is_the_best_present(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert settings.choose_device() == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert settings.choose_device() == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert settings.choose_device() == torch.device("cuda", 0)  # as tensors name it
    assert settings.choose_device("cuda:1") == torch.device("cuda", 1)
    assert settings.choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:-1", "cuda:x", "cpu:1", "mps:0", "cuda:2", "mps"])
def test_unknown_or_absent_device_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError, match="choose"):
        settings.choose_device(name)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="the allocator is not glibc's")
def test_keep_memory_keeps_large_blocks() -> None:
    # Without it, glibc maps a block of 64 MiB afresh each time and every use of it faults in all its pages anew.
    program = """
import resource, sys
from faceloom.settings import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def use():
    block = bytearray(64 * 2**20)
    block[::4096] = bytes(len(block[::4096]))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", program, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "leave")
    }
    assert faults["leave"] > 10_000
    assert faults["keep"] < faults["leave"] / 10


def test_keep_memory_says_when_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not settings.keep_memory()


def test_waiting_asleep_leaves_the_environment_its_say(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("KMP_BLOCKTIME", "7")
    settings.wait_asleep()
    assert [os.environ.get(name) for name in names] == ["1000", "7", None]
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    settings.wait_asleep()
    assert "GOMP_SPINCOUNT" not in os.environ


def test_the_command_line_says_so_before_pytorch_is_loaded() -> None:
    program = """
import os, sys
from faceloom.cli import main
sys.argv = ["faceloom", "--help"]
try:
    main.main()
finally:
    assert "torch" not in sys.modules
    assert os.environ["GOMP_SPINCOUNT"]
"""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.DEVNULL)
