from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceloom.errors import TrainingError
from faceloom.training.images import FaceSet
from faceloom.training.packing import QUALITIES, gather, is_packed, pack, unpack


def portraits(count: int = 24, size: int = 32, grain: float = 0.0) -> FaceSet:
    """Sums of a few waves, and grain, which takes many bytes."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [np.sin(6 * (random.normal(size=(count, 1, 1, 3)) * axis[..., None])) for axis in (x, y, x + y)]
    speckles = random.normal(0, grain, (count, size, size, 3))
    pixels = (127.5 + 40 * sum(waves) + speckles).clip(0, 255).astype(np.uint8)
    names = tuple(f"waves/{number}.jpg" for number in range(count))
    return FaceSet(pixels, random.uniform(-0.1, 1.1, (count, 68, 2)), names, skipped=3)


def test_packed_faces_come_back(tmp_path: Path) -> None:
    faces, path = portraits(), tmp_path / "faces.zip"
    quality, size = pack(faces, path, 2**20)
    assert quality == QUALITIES[0]
    assert size == path.stat().st_size <= 2**20
    again = unpack(path, 32)
    assert again.names == faces.names
    assert again.skipped == 3
    assert np.array_equal(again.held_out, faces.held_out)
    assert np.abs(again.landmarks - faces.landmarks).max() < 1e-3
    assert np.abs(again.pixels.astype(int) - faces.pixels).mean() < 4.0


def test_the_quality_gives_way_to_the_bound(tmp_path: Path) -> None:
    faces, path = portraits(grain=20.0), tmp_path / "faces.zip"
    _, best = pack(faces, path, 2**20)
    for bound in (best - 1, round(best * 0.9)):
        quality, size = pack(faces, path, bound)
        assert size <= bound
        assert quality < QUALITIES[0]
        assert len(unpack(path, 32)) == len(faces)
    with pytest.raises(TrainingError, match="do not fit"):
        pack(faces, path, 10_000)


def test_packed_faces_can_be_halved_but_not_enlarged(tmp_path: Path) -> None:
    path = tmp_path / "faces.zip"
    pack(portraits(), path, 2**20)
    half = unpack(path, 16).pixels
    whole = unpack(path, 32).pixels.astype(float)
    assert half.shape == (24, 16, 16, 3)
    assert np.abs(half - whole.reshape(24, 16, 2, 16, 2, 3).mean(axis=(2, 4))).max() <= 1.0
    with pytest.raises(TrainingError, match="are 32 px, not 64"):
        unpack(path, 64)


def test_sources_are_joined(tmp_path: Path) -> None:
    faces = portraits()
    pack(faces, tmp_path / "a.zip", 2**20)
    other = replace(faces, names=tuple(f"others/{number}.jpg" for number in range(24)))
    pack(other, tmp_path / "b.zip", 2**20)
    both = gather([tmp_path / "a.zip", tmp_path / "b.zip"], 32)
    assert both.names == (*faces.names, *other.names)
    assert both.skipped == 6
    assert len(both.pixels) == len(both.landmarks) == 48


def test_other_files_are_not_packed_faces(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    assert not is_packed(tmp_path / "a.zip")
    assert not is_packed(tmp_path)
    pack(portraits(2), tmp_path / "b.zip", 2**20)
    assert is_packed(tmp_path / "b.zip")
    data = (tmp_path / "b.zip").read_bytes().replace(b"RIFF", b"XXXX")
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(TrainingError, match="damaged"):
        unpack(tmp_path / "b.zip", 32)
