"""What the reader builds in place of objects it does not know: plain data that cannot do anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Global:
    """The name of a class or function. It is never looked up, let alone imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return quoted(f"{self.module}.{self.name}")


@dataclass(slots=True, eq=False, repr=False)
class Inert:
    """An object of a class that the reader does not know, or what a function that it does not know would have given.

    Attributes:
        name: of the class or function, without its module.
        module: where the file says it is defined.
        args, kwargs: what the file would have it called with.
        state: what the object would have restored itself from, usually the dictionary of its attributes.
        items, entries: elements that the file appends, where the class extends list, set or dict.
    """

    name: str
    module: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    state: Any = None
    items: list[Any] | None = field(default=None)
    entries: dict[Any, Any] | None = field(default=None)

    def __repr__(self) -> str:
        return f"Inert({quoted(f'{self.module}.{self.name}')})"

    @property
    def attributes(self) -> dict[Any, Any]:
        """The dictionary of attributes, empty where the state is something else."""
        return self.state if isinstance(self.state, dict) else {}


class Attributes(dict[Any, Any]):
    """A dictionary for objects that are nothing but attributes: argparse.Namespace, EasyDict."""


def quoted(text: str, limit: int = 80) -> str:
    """Text from a file made fit for a message: one line, printable, short."""
    text = text if len(text) <= limit else text[:limit] + "..."
    return "".join(char if char.isprintable() else "?" for char in text)
