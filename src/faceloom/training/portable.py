"""A run's state as a few small files, for carrying a run between machines.

A folder holds `run.json` (settings, progress, what was measured, and the digests of the parts), the weights of the
networks in `part-N.safetensors`, large tensors rounded to 16 bits, and pictures. It keeps to limits: 8 files, 16 MiB
each, 64 MiB together. It has no optimizer moments: Adam begins anew, under a learning rate that rises from zero again.

The folder is replaced as a whole: a write that fails leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.training.config import TrainingConfig
from faceloom.training.discriminator import Discriminator

RUN_FILE = "run.json"
MAX_FILES = 8
MAX_FILE = 16 * 2**20
MAX_TOTAL = 64 * 2**20
MAX_PARTS = 5
"""What is left of the files is for `run.json` and two pictures."""
_PICTURES = 2**21
_HEADER = 2**18
_LARGE = 4096
VERSION = 1


@dataclass(frozen=True)
class PortableRun:
    """What a folder holds.

    Attributes:
        config: the settings, as `TrainingConfig.to_json` gives them.
        progress: steps, images and seconds.
        tensors: by their names in the run, with 32 bits.
        notes: what was measured, and the end of the log.
    """

    config: str
    progress: dict[str, Any]
    tensors: dict[str, Tensor]
    notes: dict[str, Any] = field(default_factory=dict)


def carried(state: Mapping[str, Tensor], *, principal: bool) -> dict[str, Tensor]:
    """What of a run's networks is taken along.

    Args:
        state: of all networks.
        principal: whether the codes of the warm start are still needed.

    Returns:
        The tensors without the trained encoder, whose average does for both.
    """
    left = ("encoder.",) if principal else ("encoder.", "principal.")
    return {name: tensor for name, tensor in state.items() if not name.startswith(left)}


def plan(tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Which tensors go into which part.

    Raises:
        TrainingError: if they do not fit the limits.
    """
    room = MAX_FILE - _HEADER
    parts: list[list[str]] = []
    free = 0
    for name, tensor in tensors.items():
        size = _stored_bytes(tensor)
        if size > room:
            raise TrainingError(f"{name} alone is larger than a portable file may be ({MAX_FILE >> 20} MiB)")
        if size > free:
            parts.append([])
            free = room
        parts[-1].append(name)
        free -= size
    total = sum(map(_stored_bytes, tensors.values())) + len(parts) * _HEADER + 2 * _PICTURES
    if len(parts) > MAX_PARTS or total > MAX_TOTAL:
        raise TrainingError(
            f"a portable state of these networks needs {total / 2**20:.0f} MiB, more than {MAX_TOTAL >> 20}; "
            "train smaller ones, or leave --portable out"
        )
    return parts


def write_portable(folder: Path, run: PortableRun, pictures: Mapping[str, bytes] | None = None) -> None:
    """Write a folder, in place of the one there.

    Args:
        folder: to write; its parent is made where missing.
        run: what to write.
        pictures: further files by name: at most two, of 2 MiB each; larger ones are left out.

    Raises:
        TrainingError: if the limits do not allow it, or it cannot be written.
    """
    files = {name: data for name, data in list((pictures or {}).items())[:2] if len(data) <= _PICTURES}
    parts = {}
    for number, names in enumerate(plan(run.tensors)):
        packed = {name: _narrow(run.tensors[name]) for name in names}
        parts[f"part-{number}.safetensors"] = save(packed)
    record = {
        "version": VERSION,
        "config": json.loads(run.config),
        "progress": run.progress,
        "parts": {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()},
        **run.notes,
    }
    files |= parts | {RUN_FILE: (json.dumps(record, indent=1) + "\n").encode()}
    draft, old = (folder.with_name(f".{folder.name}-{word}") for word in ("new", "old"))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for name, data in files.items():
            (draft / name).write_bytes(data)
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
        os.replace(draft, folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise TrainingError(f"cannot write {folder} ({error.strerror or error}); choose another --portable") from error


def read_portable(folder: Path) -> PortableRun | None:
    """Read a folder that `write_portable` wrote; None where there is none.

    Raises:
        TrainingError: if it is damaged or of a later version.
    """
    old = folder.with_name(f".{folder.name}-old")
    if not (folder / RUN_FILE).exists() and (old / RUN_FILE).exists():
        folder = old  # the machine stopped between the two moves of a write
    if not (folder / RUN_FILE).exists():
        return None
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        if record.pop("version") > VERSION:
            raise TrainingError(f"{folder} was written by a later Faceloom; upgrade to go on with it")
        tensors: dict[str, Tensor] = {}
        for name, digest in record.pop("parts").items():
            data = (folder / Path(name).name).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise TrainingError(f"{folder / name} is damaged; carry it over again")
            tensors |= load(data)
        wide = {name: one.float() if one.is_floating_point() else one for name, one in tensors.items()}
        return PortableRun(json.dumps(record.pop("config")), dict(record.pop("progress")), wide, record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise TrainingError(f"{folder} is not a portable run, or incomplete: {error!r}; carry it over again") from error


def networks_of(run: PortableRun) -> tuple[StyleGAN2, ResidualEncoder, Discriminator | None]:
    """The averaged generator and encoder of a run, and its discriminator, to start another run from.

    Raises:
        TrainingError: if the tensors are not those that the settings promise.
    """
    config = TrainingConfig.from_json(run.config)
    generator, encoder = StyleGAN2(config.generator()), ResidualEncoder(config.encoder())
    judge = Discriminator(config.channels) if config.adversarial else None
    for prefix, network in (
        ("averaged.generator.", generator),
        ("averaged.encoder.", encoder),
        ("discriminator.", judge),
    ):
        own = {name.removeprefix(prefix): one for name, one in run.tensors.items() if name.startswith(prefix)}
        try:
            if network is not None:
                network.load_state_dict(own)
        except RuntimeError as error:
            raise TrainingError(f"the run to start from is damaged: {' '.join(str(error).split())[:200]}") from error
    return generator, encoder, judge


def _halved(tensor: Tensor) -> bool:
    """Large tensors are weights, and lose nothing that training would not find again; small ones may be statistics."""
    return tensor.is_floating_point() and tensor.numel() >= _LARGE


def _narrow(tensor: Tensor) -> Tensor:
    plain = tensor.detach().to("cpu")
    return (plain.half() if _halved(plain) else plain).contiguous()


def _stored_bytes(tensor: Tensor) -> int:
    return tensor.numel() * (2 if _halved(tensor) else tensor.element_size())
