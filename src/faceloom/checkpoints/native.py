"""Faceloom's own files: safetensors whose metadata says what the tensors are.

The metadata entry "faceloom" holds JSON: {"kind": KIND, "version": 1, "config": {...}, "info": {...}}. KIND is
"stylegan2", "stylegan3", "residual-encoder" or "irse-encoder" here; other modules have theirs. Nothing in such a file
can run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from faceloom.checkpoints.blank import blank
from faceloom.encoders.irse import IRSEConfig, IRSEEncoder
from faceloom.encoders.residual import ResidualEncoder, ResidualEncoderConfig
from faceloom.errors import CheckpointError, UsageError
from faceloom.files import replacing
from faceloom.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from faceloom.generators.stylegan3 import StyleGAN3, StyleGAN3Config

VERSION = 1
GeneratorNetwork = StyleGAN2 | StyleGAN3
EncoderNetwork = ResidualEncoder | IRSEEncoder
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)
_GENERATORS: dict[str, Callable[[dict[str, Any]], GeneratorNetwork]] = {
    "stylegan2": lambda config: StyleGAN2(StyleGAN2Config.from_dict(config)),
    "stylegan3": lambda config: StyleGAN3(StyleGAN3Config.from_dict(config)),
}
_ENCODERS: dict[str, Callable[[dict[str, Any]], EncoderNetwork]] = {
    "residual-encoder": lambda config: ResidualEncoder(ResidualEncoderConfig.from_dict(config)),
    "irse-encoder": lambda config: IRSEEncoder(IRSEConfig.from_dict(config)),
}
_KINDS: dict[type[nn.Module], str] = {
    StyleGAN2: "stylegan2",
    StyleGAN3: "stylegan3",
    ResidualEncoder: "residual-encoder",
    IRSEEncoder: "irse-encoder",
}


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
        # `save` would hold everything in memory twice more. This one makes a file of its own, which only its owner may
        # read.
        try:
            save_file(data, file.name, metadata={"faceloom": text})
        except SafetensorError as error:  # what it makes of a full disk
            raise UsageError(
                f"cannot write {str(path)!r} ({error}); free some space, or choose another place"
            ) from error
        os.chmod(file.name, os.fstat(file.fileno()).st_mode)


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
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path} is safetensors, but not a Faceloom model") from error
    if version > VERSION:
        raise CheckpointError(f"{path} was written by a later Faceloom (format {version}); upgrade to open it")
    return tensors, header


def save_generator(
    path: Path, generator: GeneratorNetwork, info: dict[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write a generator; `info` is free text for people, `half` stores 16-bit weights."""
    write(path, _stored(generator, half), Header(_KINDS[type(generator)], generator.config.to_dict(), info or {}))


def save_encoder(
    path: Path, encoder: EncoderNetwork, info: dict[str, Any] | None = None, *, half: bool = False
) -> None:
    """Write an encoder; `info` should name the fingerprint of its generator, `half` stores 16-bit weights."""
    write(path, _stored(encoder, half), Header(_KINDS[type(encoder)], encoder.config.to_dict(), info or {}))


def _stored(module: nn.Module, half: bool) -> dict[str, Tensor]:
    state = module.state_dict()
    return {name: tensor.half() if half and tensor.is_floating_point() else tensor for name, tensor in state.items()}


def load_generator(path: Path) -> StyleGAN2:
    """Read a StyleGAN2 that `save_generator` wrote, frozen, in evaluation mode.

    Raises:
        CheckpointError: if the file is not one.
    """
    generator = load_any_generator(path)
    if not isinstance(generator, StyleGAN2):
        raise CheckpointError(f"{path} holds a {_KINDS[type(generator)]}, and only a stylegan2 will do here")
    return generator


def load_any_generator(path: Path) -> GeneratorNetwork:
    """Read a generator of any architecture that `save_generator` wrote, frozen, in evaluation mode.

    Raises:
        CheckpointError: if the file is not one.
    """
    return _read_network(path, _GENERATORS, "generator")[0]


def load_encoder(path: Path) -> tuple[ResidualEncoder, dict[str, Any]]:
    """Read a residual encoder that `save_encoder` wrote, frozen, in evaluation mode, with its info.

    Raises:
        CheckpointError: if the file is not one.
    """
    encoder, info = load_any_encoder(path)
    if not isinstance(encoder, ResidualEncoder):
        raise CheckpointError(f"{path} holds a {_KINDS[type(encoder)]}, and only a residual-encoder will do here")
    return encoder, info


def load_any_encoder(path: Path) -> tuple[EncoderNetwork, dict[str, Any]]:
    """Read an encoder of any architecture that `save_encoder` wrote, frozen, in evaluation mode, with its info.

    Raises:
        CheckpointError: if the file is not one.
    """
    return _read_network(path, _ENCODERS, "encoder")


def _read_network(
    path: Path, kinds: Mapping[str, Callable[[dict[str, Any]], _ModuleT]], noun: str
) -> tuple[_ModuleT, dict[str, Any]]:
    tensors, header = read(path)
    build = kinds.get(header.kind)
    if build is None:
        raise CheckpointError(f"{path} holds a {header.kind}, not a {noun}")
    return _fill(lambda: build(header.config), tensors, path), header.info


def _fill(build: Callable[[], _ModuleT], tensors: dict[str, Tensor], path: Path) -> _ModuleT:
    module = blank(build)  # the file's tensors become the parameters
    wide = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    try:
        module.load_state_dict(wide, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not hold the tensors that its description promises: {error}") from error
    module.requires_grad_(False)
    return module.eval()
