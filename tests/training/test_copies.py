from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from faceloom.errors import TrainingError
from faceloom.training import images
from faceloom.training.copies import repeats
from faceloom.training.images import FaceSet, load_faces

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
    assert len(load_faces([tmp_path], 64, drawn=True)) == 4


def test_drawings_may_be_grey_and_photos_may_lie_on_their_side(tmp_path: Path) -> None:
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")
    portrait.thumbnail((500, 500))
    (tmp_path / "grey").mkdir()
    portrait.convert("L").save(tmp_path / "grey" / "a.png")
    with pytest.raises(TrainingError, match="no usable face"):
        load_faces([tmp_path / "grey"], 64)
    assert len(load_faces([tmp_path / "grey"], 64, drawn=True)) == 1
    (tmp_path / "turned").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned" / "b.jpg", exif=exif)
    assert len(load_faces([tmp_path / "turned"], 64)) == 1
    clear = Image.fromarray(np.zeros((20, 20, 4), np.uint8))
    data = io.BytesIO()
    clear.save(data, "PNG")
    assert images._decode(data.getvalue(), "x").min() == 255


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_what_is_no_file_of_faces_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "faces.npz"
    with pytest.raises(TrainingError, match="no file of faces"):
        FaceSet.load(path)
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="no file of faces"):
        FaceSet.load(path)
    np.savez(path, pixels=np.zeros((2, 8, 8, 3), np.uint8), landmarks=np.zeros((1, 68, 2)), names=["a", "b"], skipped=0)
    with pytest.raises(TrainingError, match="does not hold faces"):
        FaceSet.load(path)
