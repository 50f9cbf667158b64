from __future__ import annotations

import copy
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from faceloom.cli.domain import domain
from faceloom.directions.direction import DirectionSet
from faceloom.domains.illustrators import illustrator
from faceloom.domains.palette import Palette
from faceloom.domains.twin import Twin, resolution_of
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import FaceError, FaceloomError, PhotoError, TrainingError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.imaging.photos import save_photo
from faceloom.model import Model
from faceloom.training.drawings import DrawingsTraining, train_on_drawings
from faceloom.training.images import FaceSet
from faceloom.training.oneshot import OneShot, learn_style
from faceloom.training.twins import TwinTraining, codes_of_faces, confine, drawn_landmarks, fit, train_illustrated
from faceloom.types import Photo

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(0)
    generator = StyleGAN2(StyleGAN2Config(32, (16, 16, 12, 8), z_dim=16, w_dim=16, mapping_layers=2))
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (8, 8, 8), 16, generator.num_ws, 16))
    generator.requires_grad_(False).eval()
    encoder.requires_grad_(False).eval()
    return Model("tiny", generator, encoder, DirectionSet([], generator.fingerprint), torch.ones(16))


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    return FaceSet(pixels, np.full((6, 68, 2), 0.5), tuple("abcdef"))


def base_of(model: Model) -> StyleGAN2:
    assert isinstance(model.generator, StyleGAN2)
    return model.generator


def test_pairs_are_learned_and_early_layers_stay(model: Model) -> None:
    base = base_of(model)
    codes = base.map(torch.randn(8, 16, generator=torch.Generator().manual_seed(2)))
    blue = np.zeros((8, 32, 32, 3), np.uint8)
    blue[..., 2] = 220
    tuned = fit(base, codes, blue, TwinTraining(steps=40, batch=4, first=16, perceptual=0.0, learning_rate=0.02))
    before, after = (one.synthesize(codes).clamp(-1, 1) for one in (base, tuned))
    wanted = torch.tensor([-1.0, -1.0, 220 / 127.5 - 1]).reshape(1, 3, 1, 1)
    assert float((after - wanted).abs().mean()) < 0.35 * float((before - wanted).abs().mean())
    changed = {name for name, tensor in tuned.state_dict().items() if not torch.equal(tensor, base.state_dict()[name])}
    assert changed
    assert min(resolution_of(name) for name in changed if ".to_rgb." not in name) == 16


def test_an_illustrator_is_learned_reproducibly(model: Model, faces: FaceSet) -> None:
    settings = TwinTraining(faces=4, steps=2, batch=2, perceptual=0.3)
    told: list[tuple[str, int, int]] = []
    first = train_illustrated(
        model, illustrator("sketch"), "pencil", faces, settings, report=lambda *all: told.append(all)
    )
    second = train_illustrated(model, illustrator("sketch"), "pencil", faces, settings)
    assert first.illustrator == "sketch"
    assert first.base == base_of(model).fingerprint
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert torch.equal(tensor, second.tensors[name])
    assert ("Training", 2, 2) in told
    assert ("Drawing faces (sketch)", 4, 4) in told


