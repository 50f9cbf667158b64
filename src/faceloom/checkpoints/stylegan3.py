"""StyleGAN3 generators of NVIDIA, brought into ours.

The shapes of the weights tell the channels; sampling and filters follow from settings that the pickle's modules keep
and that bare state dicts lack, where the published ones are taken and checked against the layers' names, which hold
their size. Filters come from the file, or are designed where it has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from faceloom.checkpoints.blank import blank
from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.networks import Network, Weights
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.errors import CheckpointError
from faceloom.generators.resampling import LayerPlan
from faceloom.generators.stylegan3 import StyleGAN3, StyleGAN3Config

_Settings = Mapping[Any, Any]
_LAYER = re.compile(r"synthesis\.(L(\d+)_(\d+)_(\d+))\.weight")
_SETTINGS: dict[str, tuple[str, type]] = {
    "num_critical": ("critical", int),
    "first_cutoff": ("first_cutoff", float),
    "first_stopband": ("first_stopband", float),
    "last_stopband_rel": ("last_stopband_rel", float),
    "margin_size": ("margin", int),
    "filter_size": ("filter_taps", int),
    "lrelu_upsampling": ("oversampling", int),
    "output_scale": ("output_scale", float),
}
"""Their names of settings, and ours."""


def from_nvidia(network: Network, file_size: int) -> StyleGAN3:
    """A generator of stylegan3, of configuration T or R.

    Raises:
        CheckpointError: if parts are missing, superfluous, or beyond our StyleGAN3.
    """
    names = _layer_names(network.tensors)
    config = _config(network, names)
    for name, plan in zip(names, config.layers, strict=True):
        _check_layer(name, plan, network.modules.get(f"synthesis.{name}", {}))
    generator = blank(lambda: StyleGAN3(config))  # the tensors of the file become its parameters
    weights = Weights(network.tensors, file_size)
    named: dict[str, Tensor] = {}
    for ours, blank_tensor in generator.state_dict().items():
        theirs = _their_name(ours, names)
        if theirs not in weights and (ours.endswith("_filter") or ours == "input.transform"):
            named[ours] = blank_tensor  # designed; the transform that changes nothing
        else:
            named[ours] = weights.take(theirs)
        if named[ours].shape != blank_tensor.shape:
            shapes = f"{tuple(named[ours].shape)}, not {tuple(blank_tensor.shape)}"
            raise CheckpointError(f"it is like StyleGAN3, but {theirs} has the shape {shapes}")
    if weights.left:
        rest = quoted(min(weights.left))
        raise CheckpointError(f"it is like StyleGAN3, but has parts that StyleGAN3 lacks, such as {rest}")
    if not all(bool(named[name] > 0) for name in named if name.endswith(".magnitude_ema")):
        raise CheckpointError("a layer of the generator tracks a magnitude that is not positive; the file is damaged")
    generator.load_state_dict(named, assign=True)
    generator.requires_grad_(False)
    return generator.eval()


def _layer_names(tensors: Mapping[str, StoredTensor]) -> list[str]:
    """L0_36_512, ..., L14_1024_3: number, size and channels of each layer."""
    found = {int(match[2]): match[1] for match in map(_LAYER.fullmatch, tensors) if match is not None}
    if len(found) < 2 or sorted(found) != list(range(len(found))):
        raise CheckpointError("it is like StyleGAN3, but its layers are not all there")
    return [found[index] for index in range(len(found))]


def _their_name(ours: str, names: list[str]) -> str:
    match ours.split("."):
        case ["w_mean"]:
            return "mapping.w_avg"
        case ["mapping", "layers", index, leaf]:
            return f"mapping.fc{index}.{leaf}"
        case ["layers", index, *rest]:
            return ".".join(["synthesis", names[int(index)], *rest])
        case ["input", *rest]:
            return ".".join(["synthesis.input", *rest])
    return ours


def _config(network: Network, names: list[str]) -> StyleGAN3Config:
    """What shapes and settings say; whether the shapes agree among themselves is seen when they are put in place."""
    shapes = {name: tensor.shape for name, tensor in network.tensors.items()}
    weights = [shapes[f"synthesis.{name}.weight"] for name in names]
    mapping = [shapes.get(f"mapping.fc{index}.weight", ()) for index in range(65)]
    mapping = mapping[: mapping.index(())]
    embed = shapes.get("mapping.embed.weight", (0, 0))
    if any(len(shape) != 4 for shape in weights) or any(len(shape) != 2 for shape in (*mapping, embed)) or not mapping:
        raise CheckpointError("it is like StyleGAN3, but has weights of unexpected shapes, or no mapping")
    if weights[-1][0] != 3:
        raise CheckpointError(f"it draws images of {weights[-1][0]} channels, not RGB, which is not supported")
    down_filters = [shapes[f"synthesis.{n}.down_filter"] for n in names if f"synthesis.{n}.down_filter" in shapes]
    kernel = weights[0][2]
    radial = any(len(shape) == 2 for shape in down_filters) if down_filters else kernel == 1
    return StyleGAN3Config(
        resolution=int(names[-1].split("_")[1]),
        channels=tuple(shape[0] for shape in weights[:-1]),
        z_dim=mapping[0][1] - embed[0],
        w_dim=mapping[-1][0],
        c_dim=embed[1],
        mapping_layers=len(mapping),
        kernel=kernel,
        radial=radial,
        **_settings(network.modules),
    )


def _settings(modules: Mapping[str, _Settings]) -> dict[str, Any]:
    """What the modules say that their weights do not."""
    synthesis = modules.get("synthesis", {})
    given = {**_arguments(modules.get("", {})), **_arguments(synthesis)}
    settings = {ours: _number(given[theirs], kind) for theirs, (ours, kind) in _SETTINGS.items() if theirs in given}
    if "output_scale" in synthesis:
        settings["output_scale"] = _number(synthesis["output_scale"], float)
    said = [layer["conv_clamp"] for layer in modules.values() if "conv_clamp" in layer]
    clamps = {None if clamp is None else _number(clamp, float) for clamp in said}
    if len(clamps) > 1:
        raise CheckpointError("its layers clamp activations at different magnitudes, which is not supported")
    if clamps:
        settings["conv_clamp"] = clamps.pop()
    gain = modules.get("mapping.fc0", {}).get("bias_gain")
    return settings if gain is None else {**settings, "mapping_gain": _number(gain, float)}


def _arguments(module: _Settings) -> dict[Any, Any]:
    """The named arguments that a module was made with, those for its synthesis spread out."""
    arguments = module.get("_init_kwargs")
    arguments = dict(arguments) if isinstance(arguments, dict) else {}
    nested = arguments.get("synthesis_kwargs")
    return {**arguments, **nested} if isinstance(nested, dict) else arguments


def _plain(value: Any) -> Any:
    """Numbers that were stored as an array of NumPy's."""
    return value.read().tolist() if isinstance(value, StoredTensor) and value.nbytes <= 64 else value


