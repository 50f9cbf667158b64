"""Where stickers, pictures with transparency, can be saved."""

from __future__ import annotations

from pathlib import Path

from faceloom.errors import UsageError
from faceloom.provenance.saving import TRANSPARENT


def check_sticker(path: Path | None) -> None:
    """Whether a sticker could be saved there; raises UsageError if its format has no transparency."""
    if path is not None and path.suffix.lower() not in TRANSPARENT:
        raise UsageError(f"a sticker is transparent around the head, and {path.suffix!r} cannot be; save it as .png")
