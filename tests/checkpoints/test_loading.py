"""Generators of other projects draw what their own code draws; everything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from faceloom.checkpoints import load_codes, load_generator, native
from faceloom.checkpoints.blank import blank
from faceloom.errors import CheckpointError
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config

StateDict = dict[str, Tensor]
TOLERANCE = 1e-3


def _values(path: Path) -> dict[str, Tensor]:
    with np.load(path) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def _difference(found: Tensor, wanted: Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max())


# Goldens with weights inside


@pytest.mark.parametrize(
    ("checkpoint", "values"),
    [
        ("stylegan2ada_skip_32", "stylegan2ada_skip_32"),
        ("stylegan2ada_conditional_16", "stylegan2ada_conditional_16"),
        ("stylegan2ada_resnet_32", "stylegan2ada_resnet_32"),
        ("stylegan2ada_fp16_64", "stylegan2ada_fp16_64"),
        ("stylegan2_tensorflow_32", "stylegan2ada_skip_32"),
    ],
)
@torch.no_grad()
def test_goldens_are_reproduced(golden_folder: Path, checkpoint: str, values: str) -> None:
    generator = load_generator(golden_folder / f"{checkpoint}.pkl")
    golden = _values(golden_folder / f"{values}.npz")
    psi = float(golden["psi"])
    labels = golden["c"] if golden["c"].shape[1] else None
    found = {
        "w": generator.map(golden["z"], labels),
        "w_truncated": generator.map(golden["z"], labels, truncation=psi),
        "image": generator.synthesize(golden["w"]),
        "image_truncated": generator.synthesize(golden["w_truncated"]),
        "image_no_noise": generator.synthesize(golden["w"], noise="none"),
    }
    differences = {name: _difference(value, golden[name]) for name, value in found.items()}
    print(checkpoint, {name: f"{value:.1e}" for name, value in differences.items()})
    assert max(differences.values()) < TOLERANCE


def test_settings_come_from_the_checkpoint(golden_folder: Path) -> None:
    clamped = _stylegan2(golden_folder / "stylegan2ada_fp16_64.pkl").config
    assert (clamped.conv_clamp, clamped.resolution, clamped.channels) == (256.0, 64, (64, 64, 64, 32, 16))
    conditional = _stylegan2(golden_folder / "stylegan2ada_conditional_16.pkl").config
    assert (conditional.c_dim, conditional.mapping_layers, conditional.z_dim) == (3, 2, 64)
    assert _stylegan2(golden_folder / "stylegan2ada_resnet_32.pkl").config.architecture == "resnet"


def test_a_clamp_changes_the_picture(golden_folder: Path) -> None:
    # The activations of the golden stay below its clamp, so it would pass without one.
    generator = _stylegan2(golden_folder / "stylegan2ada_fp16_64.pkl")
    tight = StyleGAN2(StyleGAN2Config(**{**vars(generator.config), "conv_clamp": 0.5}))
    tight.load_state_dict(generator.state_dict())
    ws = generator.map(torch.randn(1, generator.z_dim))
    assert not torch.allclose(tight.synthesize(ws), generator.synthesize(ws), atol=1e-2)


def test_tensorflow_and_pytorch_give_the_same_weights(golden_folder: Path) -> None:
    tensorflow = load_generator(golden_folder / "stylegan2_tensorflow_32.pkl")
    assert tensorflow.fingerprint == load_generator(golden_folder / "stylegan2ada_skip_32.pkl").fingerprint


def _stylegan2(path: Path) -> StyleGAN2:
    generator = load_generator(path)
    assert isinstance(generator, StyleGAN2)
    return generator


# Full-size goldens, filled by a rule


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [256, 1024])
@torch.no_grad()
def test_full_nvidia_networks_are_reproduced(
    golden_folder: Path,
    filled: Callable[[str], StateDict],
    persistent: Callable[[StateDict], Any],
    dump: Callable[..., Path],
    resolution: int,
) -> None:
    name = f"stylegan2ada_full_{resolution}"
    golden = _values(golden_folder / f"{name}.npz")
    generator = load_generator(dump({"G": None, "D": None, "G_ema": persistent(filled(name))}))
    ws = generator.map(golden["z"], truncation=float(golden["psi"]))
    _check_full(name, generator.synthesize(ws), golden, _difference(ws[:, :1], golden["w"]))


@pytest.mark.parametrize("resolution", [64, pytest.param(256, marks=pytest.mark.slow)])
@torch.no_grad()
def test_full_rosinality_networks_are_reproduced(
    golden_folder: Path, filled: Callable[[str], StateDict], tmp_path: Path, resolution: int
) -> None:
    name = f"rosinality_{resolution}"
    golden = _values(golden_folder / f"{name}.npz")
    torch.save({"g_ema": filled(name), "latent_avg": golden["latent_avg"]}, tmp_path / "x.pt")
    generator = load_generator(tmp_path / "x.pt")
    ws = generator.map(golden["z"], truncation=float(golden["psi"]))
    _check_full(name, generator.synthesize(ws), golden, _difference(generator.map(golden["z"])[:, 0], golden["w"]))


def _check_full(name: str, image: Tensor, golden: dict[str, Tensor], w_difference: float) -> None:
    size = image.shape[-1]
    centre = slice(size // 2 - 8, size // 2 + 8)
    parts = {"mean_pooled_32": nn.functional.avg_pool2d(image, size // 32), "centre_16": image[:, :, centre, centre]}
    differences = {"w": w_difference}
    for key, wanted in golden.items():
        for part, values in parts.items():
            if key.startswith("image") and key.endswith(part):
                differences[key] = _difference(values, wanted)
    print(name, {key: f"{value:.1e}" for key, value in differences.items()})
    assert len(differences) == 3
    assert max(differences.values()) < TOLERANCE


# Wrappings of the same network


@pytest.fixture
def skip_32(golden_folder: Path) -> StyleGAN2:
    """A golden generator."""
    return _stylegan2(golden_folder / "stylegan2ada_skip_32.pkl")


def _nvidia_names(generator: StyleGAN2) -> StateDict:
    """Our weights under NVIDIA's names."""
    renamed: StateDict = {}
    for name, tensor in generator.state_dict().items():
        parts = name.split(".")
        if parts[0] == "blocks":
            layer = {"up": "conv0", "conv": "conv1", "to_rgb": "torgb", "shortcut": "skip.weight"}[parts[2]]
            rest = [{"noise": "noise_const"}.get(part, part) for part in parts[3:]]
            renamed[".".join(["synthesis", f"b{4 << int(parts[1])}", layer, *rest])] = tensor
        elif parts[:2] == ["mapping", "layers"]:
            renamed[f"mapping.fc{parts[2]}.{parts[3]}"] = tensor
        else:
            renamed[{"const": "synthesis.b4.const", "w_mean": "mapping.w_avg"}.get(name, name)] = tensor
    renamed["synthesis.b4.const"] = renamed["synthesis.b4.const"][0]
    return renamed


