"""Faceloom's own files: safetensors whose metadata says what the tensors are.

The metadata entry "faceloom" holds JSON: {"kind": "stylegan2" | "residual-encoder", "version": 1, "config": {...},
"info": {...}}. Nothing in such a file can run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from faceloom.checkpoints.blank import blank
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import CheckpointError
from faceloom.files import replacing
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config

VERSION = 1
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Header:
    """What a native file says about itself."""

    kind: str
    config: dict[str, Any]
    info: dict[str, Any]


def write(path: Path, tensors: Mapping[str, Tensor], header: Header) -> None:
    """Write a native file; raises UsageError if that is not possible."""
    text = json.dumps({"kind": header.kind, "version": VERSION, "config": header.config, "info": header.info})
    data = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with replacing(path) as file:
        file.write(save(data, metadata={"faceloom": text}))


def read(path: Path) -> tuple[dict[str, Tensor], Header]:
    """Read a native file.

    Raises:
        CheckpointError: if it is not one, is damaged, or is of a later version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    try:
        data = json.loads(metadata["faceloom"])
        header = Header(str(data["kind"]), dict(data["config"]), dict(data["info"]))
        version = int(data["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is safetensors, but not a Faceloom model") from error
    if version > VERSION:
        raise CheckpointError(f"{path} was written by a later Faceloom (format {version}); upgrade to open it")
    return tensors, header


def save_generator(path: Path, generator: StyleGAN2, info: dict[str, Any] | None = None, *, half: bool = False) -> None:
    """Write a generator; `info` is free text for people, `half` stores 16-bit weights."""
    write(path, _stored(generator, half), Header("stylegan2", generator.config.to_dict(), info or {}))


def save_encoder(
    path: Path, encoder: ResidualEncoder, info: dict[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write an encoder; `info` should name the fingerprint of its generator, `half` stores 16-bit weights."""
    write(path, _stored(encoder, half), Header("residual-encoder", encoder.config.to_dict(), info or {}))


def _stored(module: nn.Module, half: bool) -> dict[str, Tensor]:
    state = module.state_dict()
    return {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}


def load_generator(path: Path) -> StyleGAN2:
    """Read a generator that `save_generator` wrote, frozen, in evaluation mode.

    Raises:
        CheckpointError: if the file is not one.
    """
    tensors, header = _read_kind(path, "stylegan2", "generator")
    return _fill(lambda: StyleGAN2(StyleGAN2Config.from_dict(header.config)), tensors, path)


def load_encoder(path: Path) -> tuple[ResidualEncoder, dict[str, Any]]:
    """Read an encoder that `save_encoder` wrote, frozen, in evaluation mode, with its info.

    Raises:
        CheckpointError: if the file is not one.
    """
    tensors, header = _read_kind(path, "residual-encoder", "encoder")
    build = lambda: ResidualEncoder(ResidualEncoderConfig.from_dict(header.config))  # noqa: E731
    return _fill(build, tensors, path), header.info


def _read_kind(path: Path, kind: str, noun: str) -> tuple[dict[str, Tensor], Header]:
    tensors, header = read(path)
    if header.kind != kind:
        raise CheckpointError(f"{path} holds a {header.kind}, not a {noun}")
    return tensors, header


def _fill(build: Callable[[], _ModuleT], tensors: dict[str, Tensor], path: Path) -> _ModuleT:
    module = blank(build)  # the file's tensors become the parameters
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        module.load_state_dict(wide, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not hold the tensors that its description promises: {error}") from error
    module.requires_grad_(False)
    return module.eval()
