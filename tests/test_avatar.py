from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceloom.avatar import Avatar, photo_hash
from faceloom.checkpoints import native
from faceloom.editor import Editor
from faceloom.errors import CheckpointError, UsageError
from faceloom.imaging.photos import open_photo
from faceloom.inversion.tuning import Tuning, filters
from faceloom.model import Model, load_model
from faceloom.recipe import Recipe
from faceloom.types import Photo

PORTRAIT = Path(__file__).parents[1] / "examples" / "portrait.jpg"


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor.open(PORTRAIT, inverter="encoder")


def first_edit(model: Model) -> Recipe:
    return Recipe(model=model.id).with_edit(next(iter(model.directions)).name, 1.5)


def test_an_avatar_renders_as_its_photo_did(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    Avatar.of(editor).save(path)
    again = Avatar.load(path).open(load_model(), open_photo(PORTRAIT))
    recipe = first_edit(editor.model)
    assert np.array_equal(again.render(recipe).after[0], editor.render(recipe).after[0])
    difference = np.abs(again.render(recipe).photo.pixels.astype(int) - editor.render(recipe).photo.pixels)
    assert difference.max() <= 2  # the landmarks are stored to hundredths of a pixel
    assert not np.array_equal(again.render(recipe).photo.pixels, editor.photo.pixels)


def test_colours_and_neighbours_travel_along(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    avatar = replace(Avatar.of(editor), icc_profile=b"a profile", others=((1.1, 0.52346, 0.3),))
    avatar.save(path)
    again = Avatar.load(path)
    assert again.others == ((1.1, 0.5235, 0.3),)
    alone = again.open(load_model())
    assert alone.photo.icc_profile == b"a profile"
    assert alone.faces[0].crop.others == again.others
    damaged = replace(avatar, others=((np.nan, 0.5, 0.3),))
    damaged.save(path)
    with pytest.raises(CheckpointError, match="other faces"):
        Avatar.load(path)


def test_without_the_photo_it_is_the_aligned_face(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    Avatar.of(editor).save(path)
    alone = Avatar.load(path).open(load_model())
    assert np.array_equal(alone.photo.pixels, editor.faces[0].crop.pixels)
    assert np.array_equal(alone.render(Recipe()).photo.pixels, alone.photo.pixels)
    other = editor.face_alone().render(first_edit(editor.model)).photo.pixels
    mine = alone.render(first_edit(editor.model)).photo.pixels
    assert np.abs(mine.astype(int) - other).max() <= 2


def test_a_tuning_travels_along_and_stays_small(editor: Editor, tmp_path: Path) -> None:
    generator = editor.model.generator
    assert isinstance(generator, torch.nn.Module)
    name, weight = next(iter(filters(generator).items()))
    random = torch.Generator().manual_seed(0)
    left = torch.randn(weight.shape[0], 2, generator=random) * 0.2
    right = torch.randn(2, weight[0].numel(), generator=random) * 0.2
    tuning = Tuning({f"{name}.left": left, f"{name}.right": right}, generator.fingerprint)
    tuned = Editor(editor.photo, (replace(editor.faces[0], tuning=tuning),), editor.model)
    path = tmp_path / "me.avatar"
    Avatar.of(tuned).save(path)
    kept = Avatar.load(path)
    assert kept.tuning is not None
    assert torch.equal(kept.tuning.tensors[f"{name}.left"], left.half())
    assert path.stat().st_size < 1 << 20
    drawn = kept.open(editor.model).faces[0].before
    assert not np.array_equal(drawn, editor.faces[0].before)


def test_another_generator_is_refused(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    avatar = Avatar.of(editor)
    replace(avatar, latent=replace(avatar.latent, fingerprint="0" * 16)).save(path)
    with pytest.raises(UsageError, match="open it with the model it was made with"):
        Avatar.load(path).open(load_model())


def test_another_photo_is_refused(editor: Editor) -> None:
    changed = editor.photo.pixels.copy()
    changed[0, 0, 0] ^= 1
    with pytest.raises(UsageError, match="was not cut from"):
        Avatar.of(editor).open(editor.model, Photo(changed))
    assert photo_hash(Photo(changed)) != photo_hash(editor.photo)


def rewritten(path: Path, name: str, data: bytes) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {entry: archive.read(entry) for entry in archive.namelist()}
    parts[name] = data
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in parts.items():
            archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("avatar.json", b"{}"),
        ("avatar.json", b"[" * 100_000),
        ("avatar.json", b" " * (2 << 20)),
        ("latent.safetensors", b"\xff" * 64),
        ("face.png", b"no picture"),
    ],
)
def test_damaged_avatars_give_one_error(editor: Editor, tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / "me.avatar"
    Avatar.of(editor).save(path)
    with pytest.raises(CheckpointError, match="avatar"):
        Avatar.load(rewritten(path, name, data))


def test_every_truncation_gives_one_error(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    Avatar.of(editor).save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 23):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="avatar"):
            Avatar.load(path)


def test_values_that_are_not_numbers_and_later_versions_are_refused(editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "me.avatar"
    avatar = Avatar.of(editor)
    codes = torch.full_like(avatar.latent.codes, float("nan"))
    replace(avatar, latent=replace(avatar.latent, codes=codes)).save(path)
    with pytest.raises(CheckpointError, match="damaged"):
        Avatar.load(path)
    replace(avatar, quad=np.zeros((4, 2))).save(path)
    with pytest.raises(CheckpointError, match="place in the photo"):
        Avatar.load(path)
    avatar.save(path)
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("avatar.json"))
    for wrong in ({"version": float("inf")}, {"landmarks": [[10**400, 0]] * 68}):
        with pytest.raises(CheckpointError, match="avatar"):
            Avatar.load(rewritten(path, "avatar.json", json.dumps(data | wrong).encode()))
    avatar.save(path)
    packed = bytearray(path.read_bytes())
    central = packed.index(b"PK\x01\x02")
    for method in (8, 12, 14):  # deflate, bzip2, lzma: what is stored is none of them
        packed[central + 10] = method
        path.write_bytes(packed)
        with pytest.raises(CheckpointError, match="avatar"):
            Avatar.load(path)
    avatar.save(path)
    with pytest.raises(CheckpointError, match="later Faceloom"):
        Avatar.load(rewritten(path, "avatar.json", json.dumps(data | {"version": 3}).encode()))
    with pytest.raises(CheckpointError, match="no file"):
        Avatar.load(tmp_path / "missing.avatar")
    native.write(tmp_path / "codes.safetensors", {"ws": avatar.latent.codes}, native.Header("codes", {}, {}))
    with pytest.raises(CheckpointError, match="no avatar"):
        Avatar.load(tmp_path / "codes.safetensors")


def test_there_is_no_second_face(editor: Editor) -> None:
    with pytest.raises(UsageError, match="no open face 2"):
        Avatar.of(editor, 2)
