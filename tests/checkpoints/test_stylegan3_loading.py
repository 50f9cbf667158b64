"""StyleGAN3 generators draw what their own code draws; what would be drawn differently is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from faceloom.checkpoints import load_generator
from faceloom.checkpoints.inert import Inert
from faceloom.checkpoints.loading import load_encoder
from faceloom.checkpoints.networks import Network, networks
from faceloom.checkpoints.reader import read_checkpoint
from faceloom.checkpoints.stylegan3 import from_nvidia
from faceloom.errors import CheckpointError
from faceloom.generators.stylegan3 import StyleGAN3, StyleGAN3Config

StateDict = dict[str, Tensor]
TOLERANCE = 1e-4


def _stylegan3(path: Path) -> StyleGAN3:
    generator = load_generator(path)
    assert isinstance(generator, StyleGAN3)
    return generator


@pytest.mark.parametrize("name", ["stylegan3t_32", "stylegan3r_32"])
@torch.no_grad()
def test_goldens_are_reproduced(golden_folder: Path, name: str) -> None:
    generator = _stylegan3(golden_folder / f"{name}.pkl")
    with np.load(golden_folder / f"{name}.npz") as arrays:
        golden = {key: torch.from_numpy(arrays[key]) for key in arrays}
    transform = golden["transform"].float()
    found = {
        "w": generator.map(golden["z"]),
        "image": generator.synthesize(golden["w"]),
        "image_transformed": generator.synthesize(golden["w"], transform=transform),
    }
    differences = {key: float((value - golden[key]).abs().max()) for key, value in found.items()}
    print(name, {key: f"{value:.1e}" for key, value in differences.items()})
    assert max(differences.values()) < TOLERANCE
    generator.input.transform.copy_(transform)  # as users of NVIDIA's code set it
    assert torch.equal(generator.synthesize(golden["w"]), found["image_transformed"])
    assert float((golden["image"] - golden["image_transformed"]).abs().max()) > 100 * TOLERANCE


def test_settings_come_from_the_checkpoint(golden_folder: Path) -> None:
    t = _stylegan3(golden_folder / "stylegan3t_32.pkl").config
    r = _stylegan3(golden_folder / "stylegan3r_32.pkl").config
    assert (t.kernel, t.radial, r.kernel, r.radial) == (3, False, 1, True)
    assert (t.resolution, t.num_ws, t.z_dim, t.mapping_layers, t.conv_clamp) == (32, 16, 64, 2, 256.0)


# Wrappings


def _values(path: Path) -> StateDict:
    """The weights of a golden under their own names."""
    network = next(networks(read_checkpoint(path)))
    return {name: tensor.read() for name, tensor in network.tensors.items()}


@pytest.mark.parametrize("name", ["stylegan3t_32", "stylegan3r_32"])
def test_bare_state_dicts_give_the_same_generator(golden_folder: Path, tmp_path: Path, name: str) -> None:
    path = golden_folder / f"{name}.pkl"
    values = _values(path)
    torch.save({"g_ema": values}, tmp_path / "x.pt")
    generator, again = _stylegan3(path), _stylegan3(tmp_path / "x.pt")
    assert again.fingerprint == generator.fingerprint
    assert again.config == generator.config


@pytest.mark.parametrize("name", ["stylegan3t_32", "stylegan3r_32"])
@torch.no_grad()
def test_filters_are_designed_where_the_file_has_none(golden_folder: Path, tmp_path: Path, name: str) -> None:
    path = golden_folder / f"{name}.pkl"
    lean = {key: value for key, value in _values(path).items() if not key.endswith(("_filter", "transform"))}
    torch.save({"g_ema": lean}, tmp_path / "x.pt")
    generator, again = _stylegan3(path), _stylegan3(tmp_path / "x.pt")
    filters = 0
    for key, wanted in generator.state_dict().items():
        if key.endswith("_filter"):
            filters += 1
            assert torch.allclose(again.state_dict()[key], wanted, atol=1e-6)
    assert filters == 28
    ws = generator.map(torch.randn(1, 64))
    assert torch.allclose(again.synthesize(ws), generator.synthesize(ws), atol=1e-5)


def test_stored_filters_are_kept(golden_folder: Path, tmp_path: Path) -> None:
    values = _values(golden_folder / "stylegan3t_32.pkl")
    values["synthesis.L3_36_64.up_filter"] = torch.ones(12) / 12
    torch.save({"g_ema": values}, tmp_path / "x.pt")
    assert torch.equal(_stylegan3(tmp_path / "x.pt").state_dict()["layers.3.up_filter"], torch.ones(12) / 12)


def _their_state(generator: StyleGAN3) -> StateDict:
    """Our weights under NVIDIA's names."""
    renamed: StateDict = {}
    sizes = [(plan.after.size, plan.outputs) for plan in generator.config.layers]
    for name, tensor in generator.state_dict().items():
        parts = name.split(".")
        if parts[0] == "layers":
            size, channels = sizes[int(parts[1])]
            renamed[".".join(["synthesis", f"L{parts[1]}_{size}_{channels}", *parts[2:]])] = tensor
        elif parts[0] == "input":
            renamed[f"synthesis.{name}"] = tensor
        else:
            renamed[name.replace("mapping.layers.", "mapping.fc").replace("w_mean", "mapping.w_avg")] = tensor
    return renamed