def test_a_pencil_has_no_tints(model: Model) -> None:
    tuned = copy.deepcopy(base_of(model))
    codes = tuned.map(torch.randn(4, 16, generator=torch.Generator().manual_seed(3)))
    before = tuned.synthesize(codes)
    dark, bright = (0.1, 0.1, 0.2), (0.9, 0.8, 0.7)
    confine(tuned, dark, bright)
    after = (tuned.synthesize(codes) + 1.0) / 2.0
    share = (after - torch.tensor(dark).reshape(1, 3, 1, 1)) / (torch.tensor(bright) - torch.tensor(dark)).reshape(
        1, 3, 1, 1
    )
    torch.testing.assert_close(share[:, 0], share[:, 1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(share[:, 0], share[:, 2], atol=1e-4, rtol=1e-4)
    assert float(share.std()) > 0.01
    again = copy.deepcopy(tuned)
    confine(again, dark, bright)
    torch.testing.assert_close(again.synthesize(codes), tuned.synthesize(codes), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(before, tuned.synthesize(codes))


def test_random_people_do_where_there_are_no_faces(model: Model) -> None:
    twin = train_illustrated(model, illustrator("comic"), "comic", None, TwinTraining(faces=2, steps=1, batch=2))
    assert twin.tensors


def test_codes_are_of_the_faces_every_other_one_mirrored(model: Model, faces: FaceSet) -> None:
    before = faces.pixels.copy()
    codes = codes_of_faces(model, faces, TwinTraining(faces=6))
    assert codes.shape == (6, base_of(model).num_ws, 16)
    np.testing.assert_array_equal(faces.pixels, before)


def test_landmarks_of_an_aligned_picture_are_found_without_a_detector() -> None:
    from faceloom.faces.align import align
    from faceloom.faces.detect import detect
    from faceloom.faces.landmarks import apply
    from faceloom.imaging.photos import open_photo

    photo = open_photo(EXAMPLES / "portrait.jpg")
    crop = align(photo, detect(photo)[0], 128)
    truth = apply(crop.from_photo(1), crop.face.landmarks)
    assert float(np.abs(drawn_landmarks(crop.pixels) - truth).mean()) < 0.015


def test_a_style_is_learned_from_one_picture(model: Model) -> None:
    for keep in (False, True):
        twin = learn_style(model, EXAMPLES / "portrait.jpg", "one", OneShot(steps=2, batch=2, keep_colour=keep))
        assert twin.illustrator == ""
        drawn = twin.blend(model.generator).synthesize(base_of(model).map(torch.zeros(1, 16)))
        assert bool(torch.isfinite(drawn).all())


def test_references_that_will_not_do(model: Model, tmp_path: Path) -> None:
    grey = Photo(np.full((200, 200, 3), 90, np.uint8), name="grey.png")
    with pytest.raises(PhotoError, match="shows one colour"):
        learn_style(model, grey, "one")
    noise = Photo(np.random.default_rng(0).integers(0, 255, (120, 120, 3), np.uint8), name="noise.png")
    with pytest.raises(FaceError):
        learn_style(model, noise, "one")
    with pytest.raises(PhotoError):
        learn_style(model, tmp_path / "missing.png", "one")
    with pytest.raises(UsageError, match="is no name"):
        learn_style(model, grey, "No Name")


def test_a_huge_reference_is_refused_unread_and_nothing_is_saved(home: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # A file of a hundred bytes that says it holds ten billion pixels.
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = home / "bomb.png"
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0")), chunk(b"IEND", b"")
    bomb.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    with pytest.raises(PhotoError, match="100000×100000 pixels, more than the limit"):
        call("learn", str(bomb), "--name", "bomb")
    assert not list(home.rglob("*.safetensors"))
    assert not list(home.rglob(".faceloom-*"))
    assert "no twins yet" in call("list")


@pytest.mark.parametrize("kind", ["missing face", "one colour"])
def test_a_reference_that_shows_no_face_leaves_nothing_behind(home: Path, kind: str) -> None:
    pixels = np.full((200, 200, 3), 128, np.uint8)
    if kind == "missing face":
        pixels = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    save_photo(Photo(pixels), home / "reference.png")
    with pytest.raises(FaceError if kind == "missing face" else PhotoError):
        call("learn", str(home / "reference.png"), "--name", "none")
    assert not list(home.rglob("*.safetensors"))
    assert not list(home.rglob(".faceloom-*"))


def test_drawings_teach_their_colours_and_keep_early_layers(model: Model) -> None:
    red = np.zeros((8, 32, 32, 3), np.uint8)
    red[..., 0] = np.random.default_rng(0).integers(150, 255, (8, 32, 32), np.uint8)
    drawings = FaceSet(red, np.full((8, 68, 2), 0.5), tuple("abcdefgh"))
    settings = DrawingsTraining(steps=12, warm=2, batch=4, first=16, learning_rate=3e-3)
    twin = train_on_drawings(model, drawings, "red", settings)
    assert min(resolution_of(name) for name in twin.tensors if ".to_rgb." not in name) == 16
    assert twin.info is not None
    assert twin.info["drawings"] == 8
    again = train_on_drawings(model, drawings, "red", settings)
    for name, tensor in twin.tensors.items():
        assert bool(torch.isfinite(tensor).all())
        assert torch.equal(tensor, again.tensors[name])


def test_too_few_drawings_are_refused(model: Model, faces: FaceSet) -> None:
    few = faces.subset(np.arange(6) < 2)
    with pytest.raises(TrainingError, match="only 2 drawings"):
        train_on_drawings(model, few, "few")


def test_a_loss_that_is_no_number_stops_the_training(model: Model) -> None:
    codes = torch.full((2, base_of(model).num_ws, 16), float("nan"))
    with pytest.raises(TrainingError, match="no longer a number"):
        fit(base_of(model), codes, np.zeros((2, 32, 32, 3), np.uint8), TwinTraining(steps=1, perceptual=0.0))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Model) -> Path:
    monkeypatch.setenv("FACELOOM_DATA", str(tmp_path / "data"))
    own = replace(model, own_twins=tmp_path / "own")
    monkeypatch.setattr("faceloom.cli.domain.load_model", lambda name: own)
    monkeypatch.setattr("faceloom.cli.domain.keep_memory", lambda: True)
    return tmp_path


def call(*words: str) -> str:
    result = CliRunner().invoke(domain, list(words), catch_exceptions=True)
    if isinstance(result.exception, FaceloomError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_verb_learns_lists_and_removes(home: Path) -> None:
    assert "no twins yet" in call("list")
    said = call("learn", str(EXAMPLES / "portrait.jpg"), "--name", "oil", "--steps", "1")
    assert "--twin oil" in said
    path = next((home / "data").rglob("oil.safetensors"))
    assert Twin.load(path).name == "oil"
    assert "oil" in call("list")
    kept = path.read_bytes()
    path.write_bytes(kept[:1000])
    assert "`faceloom domain remove oil`" in call("list")
    path.write_bytes(kept)
    with pytest.raises(UsageError, match="already"):
        call("learn", str(EXAMPLES / "portrait.jpg"), "--name", "oil")
    call("remove", "oil")
    assert not path.exists()
    with pytest.raises(UsageError, match="no twin"):
        call("remove", "oil")


def test_twins_of_the_model_stay(home: Path) -> None:
    call("train", "--illustrator", "comic", "--steps", "1", "--out", str(home / "own"), "--faces", _npz(home))
    assert "from the illustrator comic" in call("list")
    with pytest.raises(UsageError, match="came with the model"):
        call("remove", "comic")


def _npz(home: Path) -> str:
    path = home / "faces.npz"
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), np.uint8)
    FaceSet(pixels, np.full((3, 68, 2), 0.5), ("a", "b", "c")).save(path)
    return str(path)


def test_a_failure_leaves_nothing_behind(home: Path) -> None:
    picture = home / "grey.png"
    save_photo(Photo(np.full((64, 64, 3), 128, np.uint8)), picture)
    with pytest.raises(PhotoError):
        call("learn", str(picture), "--name", "grey")
    assert not list(home.rglob("*.safetensors"))
    assert not list(home.rglob(".faceloom-*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train"], "give either"),
        (["train", "--data", "x", "--illustrator", "comic"], "give either"),
        (["train", "--data", "x"], "needs a --name"),
        (["train", "--illustrator", "comic", "--illustrator", "toon", "--name", "x"], "that of one twin"),
        (["train", "--illustrator", "comic", "--name", "a/b"], "is no name"),
    ],
)
def test_requests_that_make_no_sense(home: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call(*words)


def test_a_palette_gives_tones_their_colours() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)[None].repeat(8, axis=0)
    reference = np.stack([ramp, ramp // 2, 255 - ramp], axis=2)
    picture = np.stack([ramp] * 3, axis=2)
    taken, kept = (Palette(reference).apply(picture, keep_colour=keep) for keep in (False, True))
    assert int(taken[0, 0, 2]) > int(taken[0, 0, 0]) + 40
    assert int(taken[0, -1, 0]) > int(taken[0, -1, 2]) + 40
    assert int(np.ptp(kept.astype(int), axis=2).max()) <= 2
