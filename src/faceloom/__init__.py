"""Faceloom edits a face in a real photo and puts the result back where it came from.

The names below are imported when they are first used, so that `import faceloom` is quick and touches neither device,
disk nor network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceloom.checkpoints.loading import load_encoder as load_encoder
    from faceloom.checkpoints.loading import load_generator as load_generator
    from faceloom.directions.importing import load_directions as load_directions
    from faceloom.editor import Editor as Editor
    from faceloom.errors import FaceloomError as FaceloomError
    from faceloom.imaging.photos import open_photo as open_photo
    from faceloom.provenance.claims import Claim as Claim
    from faceloom.provenance.saving import save_picture as save_picture
    from faceloom.recipe import Edit as Edit
    from faceloom.recipe import Recipe as Recipe
    from faceloom.types import Crop as Crop
    from faceloom.types import Face as Face
    from faceloom.types import Latent as Latent
    from faceloom.types import Photo as Photo
    from faceloom.types import Render as Render

__version__ = "0.1.0"

_HOMES = {
    "Claim": "faceloom.provenance.claims",
    "Crop": "faceloom.types",
    "Edit": "faceloom.recipe",
    "Editor": "faceloom.editor",
    "Face": "faceloom.types",
    "FaceloomError": "faceloom.errors",
    "Latent": "faceloom.types",
    "Photo": "faceloom.types",
    "Recipe": "faceloom.recipe",
    "Render": "faceloom.types",
    "load_directions": "faceloom.directions.importing",
    "load_encoder": "faceloom.checkpoints.loading",
    "load_generator": "faceloom.checkpoints.loading",
    "open_photo": "faceloom.imaging.photos",
    "save_picture": "faceloom.provenance.saving",
}
"""Where each public name lives. The block above says the same to type checkers."""


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
