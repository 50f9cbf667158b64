"""Photos to start with, for those who have none at hand."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from PIL import Image

from faceloom.server.refusals import not_found
from faceloom.server.schemas import Sample

_TITLES = {"portrait": "Portrait", "beard": "A beard", "distant": "A face far away"}
_PACKAGED = Path(__file__).parent / "samples"
_CHECKOUT = Path(__file__).parents[3] / "examples"
"""The wheel has the photos inside the package; a checkout keeps them where people look for examples."""


class Samples:
    """The sample photos; only their fixed names can be asked for."""

    @cached_property
    def _paths(self) -> dict[str, Path]:
        folder = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT
        paths = {name: folder / f"{name}.jpg" for name in _TITLES}
        return {name: path for name, path in paths.items() if path.is_file()}

    def list(self) -> list[Sample]:
        """What there is."""
        found = []
        for name, path in self._paths.items():
            with Image.open(path) as image:
                found.append(Sample(name=name, title=_TITLES[name], width=image.width, height=image.height))
        return found

    def path(self, name: str) -> Path:
        """The file of one; raises Refusal 404."""
        if name not in self._paths:
            raise not_found("sample")
        return self._paths[name]
