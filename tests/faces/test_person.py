"""The person mask: the network against the original's answers, and what is made of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from faceloom.checkpoints import native
from faceloom.errors import CheckpointError
from faceloom.faces import segmenter
from faceloom.faces.align import align
from faceloom.faces.detect import detect
from faceloom.faces.person import Silhouette, around_people, matte, person_in, see_people
from faceloom.faces.segmenter import SIDE, PersonNetwork, person_network
from faceloom.imaging.photos import open_photo
from faceloom.types import Crop, Photo, Pixels

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
GOLDEN: dict[str, list[list[float]]] = json.loads((Path(__file__).parent / "person_network.json").read_text())


@pytest.fixture(scope="module")
def portrait() -> tuple[Photo, Crop]:
    photo = open_photo(EXAMPLES / "portrait.jpg")
    return photo, align(photo, detect(photo)[0], 256)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_network_says_what_the_original_says(name: str) -> None:
    with Image.open(EXAMPLES / name) as picture:
        square = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))
    found = person_network()(torch.from_numpy(square.astype(np.float32) / 255).permute(2, 0, 1)[None])[0, 0].numpy()
    means = found.reshape(16, 16, 16, 16).mean(axis=(1, 3))
    wanted = np.array(GOLDEN[name])
    assert wanted.min() < 0.05
    assert wanted.max() > 0.95
    np.testing.assert_allclose(means, wanted, atol=2e-4)


def test_a_person_is_told_from_a_loud_background() -> None:
    photo = open_photo(EXAMPLES / "distant.jpg")
    face = detect(photo)[0]
    mask = see_people(photo.pixels[None], both_ways=True)[0]
    columns, rows = face.landmarks[17:].T.astype(int)
    assert mask[rows, columns].min() > 0.95
    assert mask[:100].max() < 0.1
    assert mask[:, :100].mean() < 0.02
    assert mask[-100:, 280:360].min() > 0.9


def test_nobody_is_seen_where_nobody_is(make_photo: object) -> None:
    assert callable(make_photo)
    pixels: Pixels = make_photo(256, 256, 1).pixels
    assert see_people(pixels[None]).mean() < 0.2
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert see_people(grey[None]).max() < 0.5


def test_a_crop_without_a_person_has_no_silhouette(portrait: tuple[Photo, Crop]) -> None:
    _, crop = portrait
    blank = Crop(np.full((256, 256, 3), 90, np.uint8), crop.quad, crop.face)
    assert person_in(blank) is None
    mask = np.ones((64, 64), np.float32)
    assert around_people(mask, blank, blank.pixels) is mask


def test_a_silhouette_is_one_piece_and_remembered(portrait: tuple[Photo, Crop]) -> None:
    _, crop = portrait
    person = person_in(crop)
    assert person is not None
    assert person_in(crop.alone()) is person
    assert person.at(len(person.mask)) is person
    small = person.at(64)
    assert person.at(64) is small
    assert small.coefficients.shape == (64, 64, 4)
    assert small.colours.shape == (64, 64, 3)
    share = len(person.mask) // 64
    means = person.mask.reshape(64, share, 64, share).mean(axis=(1, 3))
    np.testing.assert_allclose(small.mask, means, atol=1e-5)
    _, count = ndimage.label(person.mask > 0.6)
    assert count == 1
    assert person.mask[128, 128] == 1.0


def test_two_people_have_a_silhouette_each(portrait: tuple[Photo, Crop]) -> None:
    photo, crop = portrait
    pair = Photo(np.concatenate([photo.pixels, photo.pixels[:, ::-1]], axis=1))
    faces = sorted(detect(pair), key=lambda face: face.box[0])
    assert len(faces) == 2
    first, second = (person_in(align(pair, face, 256)) for face in faces)
    assert isinstance(first, Silhouette)
    assert isinstance(second, Silhouette)
    alone = person_in(crop)
    assert alone is not None
    inner = np.s_[40:, 60:196]
    assert np.abs(first.mask[inner] - alone.mask[inner]).mean() < 0.05
    assert np.abs(second.mask[inner] - alone.mask[:, ::-1][inner]).mean() < 0.08


def test_people_who_touch_are_parted_between_their_faces(portrait: tuple[Photo, Crop]) -> None:
    photo, _ = portrait
    apart = 120  # px: the hair of one lies on the shoulder of the other
    pair = Photo(np.concatenate([photo.pixels[:, :185], photo.pixels[:, 185 - apart :]], axis=1))
    first, second = sorted(detect(pair), key=lambda face: face.box[0])
    crop = align(pair, first, 256, (first, second))
    ((x, y, _),) = crop.others
    assert 0.5 < x < 1.5
    beside = (np.array([x, y]) * 256).astype(int)
    blind, seeing = person_in(align(pair, first, 256)), person_in(crop)
    assert blind is not None
    assert seeing is not None
    edge = np.s_[beside[1] - 10 : beside[1] + 10, -12:]
    assert blind.mask[edge].mean() > 0.6, "without knowing of the other face, they are one person"
    assert seeing.mask[edge].mean() < 0.2
    assert seeing.mask[110:150, 110:150].min() > 0.95
    again = crop.recut(crop.pixels, crop.quad)
    np.testing.assert_allclose(again.others, crop.others)


def test_the_filter_follows_the_edge_of_the_picture() -> None:
    # What was seen ends some pixels beside where the colours change.
    from faceloom.faces import person

    y, x = np.mgrid[0:128, 0:128]
    inside = np.hypot(x - 64, y - 64) < 40
    pixels = np.where(inside[..., None], (200, 160, 140), (40, 90, 60)).astype(np.uint8)
    seen = ndimage.gaussian_filter((np.hypot(x - 66, y - 64) < 41).astype(np.float32), 2)
    found = person._silhouette(pixels, seen)
    assert np.abs(found.mask - inside).mean() < 0.4 * np.abs(seen - inside).mean()
    large = np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1)
    wide = np.repeat(np.repeat(found.coefficients, 2, axis=0), 2, axis=1)
    sharp = matte(wide, large.astype(np.float32))
    np.testing.assert_allclose(sharp[::2, ::2], found.mask, atol=1e-5)


def test_a_mask_around_people_leaves_the_background_out(portrait: tuple[Photo, Crop]) -> None:
    _, crop = portrait
    person = person_in(crop)
    assert person is not None
    kept = around_people(np.ones((128, 128), np.float32), crop, crop.pixels)
    assert kept.shape == person.mask.shape
    assert kept[128, 128] > 0.99
    assert kept[person.mask < 0.01].mean() < 0.1


def test_a_damaged_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "assets" / "person"
    folder.mkdir(parents=True)
    monkeypatch.setattr("faceloom.faces.segmenter.resources.files", lambda _: tmp_path)
    state = PersonNetwork().state_dict()
    for kind, tensors in (("stylegan2", state), (segmenter.KIND, {"stem.bias": state["stem.bias"]})):
        native.write(folder / "person.safetensors", tensors, native.Header(kind, {}, {}))
        with pytest.raises(CheckpointError, match="install Faceloom again"):
            person_network.__wrapped__()


def test_it_costs_little(portrait: tuple[Photo, Crop]) -> None:
    photo, _ = portrait
    crop = align(photo, detect(photo)[0], 256)
    person_network()
    started = time.process_time()
    person_in(crop)
    assert time.process_time() - started < 0.6  # 0.05 s on an idle core