def test_wrappings_do_not_matter(
    tmp_path: Path, skip_32: StyleGAN2, persistent: Callable[[StateDict], Any], dump: Callable[..., Path]
) -> None:
    weights = {name: tensor.clone() for name, tensor in _nvidia_names(skip_32).items()}
    for number, tree in enumerate(
        [
            {"G_ema": weights},
            weights,
            {"state_dict": weights, "epoch": 3},
            {"g_ema": {f"module.{name}": tensor for name, tensor in weights.items()}},
            persistent(weights),  # a generator tuned by PTI is saved whole
            {"G": None, "G_ema": persistent(weights)},
        ]
    ):
        for zipped in (True, False):
            path = tmp_path / f"{number}-{zipped}.pt"
            torch.save(tree, path, _use_new_zipfile_serialization=zipped)
            assert load_generator(path).fingerprint == skip_32.fingerprint
    assert load_generator(dump({"G_ema": weights})).fingerprint == skip_32.fingerprint
    save_file(weights, tmp_path / "x.safetensors")
    assert load_generator(tmp_path / "x.safetensors").fingerprint == skip_32.fingerprint


def test_our_own_file_gives_the_same_generator(tmp_path: Path, skip_32: StyleGAN2) -> None:
    native.save_generator(tmp_path / "x.safetensors", skip_32)
    again = load_generator(tmp_path / "x.safetensors")
    ws = skip_32.map(torch.randn(2, skip_32.z_dim))
    assert again.fingerprint == skip_32.fingerprint
    assert torch.equal(again.synthesize(ws), skip_32.synthesize(ws))


