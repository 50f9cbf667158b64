"""Checkpoints of every origin, read without executing anything."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceloom.checkpoints.loading import load_codes as load_codes
    from faceloom.checkpoints.loading import load_encoder as load_encoder
    from faceloom.checkpoints.loading import load_generator as load_generator
    from faceloom.checkpoints.reader import read_checkpoint as read_checkpoint

_HOMES = {
    "load_codes": "faceloom.checkpoints.loading",
    "load_encoder": "faceloom.checkpoints.loading",
    "load_generator": "faceloom.checkpoints.loading",
    "read_checkpoint": "faceloom.checkpoints.reader",
}
"""Imported when they are first used: the catalogue needs no PyTorch."""


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