@torch.no_grad()
def test_conditional_generators_and_pickled_settings(
    persistent: Callable[[StateDict], Any], dump: Callable[..., Path]
) -> None:
    config = StyleGAN3Config(
        32, (8, 8, 6, 4), z_dim=5, w_dim=7, c_dim=3, mapping_layers=3, critical=1, first_cutoff=3.0, margin=6,
        filter_taps=4, output_scale=0.5, conv_clamp=2.0, mapping_gain=0.02,
    )  # fmt: skip
    generator = StyleGAN3(config).requires_grad_(False)
    wrapped = persistent(_their_state(generator))
    kwargs = {"num_critical": 1, "first_cutoff": 3, "margin_size": 6, "filter_size": 4, "output_scale": 0.5}
    modules = wrapped.meta["state"]["_modules"]
    modules["synthesis"].meta["state"]["_init_kwargs"] = kwargs
    for layer in modules["synthesis"].meta["state"]["_modules"].values():
        layer.meta["state"]["conv_clamp"] = 2
    modules["synthesis"].meta["state"]["_modules"]["input"].meta["state"].pop("conv_clamp")
    modules["mapping"].meta["state"]["_modules"]["fc0"].meta["state"]["bias_gain"] = 0.02
    again = load_generator(dump({"G_ema": wrapped}))
    assert isinstance(again, StyleGAN3)
    assert again.config == config
    z, labels = torch.randn(2, 5), torch.eye(3)[:2]
    assert torch.equal(again.synthesize(again.map(z, labels)), generator.synthesize(generator.map(z, labels)))


def test_a_loaded_generator_is_frozen(golden_folder: Path) -> None:
    generator = _stylegan3(golden_folder / "stylegan3t_32.pkl")
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())
    assert not any(tensor.is_meta for tensor in generator.state_dict().values())
    ws = generator.map(torch.randn(1, generator.z_dim)).requires_grad_()
    (gradient,) = torch.autograd.grad(generator.synthesize(ws).sum(), ws)
    assert float(gradient.abs().max()) > 0


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesis.L3_36_64.bias": None}, "missing"),
        ({"synthesis.L3_36_64.weight": None}, "not all there"),
        ({"synthesis.L3_36_64.bias": torch.ones(5)}, "has the shape"),
        ({"synthesis.L3_36_64.up_filter": torch.ones(8)}, "has the shape"),
        ({"synthesis.L3_36_64.magnitude_ema": torch.zeros(())}, "not positive"),
        ({"synthesis.L3_36_64.noise_strength": torch.ones(())}, "parts that StyleGAN3 lacks"),
        ({"synthesis.L14_32_3.weight": torch.ones(4, 32, 1, 1)}, "not RGB"),
        ({"synthesis.input.freqs": torch.full((64, 2), float("inf"))}, "no finite numbers"),
        ({"mapping.fc0.weight": None}, "no mapping"),
    ],
)
def test_malformed_weights_are_named(
    golden_folder: Path, tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    values = {**_values(golden_folder / "stylegan3t_32.pkl"), **change}
    torch.save({"g_ema": {k: v for k, v in values.items() if v is not None}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_generator(tmp_path / "x.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "key", "value", "message"),
    [
        ("synthesis.L5_52_64", "up_factor", 2, "has the up_factor 2 where 4 was expected"),
        ("synthesis.L5_52_64", "padding", [0, 0, 0, 0], "has the padding"),
        ("synthesis.L5_52_64", "in_cutoff", 5.0, "has the in_cutoff"),
        ("synthesis.L5_52_64", "conv_clamp", 128, "different magnitudes"),
        ("synthesis", "_init_kwargs", {"margin_size": 8}, "should be 32 px wide|should be"),
        ("synthesis", "_init_kwargs", {"margin_size": "8"}, "no number"),
        ("synthesis", "output_scale", None, "no number"),
        ("synthesis", "_init_kwargs", {"first_stopband": 1e9}, "beyond all reason"),
        ("synthesis", "_init_kwargs", {"first_stopband": 0.1}, "transition band|should be"),
    ],
)
def test_other_settings_are_refused(golden_folder: Path, module: str, key: str, value: Any, message: str) -> None:
    network = next(networks(read_checkpoint(golden_folder / "stylegan3t_32.pkl")))
    modules = {**network.modules, module: {**network.modules[module], key: value}}
    with pytest.raises(CheckpointError, match=message):
        from_nvidia(Network(network.tensors, modules), 1 << 24)


def test_a_generator_is_no_encoder(golden_folder: Path) -> None:
    with pytest.raises(CheckpointError, match="a StyleGAN3 generator"):
        load_encoder(golden_folder / "stylegan3t_32.pkl")
    assert isinstance(read_checkpoint(golden_folder / "stylegan3t_32.pkl")["G_ema"], Inert)
