"""What every test gets: its own folders, one thread, repeatable examples."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("faceloom", deadline=None, derandomize=True, max_examples=25, database=None)
settings.load_profile("faceloom")

_SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the folders of the person who runs them."""
    monkeypatch.setenv("FACELOOM_DATA", str(tmp_path / "own-data"))
    monkeypatch.setenv("FACELOOM_CACHE", str(tmp_path / "own-cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed PyTorch where a test module has imported it, and keep it to one thread."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of data beside the repository; tests that need it are skipped where it is absent."""
    if not _SHARED.is_dir():
        pytest.skip("the folder of shared data is not here")
    return _SHARED
