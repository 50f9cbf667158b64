from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import faceloom
from faceloom.checkpoints import native
from faceloom.checkpoints.installed import drafting as draft_of
from faceloom.checkpoints.installed import find, models_folder, publish
from faceloom.collection import import_file
from faceloom.encoders.irse import RefiningEncoder
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.mapping import even_labels
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.model import DIRECTIONS_FILE, ENCODER_FILE, GENERATOR_FILE, forget_models, load_model, spread_of

_FILES = runpy.run_path(str(Path(__file__).parent / "checkpoints" / "psp_files.py"))
E4E = {"encoder_type": "Encoder4Editing"}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Models of other tests, under the same ids."""
    forget_models()
    yield
    forget_models()


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tree with torch.save and gives its path."""

    def write(tree: Any, name: str = "tiny.pt") -> Path:
        torch.save(tree, tmp_path / name)
        return tmp_path / name

    return write


@torch.no_grad()
def test_an_imported_model_computes_what_its_checkpoint_does(save: Callable[..., Path]) -> None:
    path = save(_FILES["with_decoder"](E4E))
    generator, encoder = faceloom.load_generator(path), faceloom.load_encoder(path)
    import_file(path)
    path.unlink()
    model = load_model("tiny")
    assert model.id == "tiny"
    assert model.generator.fingerprint == generator.fingerprint
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    assert model.encoder is not None
    ws = encoder(images)
    assert torch.allclose(model.encoder(images), ws, atol=1e-4)
    assert torch.allclose(model.generator.synthesize(ws), generator.synthesize(ws), atol=1e-4)
    assert len(model.directions) == 0
    assert torch.allclose(faceloom.load_encoder("tiny")(images), ws, atol=1e-4)
    assert faceloom.load_generator("tiny").fingerprint == generator.fingerprint


@torch.no_grad()
def test_restyle_refines_with_the_generator_of_its_model(save: Callable[..., Path]) -> None:
    tree = _FILES["checkpoint"](
        _FILES["tiny_state"](6, (4,) * 6, pyramid=False), {"encoder_type": "ProgressiveBackboneEncoder"}
    )
    tree["state_dict"] |= {
        f"decoder.{name}": tensor for name, tensor in _FILES["_GENERATORS"]["tiny_rosinality"](channels=12).items()
    }
    tree["latent_avg"] = torch.arange(12.0) / 12
    path = save(tree)
    images = torch.rand(1, 3, 256, 256)
    wanted = faceloom.load_encoder(path)(images)
    assert import_file(path).details["encoder"]["architecture"] == "ReStyle over e4e"
    model = load_model("tiny")
    assert isinstance(model.encoder, RefiningEncoder)
    assert model.encoder.generator is model.generator
    assert torch.allclose(model.encoder(images), wanted, atol=1e-3)
    assert torch.allclose(faceloom.load_encoder("tiny")(images), wanted, atol=1e-3)


def test_the_spread_is_that_of_w() -> None:
    generator = StyleGAN2(StyleGAN2Config(8, (8, 8), z_dim=8, w_dim=6, mapping_layers=2)).eval()
    spread = spread_of(generator)
    fresh = generator.map(torch.randn(20_000, 8))[:, 0].std(dim=0)
    assert spread.shape == (6,)
    assert torch.allclose(spread, fresh, rtol=0.1)
    assert torch.equal(spread, spread_of(generator))
    classes = StyleGAN2(StyleGAN2Config(8, (8, 8), z_dim=8, w_dim=6, c_dim=3, mapping_layers=2)).eval()
    assert bool((spread_of(classes) > 0).all())


@pytest.mark.parametrize("name", ["stylegan3t_32", "stylegan3r_32", "stylegan2ada_conditional_16"])
@torch.no_grad()
def test_generators_of_every_architecture_are_kept_as_they_are(shared_folder: Path, name: str) -> None:
    path = shared_folder / "golden" / f"{name}.pkl"
    found = import_file(path)
    assert found.kind == "generator"
    model, original = load_model(found.id), faceloom.load_generator(path)
    assert model.generator.fingerprint == original.fingerprint
    assert model.encoder is None
    assert model.spread.shape == (64,)
    ws = torch.randn(1, original.num_ws, original.w_dim)
    assert torch.allclose(model.generator.synthesize(ws), original.synthesize(ws), atol=1e-4)
    with pytest.raises(CheckpointError, match="is a generator and has no encoder"):
        faceloom.load_encoder(found.id)


def test_generators_tuned_by_pti_are_models_without_encoder(save: Callable[..., Path], shared_folder: Path) -> None:
    tuned = faceloom.load_generator(shared_folder / "golden" / "stylegan2ada_skip_32.pkl")
    assert isinstance(tuned, nn.Module)
    found = import_file(shared_folder / "golden" / "stylegan2ada_skip_32.pkl", name="pti-me")
    assert load_model("pti-me").generator.fingerprint == tuned.fingerprint
    assert found.pairs_with == ()


def test_the_embedded_model_answers_to_its_name(tmp_path: Path) -> None:
    model = load_model("default")
    assert faceloom.load_generator("default").fingerprint == model.generator.fingerprint
    images = torch.zeros(1, 3, 64, 64)
    assert model.encoder is not None
    with torch.no_grad():
        assert torch.allclose(faceloom.load_encoder("default")(images), model.encoder(images), atol=1e-4)
    with pytest.raises(UsageError, match="that of the embedded model"):
        import_file(tmp_path / "x.pt", name="default") if (tmp_path / "x.pt").write_bytes(b"x") else None


