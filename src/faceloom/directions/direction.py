"""A direction, a set of them, and their file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.errors import CheckpointError, DirectionError, UsageError
from faceloom.recipe import Edit

KIND = "directions"


@dataclass(frozen=True, eq=False)
class Direction:
    """A move in W+ that changes one attribute.

    Attributes:
        name: one word, as on the command line.
        vector: (num_ws, w_dim) float32; one unit of it is one standard deviation of the attribute over the faces that
            it was found on. Rows outside `layers` are 0.
        layers: the style layers it acts on, from (inclusive) and to (exclusive).
        range: amounts within which faces stay faces.
        low, high: what a face becomes at the ends of the range, in a word or two.
    """

    name: str
    vector: Tensor
    layers: tuple[int, int]
    range: tuple[float, float]
    low: str
    high: str

    def __post_init__(self) -> None:
        if self.vector.ndim != 2 or not bool(torch.isfinite(self.vector).all()):
            raise DirectionError(f"the direction {self.name!r} must be finite, of the shape (num_ws, w_dim)")
        if not bool(self.vector.any()):
            raise DirectionError(f"the direction {self.name!r} is zero everywhere: it would change nothing")


class DirectionSet:
    """The directions of one generator, by name.

    Args:
        directions: of one shape.
        fingerprint: of the generator they were found in.
        info: how they were found, for people.
    """

    def __init__(self, directions: Sequence[Direction], fingerprint: str, info: dict[str, Any] | None = None) -> None:
        self._by_name = {direction.name: direction for direction in directions}
        if len(self._by_name) != len(directions):
            raise DirectionError("two directions have the same name")
        self.fingerprint, self.info = fingerprint, info or {}

    def __iter__(self) -> Iterator[Direction]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Direction:
        direction = self._by_name.get(name)
        if direction is None:
            close = difflib.get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(self._by_name)}"
            raise UsageError(f"there is no direction {name!r}; {hint}")
        return direction

    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._by_name)

    def move(self, codes: Tensor, edits: Sequence[Edit]) -> Tensor:
        """Codes (..., num_ws, w_dim) with all edits added; their order does not matter.

        Raises:
            UsageError: if there is no such direction.
        """
        for edit in edits:
            codes = codes + edit.amount * self[edit.direction].vector
        return codes

    def check_known(self, edits: Sequence[Edit]) -> None:
        """Raise UsageError if an edit has no direction here."""
        for edit in edits:
            _ = self[edit.direction]

    def check_generator(self, fingerprint: str) -> None:
        """Raise DirectionError if these directions were found in another generator."""
        if fingerprint != self.fingerprint:
            raise DirectionError(
                f"these directions were made for the generator {self.fingerprint}, not {fingerprint}; "
                "use the directions that came with this model"
            )

    def save(self, path: Path) -> None:
        """Write as safetensors."""
        entries = [
            {
                "name": direction.name,
                "layers": list(direction.layers),
                "range": list(direction.range),
                "low": direction.low,
                "high": direction.high,
            }
            for direction in self
        ]
        config = {"fingerprint": self.fingerprint, "directions": entries}
        tensors = {direction.name: direction.vector for direction in self}
        native.write(path, tensors, native.Header(KIND, config, self.info))

    @classmethod
    def load(cls, path: Path) -> DirectionSet:
        """The inverse of `save`; raises CheckpointError if the file is not one."""
        tensors, header = native.read(path)
        if header.kind != KIND:
            raise CheckpointError(f"{path} holds a {header.kind}, not directions")
        try:
            directions = [
                Direction(
                    name=str(entry["name"]),
                    vector=tensors[entry["name"]].float(),
                    layers=(int(entry["layers"][0]), int(entry["layers"][1])),
                    range=(float(entry["range"][0]), float(entry["range"][1])),
                    low=str(entry["low"]),
                    high=str(entry["high"]),
                )
                for entry in header.config["directions"]
            ]
            return cls(directions, str(header.config["fingerprint"]), header.info)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} does not hold directions as its description promises: {error}") from error