def _number(value: Any, kind: type) -> Any:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and value != int(value)):
        raise CheckpointError("a setting of its layers is no number; the file is damaged")
    return kind(value)


def _check_layer(name: str, plan: LayerPlan, said: _Settings) -> None:
    """Refuse a layer that samples or filters in another way than we would, rather than drawing something else."""
    size = int(name.split("_")[1])
    if size != plan.after.size:
        raise CheckpointError(f"its layer {name} should be {plan.after.size} px wide, as far as its settings are known")
    first, last = plan.padding
    expected: dict[str, Any] = {
        "in_sampling_rate": plan.before.rate,
        "out_sampling_rate": plan.after.rate,
        "in_cutoff": plan.before.cutoff,
        "out_cutoff": plan.after.cutoff,
        "in_half_width": plan.before.half_width,
        "out_half_width": plan.after.half_width,
        "up_factor": plan.up,
        "up_taps": plan.up_taps,
        "down_factor": plan.down,
        "down_taps": plan.down_taps,
        "down_radial": plan.radial,
        "padding": [first, last, first, last],
    }
    for key, value in expected.items():
        found = _plain(said.get(key, value))
        if not _same(found, value):
            raise CheckpointError(f"its layer {name} has the {key} {quoted(str(found))} where {value} was expected")


def _same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return type(found) in (int, float) and math.isclose(found, wanted, rel_tol=1e-6)
    return bool(found == wanted) if type(found) in (int, float, bool, list) else False
