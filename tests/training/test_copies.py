from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from faceloom.training.copies import repeats
from faceloom.training.images import load_faces

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_all_but_the_sharpest_of_copies_repeat() -> None:
    random = np.random.default_rng(0)
    small = [Image.fromarray(random.integers(0, 255, (12, 12, 3), np.uint8)) for _ in range(3)]
    first, second, third = (picture.resize((64, 64), Image.Resampling.BICUBIC) for picture in small)
    mirrored = second.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pictures = [first.filter(ImageFilter.GaussianBlur(1.5)), first, mirrored, third, second, second]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    found = repeats(pixels)
    assert not found[1]
    assert not found[3]
    assert found[0]
    assert sorted(found[[2, 4, 5]].tolist()) == [False, True, True]
    assert not repeats(pixels[[1, 3]]).any()


def test_a_photo_is_loaded_once_however_it_was_saved(tmp_path: Path) -> None:
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")
    portrait.thumbnail((500, 500))
    portrait.save(tmp_path / "a.png")
    mirrored = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ImageEnhance.Brightness(mirrored).enhance(1.2).save(tmp_path / "b.jpg", quality=60)
    portrait.resize((portrait.width // 2, portrait.height // 2)).save(tmp_path / "c.jpg")
    other = Image.open(EXAMPLES / "beard.jpg").convert("RGB")
    other.thumbnail((500, 500))
    other.save(tmp_path / "d.png")
    found = load_faces([tmp_path], 64)
    assert len(found) == 2
    assert found.skipped == 2
    assert f"{tmp_path.name}/d.png" in found.names
    assert len(load_faces([tmp_path], 64, copies=True)) == 4
