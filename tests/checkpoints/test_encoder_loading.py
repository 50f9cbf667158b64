"""Encoders of the pSp family give the codes that their own code gives; which of them one is, is never guessed."""

from __future__ import annotations

import argparse
import json
import math
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import faceloom
from faceloom.checkpoints import native
from faceloom.checkpoints.loading import load_encoder, load_generator
from faceloom.encoders.irse import IRSEConfig, IRSEEncoder, RefiningEncoder
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import CheckpointError

StateDict = dict[str, Tensor]
TOLERANCE = 1e-3
_FILES = runpy.run_path(str(Path(__file__).with_name("psp_files.py")))
HALVINGS, _filled, _tiny_state, _checkpoint = (
    _FILES[name] for name in ("HALVINGS", "filled", "tiny_state", "checkpoint")
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("e4e_encoder", "Encoder4Editing"), ("psp_encoder", "GradualStyleEncoder")])
@torch.no_grad()
def test_full_encoders_are_reproduced(golden_folder: Path, tmp_path: Path, name: str, kind: str) -> None:
    names: dict[str, list[int]] = json.loads((golden_folder / f"{name}.names.json").read_text())
    state = {f"encoder.{entry}": _filled(entry, tuple(shape)) for entry, shape in names.items()}
    mean = torch.linspace(-1, 1, 18 * 512).reshape(18, 512)
    torch.save({"state_dict": state, "latent_avg": mean, "opts": {"encoder_type": kind}}, tmp_path / "x.pt")
    del state
    encoder = load_encoder(tmp_path / "x.pt")
    (tmp_path / "x.pt").unlink()
    with np.load(golden_folder / f"{name}.npz") as golden:
        images = torch.from_numpy(golden["image"]).float()
        codes = torch.from_numpy(golden["codes"])
    found = encoder(images) - mean
    assert found.shape == codes.shape == (1, 18, 512)
    difference = float((found - codes).abs().max())
    print(name, f"{difference:.1e} of {float(codes.abs().max()):.1e}")
    assert difference < TOLERANCE


# Small encoders under the family's names


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a tree with torch.save and gives its path."""

    def write(tree: Any) -> Path:
        torch.save(tree, tmp_path / "x.pt")
        return tmp_path / "x.pt"

    return write


def _textbook(state: StateDict, images: Tensor, *, offsets: bool) -> Tensor:
    """The codes, computed layer by layer from the weights under the family's names."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance, scale, bias = (
            state[f"{name}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5).sqrt() * scale + bias

    x = nn.functional.conv2d(images, state["input_layer.0.weight"], padding=1)
    x = nn.functional.prelu(norm(x, "input_layer.1"), state["input_layer.2.weight"])
    maps = []
    for index, stride in enumerate((2, 1, 2, 2, 2, 1)):
        name = f"body.{index}.res_layer"
        shortcut = nn.functional.max_pool2d(x, 1, stride)
        if f"body.{index}.shortcut_layer.0.weight" in state:
            shortcut = nn.functional.conv2d(x, state[f"body.{index}.shortcut_layer.0.weight"], stride=stride)
            shortcut = norm(shortcut, f"body.{index}.shortcut_layer.1")
        x = nn.functional.conv2d(norm(x, f"{name}.0"), state[f"{name}.1.weight"], padding=1)
        x = nn.functional.prelu(x, state[f"{name}.2.weight"])
        x = norm(nn.functional.conv2d(x, state[f"{name}.3.weight"], stride=stride, padding=1), f"{name}.4")
        pooled = nn.functional.adaptive_avg_pool2d(x, 1)
        pooled = nn.functional.conv2d(pooled, state[f"{name}.5.fc1.weight"]).relu()
        x = x * nn.functional.conv2d(pooled, state[f"{name}.5.fc2.weight"]).sigmoid() + shortcut
        maps.append(x)
    levels = [maps[5]]
    for index, finer in ((1, maps[3]), (2, maps[2])):
        lateral = nn.functional.conv2d(finer, state[f"latlayer{index}.weight"], state[f"latlayer{index}.bias"])
        up = nn.functional.interpolate(levels[-1], lateral.shape[2:], mode="bilinear", align_corners=True)
        levels.append(up + lateral)
    rows = []
    for row, halvings in enumerate(HALVINGS):
        x = levels[halvings - 4]
        for conv in range(halvings):
            name = f"styles.{row}.convs.{2 * conv}"
            x = nn.functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2, padding=1)
            x = nn.functional.leaky_relu(x, 0.01)
        weight = state[f"styles.{row}.linear.weight"] / math.sqrt(12)
        rows.append(nn.functional.linear(x[:, :, 0, 0], weight, state[f"styles.{row}.linear.bias"]))
    return torch.stack([rows[0], *(rows[0] + row if offsets else row for row in rows[1:])], dim=1)


