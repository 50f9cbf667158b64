"""Reading TensorFlow.js weights, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from faceloom.errors import CheckpointError
from faceloom.metrics.tfjs import read_tfjs_weights

CODES = np.array([[0, 128, 255]], dtype=np.uint8)
HALVES = np.array([1.5, -2.0], dtype=np.float16)
FLOATS = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
ENTRIES: list[dict[str, Any]] = [
    {
        "name": "a/codes",
        "shape": [1, 3],
        "dtype": "float32",
        "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.25},
    },
    {"name": "a/halves", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16"}},
    {"name": "b", "shape": [2, 2], "dtype": "float32"},
    {"name": "axes", "shape": [], "dtype": "int32"},
]
DATA = CODES.tobytes() + HALVES.tobytes() + FLOATS.tobytes() + np.int32(7).tobytes()


def write(folder: Path, *, wrapped: bool = False, data: bytes = DATA, **changes: Any) -> Path:
    (folder / "one.bin").write_bytes(data[:5])
    (folder / "two.bin").write_bytes(data[5:])
    groups = [{"paths": ["one.bin", "two.bin"], "weights": ENTRIES} | changes]
    manifest = folder / "model.json"
    manifest.write_text(json.dumps({"format": "graph-model", "weightsManifest": groups} if wrapped else groups))
    return manifest


@pytest.mark.parametrize("wrapped", [False, True])
def test_reads_every_kind_across_files(tmp_path: Path, wrapped: bool) -> None:
    weights = read_tfjs_weights(write(tmp_path, wrapped=wrapped))
    assert weights["a/codes"].tolist() == [[-1.25, 62.75, 126.25]]
    assert weights["a/halves"].tolist() == [1.5, -2.0]
    assert weights["b"].tolist() == FLOATS.reshape(2, 2).tolist()
    assert weights["axes"].dtype == torch.int32
    assert weights["axes"].item() == 7
    assert {weights[name].dtype for name in ("a/codes", "a/halves", "b")} == {torch.float32}


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\0", b""])
def test_wrong_amount_of_data(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CheckpointError, match="install the judges again"):
        read_tfjs_weights(write(tmp_path, data=data))


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "one.bin").write_bytes(DATA)
    with pytest.raises(CheckpointError, match="outside"):
        read_tfjs_weights(write(inner, paths=["../one.bin"]))


@pytest.mark.parametrize("text", ["", "{", "{}", "3", "[3]", '[{"paths": []}]', '[{"paths": 3, "weights": []}]'])
def test_other_documents_are_refused(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "model.json"
    manifest.write_text(text)
    with pytest.raises(CheckpointError, match=r"no TensorFlow\.js weights"):
        read_tfjs_weights(manifest)


@pytest.mark.parametrize("change", [{"dtype": "string"}, {"shape": [9999]}, {"shape": "x"}, {"shape": [-1]}])
def test_other_entries_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        read_tfjs_weights(write(tmp_path, data=FLOATS.tobytes(), weights=[ENTRIES[2] | change]))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="Cannot read"):
        read_tfjs_weights(tmp_path / "absent.json")
    manifest = write(tmp_path)
    (tmp_path / "two.bin").unlink()
    with pytest.raises(CheckpointError, match="Cannot read"):
        read_tfjs_weights(manifest)
