"""Checkpoints as other projects write them, made on the spot."""

from __future__ import annotations

import json
import pickle
import sys
import types
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

StateDict = dict[str, Tensor]


@pytest.fixture(scope="session")
def golden_folder(shared_folder: Path) -> Path:
    """Reference checkpoints, and what the reference implementations compute with them."""
    return shared_folder / "golden"


@pytest.fixture(scope="session")
def filled(golden_folder: Path) -> Callable[[str], StateDict]:
    """The weights of a full-size network, by the rule that its README gives."""

    def fill(name: str) -> StateDict:
        names: dict[str, list[int]] = json.loads((golden_folder / f"{name}.names.json").read_text())
        return {entry: torch.from_numpy(_fill_one(entry, tuple(shape))) for entry, shape in names.items()}

    return fill


def _fill_one(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    leaf = name.rpartition(".")[2]
    if leaf in ("resample_filter", "kernel"):
        kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
        return (kernel * (4 if leaf == "kernel" else 1)).astype(np.float32)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = np.asarray(rng.standard_normal(shape), dtype=np.float32)
    if leaf in ("noise_strength", "w_avg", "bias") or name.endswith("noise.weight"):
        values = values * np.float32(0.1)
    if leaf == "bias" and ("affine" in name or "modulation" in name):
        values = values + np.float32(1)
    if name.startswith(("mapping.fc", "style.")):
        values = values * np.float32(100)
    return np.asarray(values, dtype=np.float32)


class Persistent:
    """Pickles the way that an object of NVIDIA's torch_utils.persistence does."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit('source was run')\n"}
        self.meta |= {"class_name": class_name, "state": state}

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


@pytest.fixture
def persistent(monkeypatch: pytest.MonkeyPatch) -> Callable[[StateDict], Persistent]:
    """Wraps a state dict into modules that pickle as NVIDIA's do."""
    module = types.ModuleType("torch_utils.persistence")

    def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
        raise AssertionError("something was unpickled")

    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return lambda state_dict: _nest("Generator", state_dict)


def _nest(class_name: str, state_dict: StateDict) -> Persistent:
    parameters: OrderedDict[str, Any] = OrderedDict()
    buffers: OrderedDict[str, Any] = OrderedDict()
    children: dict[str, StateDict] = {}
    for name, tensor in state_dict.items():
        head, _, rest = name.partition(".")
        if rest:
            children.setdefault(head, {})[rest] = tensor
        elif name in ("w_avg", "noise_const", "resample_filter"):
            buffers[name] = tensor
        else:
            parameters[name] = torch.nn.Parameter(tensor)
    modules = OrderedDict((name, _nest(name.capitalize(), child)) for name, child in children.items())
    state = {"training": False, "_parameters": parameters, "_buffers": buffers, "_modules": modules}
    return Persistent(class_name, {**state, "_non_persistent_buffers_set": set(), "_init_args": (), "_init_kwargs": {}})


@pytest.fixture
def dump(tmp_path: Path) -> Callable[[Any], Path]:
    """Writes a plain pickle and gives its path."""

    def write(tree: Any, protocol: int = 4) -> Path:
        path = tmp_path / "written.pkl"
        path.write_bytes(pickle.dumps(tree, protocol=protocol))
        return path

    return write


def tiny_rosinality(blocks: int = 3, channels: int = 8) -> StateDict:
    """A small generator under rosinality's names, of random weights."""
    shapes: dict[str, tuple[int, ...]] = {"input.input": (1, channels, 4, 4)}
    for index in (1, 2):
        shapes |= {f"style.{index}.weight": (channels, channels), f"style.{index}.bias": (channels,)}
    convolutions = ["conv1", *(f"convs.{index}" for index in range(2 * blocks - 2))]
    for index, name in enumerate(convolutions):
        shapes[f"{name}.conv.weight"] = (1, channels, channels, 3, 3)
        shapes |= {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (channels,)}
        size = 4 << (index + 1) // 2
        shapes[f"noises.noise_{index}"] = (1, 1, size, size)
    colours = ["to_rgb1", *(f"to_rgbs.{index}" for index in range(blocks - 1))]
    for name in colours:
        shapes |= {f"{name}.conv.weight": (1, 3, channels, 1, 1), f"{name}.bias": (1, 3, 1, 1)}
    for name in convolutions + colours:
        shapes[f"{name}.conv.modulation.weight"] = (channels, channels)
        shapes[f"{name}.conv.modulation.bias"] = (channels,)
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def rosinality() -> Callable[..., StateDict]:
    """Makes a small generator under rosinality's names."""
    return tiny_rosinality