@pytest.mark.parametrize(("kind", "offsets"), [("Encoder4Editing", True), ("GradualStyleEncoder", False)])
@torch.no_grad()
def test_small_encoders_follow_the_papers(save: Callable[[Any], Path], kind: str, offsets: bool) -> None:
    state = _tiny_state()
    encoder = load_encoder(save(_checkpoint(state, {"encoder_type": kind})))
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    wanted = _textbook(state, images, offsets=offsets) + torch.arange(12.0)
    assert torch.allclose(encoder(images), wanted, atol=1e-4)
    assert float((wanted - torch.arange(12.0)).std()) > 0.1


@torch.no_grad()
def test_the_kind_is_told_by_options_alone(save: Callable[[Any], Path]) -> None:
    state = _tiny_state()
    images = torch.rand(1, 3, 256, 256)
    options: list[Any] = [
        {"encoder_type": "Encoder4Editing", "learn_in_w": False},
        argparse.Namespace(encoder_type="Encoder4Editing"),
        {"progressive_steps": None, "delta_norm": 2},
        {"encoder_type": "GradualStyleEncoder", "start_from_latent_avg": True},
        {"learn_in_w": False},
    ]
    found = [load_encoder(save(_checkpoint(state, opts)))(images) for opts in options]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[3], found[4])
    assert not torch.allclose(found[0], found[3], atol=0.1)


@pytest.mark.parametrize("opts", [{}, None, {"device": "cuda"}, {"learn_in_w": False, "delta_norm": 2}])
def test_the_kind_is_not_guessed(save: Callable[[Any], Path], opts: Any) -> None:
    with pytest.raises(CheckpointError, match="do not say whether the encoder is e4e or pSp"):
        load_encoder(save(_checkpoint(_tiny_state(), opts)))


@torch.no_grad()
def test_a_name_or_a_person_tells_the_kind_where_options_do_not(save: Callable[[Any], Path], tmp_path: Path) -> None:
    path = save(_checkpoint(_tiny_state(), {"device": "cuda"}))
    images = torch.rand(1, 3, 256, 256)
    e4e, psp = load_encoder(path, kind="e4e")(images), load_encoder(path, kind="psp")(images)
    assert not torch.allclose(e4e, psp, atol=0.1)
    for name, wanted in {
        "e4e_ffhq_encode.pt": e4e,
        "my-E4E (2).pt": e4e,
        "psp_ffhq_encode.pt": psp,
        "restyle_pSp.pt": psp,
    }.items():
        path = path.rename(tmp_path / name)
        assert torch.allclose(load_encoder(path)(images), wanted, atol=1e-4)
    assert torch.allclose(load_encoder(path, kind="e4e")(images), e4e, atol=1e-4)  # a person knows better than a name
    for name in ("e4e_or_psp.pt", "pspace.pt", "e4effhq.pt"):
        path = path.rename(tmp_path / name)
        with pytest.raises(CheckpointError, match='kind="e4e" or kind="psp"'):
            load_encoder(path)
    said = save(_checkpoint(_tiny_state(), {"encoder_type": "GradualStyleEncoder"}))
    assert torch.allclose(load_encoder(said.rename(tmp_path / "e4e.pt"))(images), psp, atol=1e-4)
    with pytest.raises(CheckpointError, match="its opts say that the encoder is psp, not e4e"):
        load_encoder(tmp_path / "e4e.pt", kind="e4e")


