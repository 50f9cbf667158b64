"""Twins: copies of a generator that draw the same people in another domain.

A twin shares its generator's mapping and early layers, so that a code means the same person to both; only the layers
that differ are stored. Because both grew from the same weights, their weights can be mixed: all layers by the same
share (Wang et al. 2019, "Deep Network Interpolation"), or those of some resolutions only (Pinkney and Adler 2020,
"Resolution Dependent GAN Interpolation", which named its result Toonify).
"""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.domains.illustrators import ILLUSTRATORS
from faceloom.errors import CheckpointError, UsageError
from faceloom.generators.protocol import Generator, forget_fingerprint
from faceloom.generators.stylegan2 import StyleGAN2

Part = Literal["all", "texture", "geometry"]
"""What is taken from the twin: everything, its fine layers, or its coarse layers."""

KIND = "twin"
SUFFIX = ".safetensors"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_BLOCK = re.compile(r"blocks\.(\d{1,2})\.")


@dataclass(frozen=True, eq=False)
class Twin:
    """What a twin has of its own.

    Attributes:
        name: by which recipes ask for it: small letters, digits and hyphens.
        title: for people, a few words.
        base: fingerprint of the generator that it is a twin of.
        tensors: the tensors that differ, by their names in the generator; float32.
        illustrator: name of the illustrator that it learned from, which redraws photos at their own resolution; ""
            where it learned from drawings.
        info: how it was made, free text for people.
    """

    name: str
    title: str
    base: str
    tensors: Mapping[str, Tensor]
    illustrator: str = ""
    info: Mapping[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write the twin, with 16-bit numbers; raises UsageError if that is not possible."""
        config = {"name": self.name, "title": self.title, "base": self.base, "illustrator": self.illustrator}
        tensors = {name: tensor.half() for name, tensor in self.tensors.items()}
        native.write(path, tensors, native.Header(KIND, config, dict(self.info or {})))

    @classmethod
    def load(cls, path: Path) -> Twin:
        """Read a twin.

        Raises:
            CheckpointError: if the file is not one, or is damaged.
        """
        tensors, header = native.read(path)
        if header.kind != KIND:
            raise CheckpointError(f"{path} holds a {header.kind}, not a twin")
        try:
            name, title, base, drawn_by = (str(header.config[key]) for key in ("name", "title", "base", "illustrator"))
        except KeyError as error:
            raise CheckpointError(f"{path} does not say what it is a twin of; make it again") from error
        if drawn_by and drawn_by not in ILLUSTRATORS:
            raise CheckpointError(f"{path} was made with the illustrator {drawn_by!r}; upgrade Faceloom to use it")
        return cls(name, title, base, {key: value.float() for key, value in tensors.items()}, drawn_by, header.info)

    def blend(
        self, base: Generator, degree: float = 1.0, *, part: Part = "all", resolution: int = 16, width: float = 0.5
    ) -> StyleGAN2:
        """A generator between the base and the twin.

        Args:
            base: the generator that this is a twin of.
            degree: 0 gives the base, 1 the twin, as far as `part` lets it.
            part: "all" mixes every layer; "texture" takes the layers from `resolution` on from the twin, and so keeps
                the proportions of the base; "geometry" takes the layers below it.
            resolution: where the two meet, in pixels.
            width: how gradually, in doublings of the resolution; 0 is a sharp border.

        Returns:
            A new generator, frozen, in evaluation mode; the base is unchanged.

        Raises:
            UsageError: if `base` is another generator, or `degree`, `part` or `width` makes no sense.
            CheckpointError: if the twin's tensors do not fit.
        """
        if not isinstance(base, StyleGAN2) or base.fingerprint != self.base:
            raise UsageError(
                f"the twin {self.name!r} belongs to the generator {self.base}, not to {base.fingerprint}; "
                "use the model that it was made with, or make it again with `faceloom domain`"
            )
        if not 0.0 <= degree <= 1.0 or width < 0.0 or part not in get_args(Part):
            raise UsageError(f"a degree is from 0 to 1, a width from 0, a part one of {', '.join(get_args(Part))}")
        mixed = copy.deepcopy(base)
        forget_fingerprint(mixed)
        own = mixed.state_dict()
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                if name not in own or own[name].shape != tensor.shape:
                    raise CheckpointError(f"the twin {self.name!r} is damaged: its {name} does not fit its generator")
                share = degree * _share(resolution_of(name), part, resolution, width)
                own[name].lerp_(tensor.to(own[name]), share)
        mixed.requires_grad_(False)
        return mixed.eval()


def check_name(name: str) -> str:
    """The name of a twin, if it is one; raises UsageError otherwise."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no name for a twin; use up to 40 small letters, digits and hyphens")
    return name