def test_the_averaged_network_is_preferred(
    dump: Callable[..., Path], skip_32: StyleGAN2, persistent: Callable[[StateDict], Any]
) -> None:
    averaged = _nvidia_names(skip_32)
    trained = {name: tensor + 1 for name, tensor in averaged.items() if "filter" not in name}
    path = dump({"G": persistent(trained), "G_ema": persistent(averaged)})
    assert load_generator(path).fingerprint == skip_32.fingerprint


def test_a_decoder_beside_an_encoder_is_found(tmp_path: Path, rosinality: Callable[..., StateDict]) -> None:
    weights = rosinality()
    row = torch.arange(8.0)
    torch.save({"g_ema": weights, "latent_avg": row}, tmp_path / "g.pt")
    state = {f"decoder.{name}": tensor for name, tensor in weights.items()}
    state["encoder.input_layer.0.weight"] = torch.ones(1)
    torch.save({"state_dict": state, "latent_avg": row.repeat(6, 1), "opts": {"a": 1}}, tmp_path / "psp.pt")
    plain, within = load_generator(tmp_path / "g.pt"), load_generator(tmp_path / "psp.pt")
    assert within.fingerprint == plain.fingerprint
    assert torch.equal(within.w_mean, row)
    assert within.synthesize(within.map(torch.randn(1, 8))).shape == (1, 3, 16, 16)


def test_what_early_files_lack_is_filled_in(tmp_path: Path, rosinality: Callable[..., StateDict]) -> None:
    weights = {name: tensor for name, tensor in rosinality().items() if not name.startswith("noises")}
    torch.save({"g_ema": weights}, tmp_path / "x.pt")
    first, second = load_generator(tmp_path / "x.pt"), load_generator(tmp_path / "x.pt")
    assert first.fingerprint == second.fingerprint
    mean = first.map(torch.randn(20_000, 8))[:, 0].mean(dim=0)
    assert torch.allclose(first.w_mean, mean, atol=0.05 * float(mean.norm()))


def test_a_loaded_generator_is_frozen(skip_32: StyleGAN2) -> None:
    assert not skip_32.training
    assert not any(parameter.requires_grad for parameter in skip_32.parameters())
    ws = skip_32.map(torch.randn(1, skip_32.z_dim)).requires_grad_()
    (gradient,) = torch.autograd.grad(skip_32.synthesize(ws).sum(), ws)
    assert gradient.abs().max() > 0


def test_a_blank_module_has_shapes_and_no_values() -> None:
    config = StyleGAN2Config(resolution=16, channels=(8, 8, 4), z_dim=8, w_dim=8)
    empty = blank(lambda: StyleGAN2(config))
    full = StyleGAN2(config)
    assert {n: t.shape for n, t in empty.state_dict().items()} == {n: t.shape for n, t in full.state_dict().items()}
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    assert torch.equal(empty.kernel, full.kernel)


# Refusals


def test_other_networks_are_refused_by_name(tmp_path: Path) -> None:
    cases: dict[str, Any] = {
        "discriminator": {"state_dict": {"b32.fromrgb.weight": torch.ones(1)}},
        "diffusion model": {"state_dict": {"model.diffusion_model.x": torch.ones(1)}},
        "EG3D": {"G_ema": {"backbone.synthesis.b4.const": torch.ones(1), "superresolution.a.b": torch.ones(1)}},
        "encoder, not a generator": {"state_dict": {"encoder.input_layer.0.weight": torch.ones(1)}},
        "GFPGAN": {"params_ema": {"stylegan_decoder.x": torch.ones(1)}},
        "principal components": {"mean": torch.ones(1), "comp": torch.ones(1)},
        "latent codes": {"latent": torch.ones(1, 18, 512)},
        "direction": torch.ones(1, 512),
        "unknown network of 1 tensors": {"a.b": torch.ones(1)},
        "dictionary of epoch": {"epoch": 1},
        "a list": [1, 2],
    }
    for what, tree in cases.items():
        torch.save(tree, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match=what):
            load_generator(tmp_path / "x.pt")