@torch.no_grad()
def test_the_mean_has_one_row_or_all(save: Callable[[Any], Path]) -> None:
    opts = {"encoder_type": "Encoder4Editing"}
    images = torch.rand(1, 3, 256, 256)
    found = [
        load_encoder(save({**_checkpoint(_tiny_state(), opts), "latent_avg": mean}))(images)
        for mean in (torch.arange(12.0), torch.arange(12.0)[None], torch.arange(12.0).repeat(1, 6, 1))
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    absolute = load_encoder(save(_checkpoint(_tiny_state(), {**opts, "start_from_latent_avg": False})))(images)
    assert torch.allclose(absolute + torch.arange(12.0), found[0], atol=1e-5)


def test_a_loaded_encoder_is_frozen_and_differentiable(save: Callable[[Any], Path]) -> None:
    encoder = faceloom.load_encoder(save(_checkpoint(_tiny_state(), {"encoder_type": "Encoder4Editing"})))
    assert isinstance(encoder, IRSEEncoder)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert (encoder.resolution, encoder.num_ws, encoder.w_dim) == (256, 6, 12)
    images = torch.rand(1, 3, 256, 256, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(images).sum(), images)
    assert float(gradient.abs().max()) > 0
    assert IRSEConfig.from_dict(json.loads(json.dumps(encoder.config.to_dict()))) == encoder.config


@torch.no_grad()
def test_restyle_refines_with_its_own_decoder(
    save: Callable[[Any], Path], rosinality: Callable[..., StateDict]
) -> None:
    decoder = {f"decoder.{name}": tensor for name, tensor in rosinality(channels=12).items()}
    tree = _checkpoint(_tiny_state(6, (4,) * 6, pyramid=False), {"encoder_type": "ProgressiveBackboneEncoder"})
    tree["state_dict"] |= decoder
    tree["latent_avg"] = torch.arange(12.0) / 12
    path = save(tree)
    encoder, generator = load_encoder(path), load_generator(path)
    assert isinstance(encoder, RefiningEncoder)
    assert encoder.encoder.config.offsets
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    ws = tree["latent_avg"].repeat(2, 6, 1)
    for _ in range(5):
        seen = nn.functional.interpolate(generator.synthesize(ws), (256, 256))  # 16 px: pooling repeats pixels
        ws = ws + encoder.encoder.codes(torch.cat([images, seen], dim=1))
    assert torch.allclose(encoder(images), ws, atol=1e-3)
    del tree["state_dict"]["decoder.conv1.conv.weight"]
    with pytest.raises(CheckpointError, match="missing"):
        load_encoder(save(tree))


@torch.no_grad()
def test_our_own_encoders_load_too(tmp_path: Path) -> None:
    encoder = ResidualEncoder(ResidualEncoderConfig(16, (4, 4, 4), 8, 6, features=16)).eval()
    native.save_encoder(tmp_path / "x.safetensors", encoder)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(load_encoder(tmp_path / "x.safetensors")(images), encoder(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"body.0.res_layer.5.fc1.weight": None}, "fc1.weight is missing"),
        ({"body.3.res_layer.3.weight": None}, "res_layer.3.weight are missing"),
        ({"body.3.res_layer.3.weight": torch.ones(8, 8, 1, 1)}, "has the shape"),
        ({"input_layer.0.weight": torch.ones(4, 19, 3, 3)}, "19 channels"),
        ({"input_layer.1.running_var": -torch.ones(4)}, "negative variances"),
        ({"input_layer.1.bias": torch.full((4,), math.nan)}, "no finite numbers"),
        ({"styles.0.convs.6.weight": None}, "do not fit the feature maps"),
        ({"styles.0.linear.weight": None}, "gives no code in W"),
        ({"body.0.res_layer.1.weight": None}, "not IR-SE-50"),
        ({"output_layer_3.weight": torch.ones(2)}, "parts that they lack"),
    ],
)
def test_malformed_encoders_are_named(
    save: Callable[[Any], Path], change: dict[str, Tensor | None], message: str
) -> None:
    state = {name: tensor for name, tensor in {**_tiny_state(), **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message) as caught:
        load_encoder(save(_checkpoint(state, {"encoder_type": "Encoder4Editing"})))
    assert "\n" not in str(caught.value)


def test_what_is_no_encoder_is_refused(save: Callable[[Any], Path], rosinality: Callable[..., StateDict]) -> None:
    opts = {"encoder_type": "Encoder4Editing"}
    cases: list[tuple[Any, str]] = [
        ({"g_ema": rosinality()}, "a StyleGAN2 generator"),
        ({"state_dict": {"layer1.0.conv1.weight": torch.ones(1)}}, "a ResNet"),
        (_checkpoint(_tiny_state(), {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}), "UsingLastLayerIntoW"),
        ({**_checkpoint(_tiny_state(), opts), "latent_avg": None}, "lacks latent_avg"),
        ({**_checkpoint(_tiny_state(), opts), "latent_avg": torch.ones(7, 12)}, "7 rows"),
        ({**_checkpoint(_tiny_state(), opts), "latent_avg": torch.ones(6, 5)}, "unexpected shape"),
    ]
    for tree, message in cases:
        with pytest.raises(CheckpointError, match=message):
            load_encoder(save(tree))