def resolution_of(name: str) -> int:
    """The resolution in pixels that a tensor of a StyleGAN2 works at; 0 for the mapping."""
    block = _BLOCK.match(name)
    if block:
        return 4 << int(block[1])
    return 4 if name == "const" else 0


def twin_of(
    base: StyleGAN2, tuned: StyleGAN2, name: str, title: str, illustrator: str = "", info: dict[str, Any] | None = None
) -> Twin:
    """The twin that training made: the tensors in which `tuned` differs from `base`, rounded as they will be stored."""
    before = base.state_dict()
    tensors = {
        key: tensor.detach().half().float().clone()
        for key, tensor in tuned.state_dict().items()
        if not torch.equal(tensor, before[key])
    }
    return Twin(check_name(name), title, base.fingerprint, tensors, illustrator, info)


@functools.lru_cache(maxsize=6)
def blended(twin: Twin, base: Generator, degree: float) -> StyleGAN2:
    """`Twin.blend`, remembered for the last few: for whoever draws many times."""
    return twin.blend(base, degree)


class TwinShelf(Mapping[str, Twin]):
    """The twins of one generator by name, read when they are asked for.

    Args:
        base: fingerprint of the generator.
        folders: where to look for NAME.safetensors; a name in a later folder hides that in an earlier one.
    """

    def __init__(self, base: str, folders: Sequence[Path]) -> None:
        self.base, self.folders = base, tuple(folders)
        self._read: Callable[[Path, int], Twin] = functools.lru_cache(maxsize=8)(lambda path, _: Twin.load(path))

    def __getitem__(self, name: str) -> Twin:
        """The twin of this name; UsageError (not KeyError, which says nothing to people) where there is none."""
        path = self._paths().get(name)
        if path is None:
            known = ", ".join(self) or "none yet; `faceloom domain` makes them"
            raise UsageError(f"there is no twin {name!r} of this model; it has {known}")
        twin = self._read(path, path.stat().st_mtime_ns)
        if twin.base != self.base:
            raise CheckpointError(f"the twin {path} belongs to another generator; make it again with `faceloom domain`")
        return twin

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._paths()))

    def __len__(self) -> int:
        return len(self._paths())

    def __contains__(self, name: object) -> bool:
        return name in self._paths()

    def path(self, name: str) -> Path:
        """Where a twin lies; raises UsageError as `self[name]`."""
        if name not in self:
            self[name]
        return self._paths()[name]

    def _paths(self) -> dict[str, Path]:
        return {path.stem: path for folder in self.folders for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _share(resolution: int, part: Part, border: int, width: float) -> float:
    """How much of a layer comes from the twin, 0 to 1: logistic in the doublings from the border."""
    if part == "all":
        return 1.0
    # Half a doubling below the border, so that the layers at `border` itself count as fine.
    distance = math.log2(max(resolution, 1)) - math.log2(border) + 0.5
    fine = 1.0 / (1.0 + math.exp(-min(max(distance / max(width, 1e-3), -60.0), 60.0)))
    return fine if part == "texture" else 1.0 - fine