def test_parts_that_stylegan2_lacks_are_refused(tmp_path: Path, rosinality: Callable[..., StateDict]) -> None:
    weights = rosinality()
    for extra in ("res.0.weight", "convs.0.attention.weight"):
        torch.save({"g_ema": {**weights, extra: torch.ones(1)}}, tmp_path / "x.pt")
        with pytest.raises(CheckpointError, match="parts that StyleGAN2 lacks"):
            load_generator(tmp_path / "x.pt")
    dual = {f"generator.{name}": tensor for name, tensor in weights.items()}
    torch.save({"g_ema": {**dual, "res.0.weight": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="not supported"):
        load_generator(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1.conv.weight": torch.ones(1, 8, 8, 5, 5)}, "of the shape"),
        ({"convs.1.conv.weight": torch.ones(1, 8, 9, 3, 3)}, "of the shape"),
        ({"conv1.activate.bias": torch.full((8,), float("nan"))}, "no finite numbers"),
        ({"conv1.activate.bias": torch.ones(8, dtype=torch.int64)}, "no floating-point numbers"),
        ({"to_rgb1.conv.weight": torch.ones(1, 4, 8, 1, 1)}, "of the shape"),
        ({"to_rgbs.1.conv.weight": torch.ones(1, 1, 8, 1, 1)}, "not RGB"),
        ({"conv1.conv.weight": None}, "missing"),
        ({"style.1.weight": None}, "no mapping"),
        ({"convs.0.conv.blur.kernel": torch.ones(3, 3)}, "low-pass filter"),
        ({"convs.0.conv.blur.kernel": torch.eye(4)}, "not separable"),
    ],
)
def test_malformed_weights_are_named(
    tmp_path: Path, rosinality: Callable[..., StateDict], change: dict[str, Tensor | None], message: str
) -> None:
    weights = {name: tensor for name, tensor in {**rosinality(), **change}.items() if tensor is not None}
    if "style.1.weight" in change:
        del weights["style.1.bias"], weights["style.2.weight"], weights["style.2.bias"]
    torch.save({"g_ema": weights}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_generator(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


def test_other_activations_are_refused(
    dump: Callable[..., Path], skip_32: StyleGAN2, persistent: Callable[[StateDict], Any]
) -> None:
    wrapped = persistent(_nvidia_names(skip_32))
    block = wrapped.meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"]["b8"]
    block.meta["state"]["_modules"]["conv1"].meta["state"]["activation"] = "relu"
    with pytest.raises(CheckpointError, match="leaky ReLU"):
        load_generator(dump(wrapped))


def test_a_filter_of_other_taps_is_kept(tmp_path: Path, rosinality: Callable[..., StateDict]) -> None:
    line = torch.tensor([1.0, 5.0, 10.0, 10.0, 5.0, 1.0])
    kernel = torch.outer(line, line) / 256
    torch.save({"g_ema": {**rosinality(), "convs.0.conv.blur.kernel": kernel}}, tmp_path / "x.pt")
    taps = _stylegan2(tmp_path / "x.pt").config.fir_taps
    assert torch.allclose(torch.tensor(taps), line / 32)


# Codes


def test_codes_of_every_origin_are_read(tmp_path: Path) -> None:
    codes = torch.randn(1, 18, 512)
    np.savez(tmp_path / "projected_w.npz", w=codes.numpy())
    np.save(tmp_path / "code.npy", codes[0].double().numpy())
    torch.save(codes, tmp_path / "0.pt")
    torch.save({"latent": codes}, tmp_path / "dictionary.pt")
    for name in ("projected_w.npz", "code.npy", "0.pt", "dictionary.pt"):
        assert torch.equal(load_codes(tmp_path / name), codes)
    np.save(tmp_path / "row.npy", codes[0, 0].numpy())
    assert load_codes(tmp_path / "row.npy").shape == (1, 1, 512)


def test_what_is_no_code_is_refused(tmp_path: Path, golden_folder: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 2, 2, 2)))
    for path in (tmp_path / "x.npy", golden_folder / "stylegan2ada_conditional_16.pkl"):
        with pytest.raises(CheckpointError, match="latent codes have the shape"):
            load_codes(path)
