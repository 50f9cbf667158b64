"""StyleGAN2 generators of other projects, brought into ours.

Each function below knows one layout of names and renames it; what the generator is like (its size, channels,
architecture) then follows from the shapes of the weights.

Sources: the state dicts of NVIDIA's stylegan2-ada-pytorch, the variables of its TensorFlow predecessor, and the state
dicts of rosinality's stylegan2-pytorch, which the pSp family of encoders shares. The three store the same numbers;
the last two differ as each function says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloom.checkpoints.blank import blank
from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.networks import Network, Weights
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.errors import CheckpointError
from faceloom.generators.mapping import even_labels
from faceloom.generators.stylegan2 import Architecture, StyleGAN2, StyleGAN2Config

_MAX_BLOCKS = 11
_MEAN_SAMPLES = 4096
_DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)
_Named = dict[str, Tensor]


def from_nvidia(network: Network, file_size: int) -> StyleGAN2:
    """A generator of stylegan2-ada-pytorch, stylegan3 (config stylegan2), or tuned by PTI.

    Raises:
        CheckpointError: if parts are missing, superfluous, or beyond our StyleGAN2.
    """
    weights = Weights(network.tensors, file_size)
    named: _Named = {}
    named |= _linear(weights, "mapping.embed", "mapping.embed") if "mapping.embed.weight" in weights else {}
    for index in _count(weights, "mapping.fc{}.weight"):
        named |= _linear(weights, f"mapping.fc{index}", f"mapping.layers.{index}")
    named["const"] = weights.take("synthesis.b4.const").unsqueeze(0)
    for index in range(_MAX_BLOCKS):
        theirs, ours = f"synthesis.b{4 << index}", f"blocks.{index}"
        if f"{theirs}.conv1.weight" not in weights:
            break
        for layer, target in (("conv0", "up"), ("conv1", "conv"), ("torgb", "to_rgb")):
            if f"{theirs}.{layer}.weight" not in weights:
                continue
            named |= _linear(weights, f"{theirs}.{layer}", f"{ours}.{target}")
            named |= _linear(weights, f"{theirs}.{layer}.affine", f"{ours}.{target}.affine")
            if f"{theirs}.{layer}.noise_const" in weights:
                named[f"{ours}.{target}.noise_strength"] = weights.take(f"{theirs}.{layer}.noise_strength")
                named[f"{ours}.{target}.noise"] = weights.take(f"{theirs}.{layer}.noise_const")
        if f"{theirs}.skip.weight" in weights:
            named[f"{ours}.shortcut"] = weights.take(f"{theirs}.skip.weight")
    if "mapping.w_avg" in weights:
        named["w_mean"] = weights.take("mapping.w_avg")
    taps = _taps(weights, "synthesis.b8.conv0.resample_filter")
    _refuse_rest(weights.left, r".*resample_filter")
    settings = _nvidia_settings(network.modules)
    return _assemble(named, taps=taps, conv_clamp=settings.get("conv_clamp"), mapping_gain=settings.get("mapping_gain"))


def from_rosinality(network: Network, file_size: int) -> StyleGAN2:
    """A generator of stylegan2-pytorch, or the `decoder.` of a pSp, e4e or ReStyle checkpoint.

    Filters carry a leading dimension of 1; the first layer of the mapping is number 1; `convs` alternates between the
    layers that double the size and those that do not; the mean latent lies beside the weights.

    Raises:
        CheckpointError: if parts are missing, superfluous, or beyond our StyleGAN2.
    """
    weights = Weights(network.tensors, file_size)
    named: _Named = {}
    for index in _count(weights, "style.{}.weight", first=1):
        named |= _linear(weights, f"style.{index}", f"mapping.layers.{index - 1}")
    named["const"] = weights.take("input.input")
    layers = [("conv1", "blocks.0.conv")]
    for index in _count(weights, "convs.{}.conv.weight"):
        layers.append((f"convs.{index}", f"blocks.{index // 2 + 1}.{'conv' if index % 2 else 'up'}"))
    for index, (theirs, ours) in enumerate(layers):
        named[f"{ours}.weight"] = _without_first(weights.take(f"{theirs}.conv.weight"))
        named |= _linear(weights, f"{theirs}.conv.modulation", f"{ours}.affine")
        named[f"{ours}.bias"] = weights.take(f"{theirs}.activate.bias")
        named[f"{ours}.noise_strength"] = weights.take(f"{theirs}.noise.weight").reshape(())
        if f"noises.noise_{index}" in weights:
            named[f"{ours}.noise"] = _without_first(_without_first(weights.take(f"noises.noise_{index}")))
    rgb = [("to_rgb1", 0), *((f"to_rgbs.{i}", i + 1) for i in _count(weights, "to_rgbs.{}.conv.weight"))]
    for theirs, block in rgb:
        named[f"blocks.{block}.to_rgb.weight"] = _without_first(weights.take(f"{theirs}.conv.weight"))
        named |= _linear(weights, f"{theirs}.conv.modulation", f"blocks.{block}.to_rgb.affine")
        named[f"blocks.{block}.to_rgb.bias"] = weights.take(f"{theirs}.bias").flatten()
    mean = network.beside.get("latent_avg")
    if isinstance(mean, StoredTensor):
        width = mean.shape[-1] if mean.shape else 1
        named["w_mean"] = Weights({"latent_avg": mean}, file_size).take("latent_avg").reshape(-1, width).mean(dim=0)
    taps = _taps(weights, "convs.0.conv.blur.kernel")
    _refuse_rest(weights.left, r".*\.kernel|noises\..*|latent_avg")
    return _assemble(named, taps=taps)


def from_tensorflow(network: Network, file_size: int) -> StyleGAN2:
    """A generator of the TensorFlow StyleGAN2 (and its ADA).

    Filters are stored (height, width, in, out) and dense layers (in, out); those of the layers that double the size are
    mirrored, as TensorFlow's transposed convolution takes them; the bias of the styles lacks its constant 1.

    Raises:
        CheckpointError: if parts are missing, superfluous, or beyond our StyleGAN2.
    """
    weights = Weights(network.tensors, file_size)
    named: _Named = {}
    dense = [("mapping/LabelEmbed", "mapping.embed")] if "mapping/LabelEmbed/weight" in weights else []
    dense += [(f"mapping/Dense{i}", f"mapping.layers.{i}") for i in _count(weights, "mapping/Dense{}/weight")]
    for theirs, ours in dense:
        named[f"{ours}.weight"] = weights.take(f"{theirs}/weight").t()
        named[f"{ours}.bias"] = weights.take(f"{theirs}/bias")
    named["const"] = weights.take("synthesis/4x4/Const/const")
    noises = 0
    for index in range(_MAX_BLOCKS):
        theirs, ours = f"synthesis/{4 << index}x{4 << index}", f"blocks.{index}"
        for layer, target in (("Conv", "conv"), ("Conv0_up", "up"), ("Conv1", "conv"), ("ToRGB", "to_rgb")):
            if f"{theirs}/{layer}/weight" not in weights:
                continue
            kernel = weights.take(f"{theirs}/{layer}/weight")
            named[f"{ours}.{target}.weight"] = _convolution(kernel, mirrored=layer == "Conv0_up")
            named[f"{ours}.{target}.bias"] = weights.take(f"{theirs}/{layer}/bias")
            named[f"{ours}.{target}.affine.weight"] = weights.take(f"{theirs}/{layer}/mod_weight").t()
            named[f"{ours}.{target}.affine.bias"] = weights.take(f"{theirs}/{layer}/mod_bias") + 1.0
            if layer != "ToRGB":
                named[f"{ours}.{target}.noise_strength"] = weights.take(f"{theirs}/{layer}/noise_strength").reshape(())
                named[f"{ours}.{target}.noise"] = weights.take(f"synthesis/noise{noises}")[0, 0]
                noises += 1
        if f"{theirs}/Skip/weight" in weights:
            named[f"{ours}.shortcut"] = _convolution(weights.take(f"{theirs}/Skip/weight"), mirrored=True)
    if "dlatent_avg" in weights:
        named["w_mean"] = weights.take("dlatent_avg")
    _refuse_rest(weights.left, r"lod|synthesis/lod")
    settings = _tensorflow_settings(network.modules)
    return _assemble(named, conv_clamp=settings.get("conv_clamp"), mapping_gain=settings.get("mapping_gain"))


def _linear(weights: Weights, theirs: str, ours: str) -> _Named:
    return {f"{ours}.{leaf}": weights.take(f"{theirs}.{leaf}") for leaf in ("weight", "bias")}


def _count(weights: Weights, pattern: str, first: int = 0) -> range:
    """The numbers that, put into `pattern`, give names in an unbroken row."""
    end = first
    while pattern.format(end) in weights:
        end += 1
    return range(first, end)


def _without_first(tensor: Tensor) -> Tensor:
    if tensor.ndim == 0 or tensor.shape[0] != 1:
        raise CheckpointError(f"weights have the unexpected shape {tuple(tensor.shape)}")
    return tensor[0]


def _convolution(tensor: Tensor, *, mirrored: bool) -> Tensor:
    """(height, width, in, out) to (out, in, height, width)."""
    tensor = tensor.permute(3, 2, 0, 1)
    return (tensor.flip((2, 3)) if mirrored else tensor).contiguous()


def _refuse_rest(left: set[str], known: str) -> None:
    """Refuse weights that our generator has no place for, rather than drawing something else without them."""
    rest = sorted(name for name in left if not re.fullmatch(known, name))
    if rest:
        raise CheckpointError(f"it is like StyleGAN2, but has parts that StyleGAN2 lacks, such as {quoted(rest[0])}")


def _taps(weights: Weights, name: str) -> tuple[float, ...]:
    """The low-pass filter whose outer product with itself a checkpoint stores, at any gain."""
    if name not in weights:
        return _DEFAULT_TAPS
    kernel = weights.take(name)
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 or abs(float(kernel.sum())) < 1e-6:
        raise CheckpointError(f"its low-pass filter has the unexpected shape {tuple(kernel.shape)}")
    kernel = kernel / kernel.sum()
    line = kernel.sum(dim=0)
    if not torch.allclose(torch.outer(line, line), kernel, atol=1e-5):
        raise CheckpointError("its low-pass filter is not separable, which is not supported")
    default = torch.tensor(_DEFAULT_TAPS) / sum(_DEFAULT_TAPS)
    if line.shape == default.shape and torch.allclose(line, default, atol=1e-5):
        return _DEFAULT_TAPS
    return tuple(float(tap) for tap in line)


def _nvidia_settings(modules: Mapping[str, Mapping[Any, Any]]) -> dict[str, float | None]:
    """What the modules say that their weights do not: the clamp of activations, the gain of the mapping."""
    clamps: set[float | None] = set()
    for name, attributes in modules.items():
        if re.fullmatch(r"synthesis\.b\d+\.conv\d|mapping\.fc\d+", name):
            if attributes.get("activation", "lrelu") != "lrelu":
                raise CheckpointError(f"{name} uses another activation than leaky ReLU, which is not supported")
            clamps |= {_number(attributes["conv_clamp"])} if "conv_clamp" in attributes else set()
    if len(clamps) > 1:
        raise CheckpointError("its layers clamp activations at different magnitudes, which is not supported")
    settings = {"conv_clamp": clamps.pop() if clamps else None}
    gain = _number(modules.get("mapping.fc0", {}).get("bias_gain"))
    return settings if gain is None else {**settings, "mapping_gain": gain}


def _tensorflow_settings(modules: Mapping[str, Mapping[Any, Any]]) -> dict[str, float | None]:
    settings: dict[Any, Any] = {}
    for attributes in modules.values():
        settings |= attributes
    for key in ("nonlinearity", "mapping_nonlinearity"):
        if settings.get(key, "lrelu") != "lrelu":
            raise CheckpointError("it uses another activation than leaky ReLU, which is not supported")
    if list(settings.get("resample_kernel") or (1, 3, 3, 1)) != [1, 3, 3, 1]:
        raise CheckpointError("it uses another low-pass filter than StyleGAN2's, which is not supported")
    gain = _number(settings.get("mapping_lrmul"))
    chosen = {"conv_clamp": _number(settings.get("conv_clamp"))}
    return chosen if gain is None else {**chosen, "mapping_gain": gain}


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float):
        raise CheckpointError("a setting of its layers is no number; the file is damaged")
    return float(value)


def _assemble(
    named: _Named,
    *,
    conv_clamp: float | None = None,
    mapping_gain: float | None = None,
    taps: tuple[float, ...] = _DEFAULT_TAPS,
) -> StyleGAN2:
    """A generator of our names and shapes; what may be missing is filled in."""
    config = _config(named, conv_clamp=conv_clamp, mapping_gain=mapping_gain or 0.01, fir_taps=taps)
    generator = blank(lambda: StyleGAN2(config))  # the tensors of the file become its parameters
    wanted = {name: tensor.shape for name, tensor in generator.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    for name, shape in wanted.items():
        if name.endswith(".noise") and name not in named:  # early files lack the noise maps
            named[name] = torch.randn(shape, generator=random)
        elif name.endswith(".noise_strength") and name not in named:
            named[name] = torch.zeros(())
    unknown_mean = "w_mean" not in named
    named.setdefault("w_mean", torch.zeros(config.w_dim))
    for name in sorted(wanted.keys() | named.keys()):
        found, shape = named.get(name), wanted.get(name)
        if found is None or found.shape != shape:
            what = "missing" if found is None else f"of the shape {tuple(found.shape)}"
            raise CheckpointError(f"it is like StyleGAN2, but what should be {name} {tuple(shape or ())} is {what}")
    generator.load_state_dict({name: tensor.contiguous() for name, tensor in named.items()}, assign=True)
    generator.requires_grad_(False)
    if unknown_mean:
        generator.w_mean.copy_(_mean_latent(generator))
    return generator.eval()


def _config(named: _Named, **settings: Any) -> StyleGAN2Config:
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    blocks, layers = 0, 0
    while len(shapes.get(f"blocks.{blocks}.conv.weight", ())) == 4:
        blocks += 1
    while len(shapes.get(f"mapping.layers.{layers}.weight", ())) == 2:
        layers += 1
    if not 0 < blocks <= _MAX_BLOCKS or layers == 0:
        raise CheckpointError("it is like StyleGAN2, but has no mapping or no convolutions that could be used")
    first, last = shapes["mapping.layers.0.weight"], shapes[f"mapping.layers.{layers - 1}.weight"]
    embed = shapes.get("mapping.embed.weight", (0, 0))
    rgb = shapes.get(f"blocks.{blocks - 1}.to_rgb.weight", (0,))
    if rgb[0] != 3:
        raise CheckpointError(f"it draws images of {rgb[0]} channels, not RGB, which is not supported")
    architecture: Architecture = "orig"
    if any(name.endswith(".shortcut") for name in shapes):
        architecture = "resnet"
    elif blocks == 1 or "blocks.0.to_rgb.weight" in shapes:
        architecture = "skip"
    return StyleGAN2Config(
        resolution=4 << (blocks - 1),
        channels=tuple(shapes[f"blocks.{index}.conv.weight"][0] for index in range(blocks)),
        z_dim=first[1] - embed[0],
        w_dim=last[0],
        c_dim=embed[1],
        mapping_layers=layers,
        mapping_dim=None if layers == 1 or first[0] == last[0] else first[0],
        architecture=architecture,
        **settings,
    )


@torch.no_grad()
def _mean_latent(generator: StyleGAN2) -> Tensor:
    """The mean of W for files that do not store it, of samples that are the same every time."""
    classes = generator.config.c_dim
    z = np.random.RandomState(123).randn(_MEAN_SAMPLES, generator.z_dim)
    parts = ((start, torch.from_numpy(z[start : start + 512]).float()) for start in range(0, _MEAN_SAMPLES, 512))
    rows = [generator.map(part, even_labels(classes, start, len(part)))[:, 0] for start, part in parts]
    return torch.cat(rows).mean(dim=0)
