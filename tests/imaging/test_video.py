from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceloom.errors import MissingExtraError, UsageError
from faceloom.imaging import video
from faceloom.imaging.video import check_film, save_video
from faceloom.types import Pixels


def frames(count: int = 6, size: tuple[int, int] = (33, 48)) -> Iterator[Pixels]:
    for index in range(count):
        yield np.full((*size, 3), (index * 40, 90, 200 - index * 30), np.uint8)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_moving_pictures_hold_every_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"loop{suffix}"
    assert save_video(frames(), path, rate=20.0) == 6
    with Image.open(path) as picture:
        assert picture.n_frames == 6  # type: ignore[attr-defined]
        assert picture.size == (48, 33)
        picture.seek(5)
        assert np.abs(np.asarray(picture.convert("RGB"))[10, 10].astype(int) - (200, 90, 50)).max() < 12
        assert picture.info["duration"] == 50


def test_an_mp4_plays_back(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "loop.mp4"
    assert save_video(frames(), path, rate=25.0) == 6
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.metadata["comment"].startswith("Edited with AI")
        assert float(container.streams.video[0].average_rate) == 25.0
    assert len(decoded) == 6
    assert decoded[0].shape == (32, 48, 3)
    assert np.abs(decoded[5][10, 10].astype(int) - (200, 90, 50)).max() < 12


def test_mp4_without_its_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="faceloom\\[video\\]"):
        save_video(frames(), tmp_path / "loop.mp4")
    assert not list(tmp_path.iterdir())


def test_nothing_is_half_written(tmp_path: Path) -> None:
    def broken() -> Iterator[Pixels]:
        yield from frames(2)
        raise RuntimeError("stop")

    for name in ("a.gif", "a.webp", "a.mp4"):
        with pytest.raises(RuntimeError, match="stop"):
            save_video(broken(), tmp_path / name)
    with pytest.raises(UsageError, match="at least one frame"):
        save_video(iter(()), tmp_path / "a.gif")
    with pytest.raises(UsageError, match="must end in"):
        save_video(frames(), tmp_path / "a.avi")
    with pytest.raises(UsageError, match="no folder"):
        save_video(frames(), tmp_path / "missing" / "a.gif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("suffix", "rate"), [(".gif", 40.0), (".gif", 30.0), (".webp", 60.0)])
def test_films_last_as_long_as_their_frames_say(tmp_path: Path, suffix: str, rate: float) -> None:
    path = tmp_path / f"loop{suffix}"
    save_video(frames(6), path, rate=rate)
    lasts = 0
    with Image.open(path) as picture:
        for index in range(6):
            picture.seek(index)
            picture.load()
            lasts += picture.info["duration"]
    assert abs(lasts - 6000 / rate) <= 5


def test_what_a_format_cannot_do_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 50 frames a second"):
        check_film(tmp_path / "x.gif", 60.0, 10, (10, 10))
    with pytest.raises(UsageError, match="cannot be held for"):
        check_film(tmp_path / "x.webp", 25.0, 75, (4000, 3000))
    check_film(tmp_path / "x.mp4", 60.0, 3600, (4000, 3000))
    (tmp_path / "d.gif").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        save_video(frames(), tmp_path / "d.gif")


def test_frames_that_memory_cannot_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MOST_BYTES", 4 * 3 * 33 * 48)
    with pytest.raises(UsageError, match="cannot be held"):
        save_video(frames(5), tmp_path / "x.webp")
    assert not list(tmp_path.iterdir())