def test_what_is_not_here_is_named() -> None:
    with pytest.raises(UsageError, match="run `faceloom models get e4e-ffhq`"):
        load_model("e4e-ffhq")
    with pytest.raises(CheckpointError, match="run `faceloom models get e4e-ffhq`"):
        faceloom.load_generator("e4e-ffhq")
    with pytest.raises(CheckpointError, match="no such file"):
        faceloom.load_encoder("nothing")
    with pytest.raises(UsageError, match="there is no model 'nothing'"):
        load_model("nothing")


def test_networks_that_do_not_belong_together_are_refused(save: Callable[..., Path]) -> None:
    tree = _FILES["with_decoder"](E4E)
    wide = _FILES["_GENERATORS"]["tiny_rosinality"](blocks=4, channels=12)
    tree["state_dict"] |= {f"decoder.{name}": tensor for name, tensor in wide.items()}
    with pytest.raises(CheckpointError, match="codes of 6 layers and 12 numbers, its generator takes 8 and 12"):
        import_file(save(tree))
    assert find("tiny") is None
    import_file(save(_FILES["with_decoder"](E4E)))
    other = native.load_generator(models_folder() / "tiny" / GENERATOR_FILE)
    other.const.data += 1.0
    native.save_generator(models_folder() / "tiny" / GENERATOR_FILE, other)
    with pytest.raises(CheckpointError, match="belongs to another generator"):
        load_model("tiny")


def test_a_damaged_record_is_named_and_can_be_removed(save: Callable[..., Path]) -> None:
    import_file(save(_FILES["with_decoder"](E4E)))
    record = models_folder() / "tiny" / "model.json"
    for text in (
        "",
        "[]",
        "{}",
        '{"version": 1, "sources": 3}',
        record.read_text().replace('"version": 1', '"version": 9'),
    ):
        record.write_text(text)
        with pytest.raises(CheckpointError, match=r"damaged|later Faceloom"):
            load_model("tiny")


def test_a_draft_that_fails_leaves_nothing(save: Callable[..., Path]) -> None:
    found = import_file(save(_FILES["with_decoder"](E4E)))
    with pytest.raises(RuntimeError), draft_of("other") as draft:  # noqa: PT012 - it must fail inside
        (draft / "half").write_text("x")
        raise RuntimeError
    assert [path.name for path in models_folder().iterdir()] == ["tiny"]
    with pytest.raises(UsageError, match="is here already"), draft_of("tiny"):
        publish(Path("nowhere"), found)


def test_folders_of_directions_are_imported_whole(save: Callable[..., Path], tmp_path: Path) -> None:
    import_file(save(_FILES["with_decoder"](E4E)))
    (tmp_path / "set").mkdir()
    for seed, name in enumerate(("age", "smile", "big_nose")):
        torch.save(torch.randn(6, 12, generator=torch.Generator().manual_seed(seed)), tmp_path / "set" / f"{name}.pt")
    found = import_file(tmp_path / "set")
    assert (found.id, found.pairs_with) == ("set", ("tiny",))
    assert len(found.sources) == 3
    model = load_model("tiny")
    assert set(model.directions.names()) == {"age", "smile", "big-nose"}
    assert model.directions.fingerprint == model.generator.fingerprint
    assert (found.folder / DIRECTIONS_FILE).is_file()


def test_native_files_keep_every_architecture(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (4, 4, 4), 8, 6, features=16)).eval()
    native.save_encoder(path, encoder, {"generator": "0"})
    loaded, info = native.load_any_encoder(path)
    assert isinstance(loaded, ResidualEncoder)
    assert info == {"generator": "0"}
    with pytest.raises(CheckpointError, match="holds a residual-encoder, not a generator"):
        native.load_any_generator(path)
    with pytest.raises(CheckpointError, match="encoder without its generator"):
        import_file(path)
    generator = StyleGAN2(StyleGAN2Config(8, (8, 8), z_dim=8, w_dim=6, mapping_layers=2)).eval()
    native.save_generator(path, generator, half=True)
    assert native.load_any_generator(path).w_dim == 6
    with pytest.raises(CheckpointError, match="holds a stylegan2, not a encoder"):
        native.load_any_encoder(path)
    assert import_file(path).details["generator"]["architecture"] == "StyleGAN2"
    assert faceloom.load_generator(path).w_dim == 6


def test_other_kinds_of_native_files_are_told_apart(tmp_path: Path, shared_folder: Path) -> None:
    found = import_file(shared_folder / "golden" / "stylegan3t_32.pkl", name="three")
    with pytest.raises(CheckpointError, match="holds a stylegan3, and only a stylegan2 will do here"):
        native.load_generator(found.folder / GENERATOR_FILE)
    found = import_file(_save(tmp_path, _FILES["with_decoder"](E4E)))
    with pytest.raises(CheckpointError, match="holds a irse-encoder, and only a residual-encoder will do here"):
        native.load_encoder(found.folder / ENCODER_FILE)


def _save(folder: Path, tree: Any) -> Path:
    torch.save(tree, folder / "tiny.pt")
    return folder / "tiny.pt"


def test_many_classes_do_not_take_their_square_of_memory() -> None:
    labels = even_labels(70_000, 69_999, 2)
    assert labels is not None
    assert labels.shape == (2, 70_000)
    assert (int(labels[0].argmax()), int(labels[1].argmax())) == (69_999, 0)
    assert even_labels(0, 0, 2) is None


def test_settings_that_are_no_numbers_are_refused() -> None:
    data = StyleGAN2Config(16, (8, 8, 8)).to_dict()
    for name, value in (("mapping_gain", "x"), ("conv_clamp", float("nan"))):
        with pytest.raises(CheckpointError, match="malformed"):
            StyleGAN2Config.from_dict(data | {name: value})
