"""A recipe: what to do to a face, as data.

The same object is an undo step, an API body, a batch job and what a saved picture carries. As JSON:

    {"version": 1, "model": "default", "paste": "transfer", "edits": [{"direction": "age", "amount": 1.5}]}
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from faceloom.errors import UsageError

Paste = Literal["transfer", "replace"]
VERSION = 1
MAX_AMOUNT = 20.0


@dataclass(frozen=True)
class Edit:
    """One step along one direction.

    Attributes:
        direction: its name.
        amount: how far, in the direction's unit (one standard deviation of the attribute); either sign.
    """

    direction: str
    amount: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and abs(self.amount) <= MAX_AMOUNT):
            raise UsageError(f"the amount of {self.direction!r} must be between -{MAX_AMOUNT:g} and {MAX_AMOUNT:g}")


@dataclass(frozen=True)
class Recipe:
    """What to do to a face.

    Attributes:
        edits: the steps; they add up, in any order.
        paste: "transfer" moves and recolours the photo's own pixels by the change that the generator shows;
            "replace" puts the generator's picture into the photo.
        model: id of the model that the directions belong to.
        twin: name of the twin generator that draws the face, such as "toon"; "" for the generator itself.
        degree: how far towards the twin, from 0 (not at all) to 1.
        balance: change each attribute by what its own edit asks for, taking back what the others add to it; an edit
            of amount 0 then keeps its attribute. Otherwise edits simply add up.
    """

    edits: tuple[Edit, ...] = ()
    paste: Paste = "transfer"
    model: str = "default"
    twin: str = ""
    degree: float = 1.0
    balance: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.degree <= 1.0:
            raise UsageError(f"the degree of a twin is a number from 0 to 1, not {self.degree!r}")
        if self.paste not in get_args(Paste):
            raise UsageError(f"paste is one of {', '.join(get_args(Paste))}, not {self.paste!r}")
        for name, amount in self.amounts().items():
            if abs(amount) > MAX_AMOUNT:
                raise UsageError(f"the amounts of {name!r} add up to {amount:g}, beyond {MAX_AMOUNT:g}")

    def amounts(self) -> dict[str, float]:
        """How far each direction is gone: the amounts of edits along one add up."""
        return summed(self.edits)

    def with_edit(self, direction: str, amount: float) -> Recipe:
        """A copy in which `direction` has this amount and no other."""
        others = tuple(edit for edit in self.edits if edit.direction != direction)
        return replace(self, edits=(*others, Edit(direction, amount)))

    def to_json(self) -> str:
        """Text that `from_json` reads."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe.

        Raises:
            UsageError: if the text is not one, or asks for what does not exist.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the recipe is not JSON: {error}") from error
        if not isinstance(data, dict):
            raise UsageError('a recipe is a JSON object, such as {"edits": [{"direction": "age", "amount": 1}]}')
        if data.pop("version", VERSION) != VERSION:
            raise UsageError(f"this Faceloom reads recipes of version {VERSION}; upgrade to read a later one")
        unknown = sorted(set(data) - {"edits", "paste", "model", "twin", "degree", "balance"})
        if unknown:
            raise UsageError(
                f"a recipe has no entry {unknown[0]!r}; it has edits, paste, model, twin, degree, balance and version"
            )
        return cls(
            edits=tuple(_read_edit(entry) for entry in _list(data.get("edits", []))),
            paste=data.get("paste", "transfer"),
            model=str(data.get("model", "default")),
            twin=str(data.get("twin", "")),
            degree=_degree(data.get("degree", 1.0)),
            balance=_flag(data.get("balance", False)),
        )

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe from a file; raises UsageError."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, UsageError) as error:
            words = (error.strerror if isinstance(error, OSError) else None) or error
            raise UsageError(f"cannot read the recipe {str(path)!r}: {words}") from error


def summed(edits: Sequence[Edit]) -> dict[str, float]:
    """How much the edits have of each direction together, in the order of their first mention."""
    amounts: dict[str, float] = {}
    for edit in edits:
        amounts[edit.direction] = amounts.get(edit.direction, 0.0) + edit.amount
    return amounts


def _degree(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"the degree of a twin is a number from 0 to 1, not {json.dumps(value)[:80]}")
    return _finite(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError("the edits of a recipe are a list")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"balance is true or false, not {json.dumps(value)[:80]}")
    return value


def _read_edit(entry: Any) -> Edit:
    if not (isinstance(entry, dict) and set(entry) == {"direction", "amount"}):
        raise UsageError(f'an edit is {{"direction": NAME, "amount": NUMBER}}, not {json.dumps(entry)[:80]}')
    amount = entry["amount"]
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise UsageError(f"the amount of {entry['direction']!r} is a number, not {json.dumps(amount)[:80]}")
    return Edit(str(entry["direction"]), _finite(amount))


def _finite(number: float) -> float:
    """A number of JSON, which may be whole and of any length."""
    try:
        return float(number)
    except OverflowError:
        raise UsageError("a recipe has a number that is too large to mean anything") from None
