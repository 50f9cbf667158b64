"""Checkpoints of the pSp family, made up: tiny ones, and one of full shape by the rule of the goldens' README."""

from __future__ import annotations

import json
import math
import runpy
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

StateDict = dict[str, Tensor]
HALVINGS = (4, 4, 4, 5, 5, 6)
_GENERATORS = runpy.run_path(str(Path(__file__).with_name("conftest.py")))


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    """One entry of an encoder, by the rule of the goldens' README."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values: np.ndarray[Any, Any] = np.asarray(rng.standard_normal(shape), dtype=np.float32)
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    if leaf == "running_var":
        values = 0.1 * np.abs(values) + 1
    elif leaf in ("running_mean", "bias"):
        values = 0.1 * values
    elif len(shape) >= 2:
        values = values if name.endswith("linear.weight") else values / math.sqrt(math.prod(shape[1:]))
    else:
        values = 1 + 0.1 * values
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def tiny_state(inputs: int = 3, halvings: tuple[int, ...] = HALVINGS, pyramid: bool = True) -> StateDict:
    shapes: dict[str, tuple[int, ...]] = {"input_layer.0.weight": (4, inputs, 3, 3), "input_layer.2.weight": (4,)}
    norms = {"input_layer.1": 4}
    before = 4
    for index, width in enumerate((4, 4, 6, 8, 12, 12)):
        prefix = f"body.{index}.res_layer"
        shapes |= {f"{prefix}.1.weight": (width, before, 3, 3), f"{prefix}.2.weight": (width,)}
        shapes |= {f"{prefix}.3.weight": (width, width, 3, 3)}
        shapes |= {
            f"{prefix}.5.fc1.weight": (width // 2, width, 1, 1),
            f"{prefix}.5.fc2.weight": (width, width // 2, 1, 1),
        }
        norms |= {f"{prefix}.0": before, f"{prefix}.4": width}
        if width != before:
            shapes[f"body.{index}.shortcut_layer.0.weight"] = (width, before, 1, 1)
            norms[f"body.{index}.shortcut_layer.1"] = width
        before = width
    for name, width in norms.items():
        shapes |= {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{name}.num_batches_tracked"] = ()
    for row, count in enumerate(halvings):
        for conv in range(count):
            shapes |= {
                f"styles.{row}.convs.{2 * conv}.weight": (12, 12, 3, 3),
                f"styles.{row}.convs.{2 * conv}.bias": (12,),
            }
        shapes |= {f"styles.{row}.linear.weight": (12, 12), f"styles.{row}.linear.bias": (12,)}
    if pyramid:
        shapes |= {"latlayer1.weight": (12, 8, 1, 1), "latlayer1.bias": (12,)}
        shapes |= {"latlayer2.weight": (12, 6, 1, 1), "latlayer2.bias": (12,)}
    return {name: filled(name, shape) for name, shape in shapes.items()}


def checkpoint(state: StateDict, opts: Any, **more: Any) -> dict[str, Any]:
    prefixed = {f"encoder.{name}": tensor for name, tensor in state.items()}
    return {"state_dict": prefixed, "latent_avg": torch.arange(12.0).repeat(6, 1), "opts": opts, **more}


def with_decoder(opts: Any, *, latent_avg: Tensor | None = None) -> dict[str, Any]:
    """A tiny encoder with a generator of 16 px that it fits: 6 layers of 12 numbers."""
    mean = torch.linspace(-1, 1, 12) if latent_avg is None else latent_avg
    tree = checkpoint(tiny_state(), opts, latent_avg=mean)
    decoder = _GENERATORS["tiny_rosinality"](blocks=3, channels=12)
    tree["state_dict"] |= {f"decoder.{name}": tensor for name, tensor in decoder.items()}
    return tree


def full_e4e(golden: Path) -> dict[str, Any]:
    """An e4e checkpoint of the published one's shape: IR-SE-50 and a StyleGAN2 of 1024 px, filled by the rule."""
    names: dict[str, list[int]] = json.loads((golden / "e4e_encoder.names.json").read_text())
    state = {f"encoder.{name}": filled(name, tuple(shape)) for name, shape in names.items()}
    fill = _GENERATORS["_fill_one"]
    state |= {f"decoder.{name}": torch.from_numpy(fill(name, shape)) for name, shape in rosinality_shapes(1024).items()}
    opts = {"encoder_type": "Encoder4Editing", "stylegan_size": 1024, "start_from_latent_avg": True}
    return {"state_dict": state, "latent_avg": 0.1 * torch.ones(18, 512), "opts": opts}


def rosinality_shapes(size: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of rosinality's Generator(size, 512, 8, channel_multiplier=2)."""
    sides = [4 << level for level in range(int(math.log2(size)) - 1)]
    widths = [min(512, 32768 // side) for side in sides]
    shapes: dict[str, tuple[int, ...]] = {"input.input": (1, widths[0], 4, 4)}
    for index in range(1, 9):
        shapes |= {f"style.{index}.weight": (512, 512), f"style.{index}.bias": (512,)}

    def layer(name: str, inputs: int, outputs: int, kernel: int) -> None:
        shapes[f"{name}.conv.weight"] = (1, outputs, inputs, kernel, kernel)
        shapes[f"{name}.conv.modulation.weight"] = (inputs, 512)
        shapes[f"{name}.conv.modulation.bias"] = (inputs,)
        if kernel == 1:
            shapes[f"{name}.bias"] = (1, 3, 1, 1)
        else:
            shapes.update({f"{name}.noise.weight": (1,), f"{name}.activate.bias": (outputs,)})

    layer("conv1", widths[0], widths[0], 3)
    layer("to_rgb1", widths[0], 3, 1)
    shapes["noises.noise_0"] = (1, 1, 4, 4)
    for index, side in enumerate(sides[1:]):
        before, width = widths[index], widths[index + 1]
        layer(f"convs.{2 * index}", before, width, 3)
        layer(f"convs.{2 * index + 1}", width, width, 3)
        layer(f"to_rgbs.{index}", width, 3, 1)
        shapes[f"convs.{2 * index}.conv.blur.kernel"] = (4, 4)
        shapes[f"to_rgbs.{index}.upsample.kernel"] = (4, 4)
        shapes |= {f"noises.noise_{2 * index + half}": (1, 1, side, side) for half in (1, 2)}
    return shapes
