from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import faceloom


def test_every_public_name_is_there() -> None:
    assert "open_photo" in dir(faceloom)
    assert all(getattr(faceloom, name) is not None for name in dir(faceloom) if not name.startswith("_"))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        faceloom.nothing  # noqa: B018


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("faceloom") == faceloom.__version__


def test_import_brings_nothing_heavy() -> None:
    program = "import sys, faceloom; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert "faceloom" in loaded
    assert not {"torch", "numpy", "PIL", "dlib", "scipy", "click", "rich"} & set(loaded)
