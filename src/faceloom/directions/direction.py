"""A direction, a set of them, and their file."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from faceloom.checkpoints import native
from faceloom.directions.composing import Effects, balanced, overlaps
from faceloom.errors import CheckpointError, DirectionError, UsageError
from faceloom.recipe import Edit, summed

KIND = "directions"
MoveSpace = Literal["w+", "s"]
_PROBE, _BEND = "probe:", "bend:"
_NO_EFFECTS: Effects = {}


@dataclass(frozen=True, eq=False)
class Direction:
    """A move in W+, or in S, that changes one attribute.

    Attributes:
        name: one word, as on the command line.
        vector: float32. In W+ (num_ws, w_dim). In S (channels,): the style vectors of all modulated layers, end to
            end, in the order of the generator's `styles`. One unit of it is one standard deviation of the attribute
            over the faces that it was found on, unless `unit` says otherwise. 0 outside `layers`.
        layers: the layers it acts on, from (inclusive) and to (exclusive): rows of W+, or entries of `styles`.
        range: amounts within which faces stay faces.
        low, high: what a face becomes at the ends of the range, in a word or two.
        space: "w+" or "s".
        unit: what an amount of 1 is, in words.
        note: what to know before using it, such as "rough: ..."; "" where there is nothing to say.
        bend: of the shape of `vector`, what is added for each unit whichever way it goes; 0 outside `layers`, too. None
            where the path is straight.
    """

    name: str
    vector: Tensor
    layers: tuple[int, int]
    range: tuple[float, float]
    low: str
    high: str
    space: MoveSpace = "w+"
    unit: str = "one standard deviation of the attribute"
    note: str = ""
    bend: Tensor | None = None

    def __post_init__(self) -> None:
        if self.space not in get_args(MoveSpace):
            raise DirectionError(f'the direction {self.name!r} is in {self.space!r}; a move is in "w+" or "s"')
        words = (self.name, self.low, self.high, self.unit, self.note)
        if not (self.name and all(text.isprintable() for text in words)):
            raise DirectionError(f"the direction {self.name!r} needs a name, and words that can be printed")
        if not all(map(math.isfinite, self.range)):
            raise DirectionError(f"the range of the direction {self.name!r} must be two numbers, not {self.range}")
        shape = "(num_ws, w_dim)" if self.space == "w+" else "(channels,)"
        if self.vector.ndim != (2 if self.space == "w+" else 1) or not bool(torch.isfinite(self.vector).all()):
            raise DirectionError(f"the direction {self.name!r} must be finite, of the shape {shape}")
        if not bool(self.vector.any()):
            raise DirectionError(f"the direction {self.name!r} is zero everywhere: it would change nothing")
        if self.bend is not None and (
            self.bend.shape != self.vector.shape or not bool(torch.isfinite(self.bend).all())
        ):
            raise DirectionError(f"the bend of the direction {self.name!r} must be finite, of the shape of its vector")

    def step(self, amount: float) -> Tensor:
        """What an amount adds to a code, or to the style vectors; of the shape of `vector`."""
        straight = amount * self.vector
        return straight if self.bend is None else straight + abs(amount) * self.bend

    def scaled(self, factor: float) -> Direction:
        """A copy, of which one unit is `factor` of these."""
        return replace(self, vector=factor * self.vector, bend=None if self.bend is None else factor * self.bend)

    def follows(self, other: Direction) -> bool:
        """Whether it is the same path as another one."""
        ends = ((self.step(side), other.step(side)) for side in (-1.0, 1.0))
        return self.space == other.space and all(torch.equal(ours, theirs) for ours, theirs in ends)

    def renamed(self, name: str, low: str, high: str, *, flip: bool = False) -> Direction:
        """A copy with another name and words; `flip` swaps its sides first."""
        if not flip:
            return replace(self, name=name, low=low, high=high)
        limits = (-self.range[1], -self.range[0])
        return replace(self, name=name, low=low, high=high, vector=-self.vector, range=limits)


@dataclass(frozen=True, eq=False)
class Probe:
    """Reads an attribute from a code.

    Attributes:
        name: of the attribute.
        weights: (w_dim,); a code in W, or the mean row of one in W+, times these and plus `offset` is the attribute in
            standard deviations from the mean of the faces that it was fitted on.
        offset: see `weights`.
    """

    name: str
    weights: Tensor
    offset: float

    def read(self, codes: Tensor) -> Tensor:
        """The attribute of codes (N, w_dim) or (N, num_ws, w_dim), (N,)."""
        rows = codes if codes.ndim == 2 else codes.mean(dim=1)
        return rows @ self.weights + self.offset


class DirectionSet:
    """The directions of one generator, by name.

    Args:
        directions: of one shape.
        fingerprint: of the generator they were found in.
        info: how they were found, for people.
        probes: of the attributes that were measured, offered as directions or not.
        effects: for each direction, how much one unit of it changes each attribute in the picture, in standard
            deviations; {} where nobody has measured.

    Attributes:
        probes: by name.
        fingerprint, info, effects: as given.
    """

    def __init__(
        self,
        directions: Sequence[Direction],
        fingerprint: str,
        info: dict[str, Any] | None = None,
        *,
        probes: Iterable[Probe] = (),
        effects: Effects = _NO_EFFECTS,
    ) -> None:
        self._by_name = {direction.name: direction for direction in directions}
        if len(self._by_name) != len(directions):
            raise DirectionError("two directions have the same name")
        self.fingerprint, self.info, self.effects = fingerprint, info or {}, effects
        self.probes: Mapping[str, Probe] = {probe.name: probe for probe in probes}

    def __iter__(self) -> Iterator[Direction]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Direction:
        direction = self._by_name.get(name)
        if direction is None:
            if not self._by_name:
                raise UsageError(
                    f"there is no direction {name!r}, nor any other for this model; import some that were made for it: "
                    "`faceloom models list` names published ones"
                )
            close = difflib.get_close_matches(name, self._by_name, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(self._by_name)}"
            raise UsageError(f"there is no direction {name!r}; {hint}")
        return direction

    def names(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._by_name)

    def move(self, codes: Tensor, edits: Sequence[Edit]) -> Tensor:
        """Codes (..., num_ws, w_dim) with all edits in W+ added; their order does not matter.

        Raises:
            UsageError: if there is no such direction.
        """
        for direction, amount in self._summed(edits):
            if direction.space == "w+":
                codes = codes + direction.step(amount)
        return codes

    def _summed(self, edits: Sequence[Edit]) -> list[tuple[Direction, float]]:
        """Each direction once, with all that the edits have of it: bent ones do not move in proportion."""
        return [(self[name], amount) for name, amount in summed(edits).items()]

    def moves(self) -> Tensor | None:
        """The directions in W+, one deviation each, unbent, (K, num_ws, w_dim); None where there are none."""
        found = [direction.vector for direction in self if direction.space == "w+"]
        return torch.stack(found) if found else None

    def style_offset(self, edits: Sequence[Edit]) -> Tensor | None:
        """What edits in S add to the style vectors, (channels,); None where no edit is in S.

        Raises:
            UsageError: if there is no such direction.
        """
        moves = self._summed(edits)
        parts = [direction.step(amount) for direction, amount in moves if direction.space == "s" and amount]
        return torch.stack(parts).sum(dim=0) if parts else None

    def balanced(self, edits: Sequence[Edit]) -> tuple[Edit, ...]:
        """The edits with other amounts, so that each attribute changes as its own edit says and no other edit adds.

        An edit of amount 0 keeps its attribute as it is. Measured effects are used where the set has them, else the
        overlap of the vectors; see `faceloom.directions.composing`.

        Raises:
            UsageError: if there is no such direction.
        """
        names = list(dict.fromkeys(edit.direction for edit in edits))
        measured = all(one in self.effects.get(other, {}) for one in names for other in names)
        if measured:
            return balanced(edits, self.effects)
        directions = [self[name] for name in names]
        return balanced(
            edits, overlaps(directions), {one.name: float(one.vector.double().norm()) for one in directions}
        )

    def joined(self, others: Iterable[Direction]) -> DirectionSet:
        """This set with more directions.

        Raises:
            DirectionError: if two have one name.
        """
        return DirectionSet(
            [*self, *others], self.fingerprint, self.info, probes=self.probes.values(), effects=self.effects
        )

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
                "space": direction.space,
                "unit": direction.unit,
                "note": direction.note,
            }
            for direction in self
        ]
        probes = [{"name": probe.name, "offset": probe.offset} for probe in self.probes.values()]
        config = {
            "fingerprint": self.fingerprint,
            "directions": entries,
            "probes": probes,
            "effects": {name: dict(row) for name, row in self.effects.items()},
        }
        tensors = {direction.name: direction.vector for direction in self}
        tensors |= {_BEND + direction.name: direction.bend for direction in self if direction.bend is not None}
        tensors |= {_PROBE + probe.name: probe.weights for probe in self.probes.values()}
        native.write(path, tensors, native.Header(KIND, config, self.info))

    @classmethod
    def load(cls, path: Path) -> DirectionSet:
        """The inverse of `save`.

        Raises:
            CheckpointError: if the file is not one.
            DirectionError: if a direction in it is zero or not finite.
        """
        tensors, header = native.read(path)
        if header.kind != KIND:
            raise CheckpointError(f"{path} holds a {header.kind}, not directions")
        try:
            return cls(
                [_read_direction(entry, tensors) for entry in header.config["directions"]],
                str(header.config["fingerprint"]),
                header.info,
                probes=[
                    Probe(str(entry["name"]), tensors[_PROBE + entry["name"]].float(), float(entry["offset"]))
                    for entry in header.config.get("probes", [])
                ],
                effects={
                    str(name): {str(other): float(value) for other, value in row.items()}
                    for name, row in header.config.get("effects", {}).items()
                },
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"{path} does not hold directions as its description promises: {error}") from error


def _read_direction(entry: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Direction:
    words = {key: str(entry[key]) for key in ("unit", "note") if key in entry}
    bend = tensors.get(_BEND + entry["name"])
    return Direction(
        name=str(entry["name"]),
        vector=tensors[entry["name"]].float(),
        layers=(int(entry["layers"][0]), int(entry["layers"][1])),
        range=(float(entry["range"][0]), float(entry["range"][1])),
        low=str(entry["low"]),
        high=str(entry["high"]),
        space=entry.get("space", "w+"),
        bend=None if bend is None else bend.float(),
        **words,
    )
