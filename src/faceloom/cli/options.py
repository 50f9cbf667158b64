"""Options that several verbs share, and edits given as `--NAME AMOUNT`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from faceloom.cli.numbers import FiniteRange
from faceloom.cli.progress import bar
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.inversion.dial import DEFAULT_FIDELITY
from faceloom.inversion.methods import METHODS, MethodName
from faceloom.model import Model
from faceloom.recipe import Edit

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)


def model_option(command: _CommandT) -> _CommandT:
    """`--model`."""
    return click.option(
        "--model", help="Model id, or the folder of one that was trained; the embedded model where left out."
    )(command)


def device_option(command: _CommandT) -> _CommandT:
    """`--device`."""
    return click.option(
        "--device",
        envvar="FACELOOM_DEVICE",
        default="cpu",
        show_default=True,
        show_envvar=True,
        help="Where to draw and invert: cpu, cuda, cuda:N, mps, or auto for a GPU if there is one.",
    )(command)


def provenance_option(command: _CommandT) -> _CommandT:
    """`--no-provenance`."""
    return click.option(
        "--no-provenance",
        is_flag=True,
        help="Leave out of the file that it was edited with AI, and how. Others then cannot tell. (Where and when a "
        "photo was taken is never kept.)",
    )(command)


def gathered(
    kind: Callable[..., object], name: str, options: Sequence[Callable[[Callable[..., None]], Callable[..., None]]]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options that a command gets as one value: `kind`, a dataclass with a field for each, as the argument `name`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def called(**values: Any) -> None:
            given = {field.name: values.pop(field.name) for field in fields(kind)}  # type: ignore[arg-type]
            command(**{name: kind(**given)}, **values)

        for option in reversed(options):
            called = option(called)
        return called

    return decorate


@dataclass(frozen=True)
class FaceChoice:
    """Which faces of a photo, and how to invert them; as `face_options` has it.

    Raises:
        UsageError: if one face and all of them are asked for, or a method and a fidelity.
    """

    face: int | None = None
    all_faces: bool = False
    inversion: MethodName | None = None
    fidelity: float | None = None

    def __post_init__(self) -> None:
        if self.face is not None and self.all_faces:
            raise UsageError("give either --face or --all-faces")
        if self.inversion is not None and self.fidelity is not None:
            raise UsageError("give either --fidelity or --inversion")

    @property
    def faces(self) -> int | Literal["all"] | None:
        """As `Editor.open` takes it."""
        return "all" if self.all_faces else self.face


face_options = gathered(
    FaceChoice,
    "choice",
    (
        click.option(
            "--inversion", type=click.Choice(METHODS), help="Use this method as it is in place of --fidelity."
        ),
        click.option(
            "--fidelity",
            type=FiniteRange(0.0, 1.0),
            help=f"0: edits work best, 1: most like the photo, slower.  [default: {DEFAULT_FIDELITY}; 0 above 256 px]",
        ),
        click.option("--all-faces", is_flag=True, help="Every face in the photo."),
        click.option(
            "--face", type=int, metavar="N", help="Which face, from 1, largest first; a cartoon is of the whole photo."
        ),
    ),
)
"""`--face`, `--all-faces` and how to invert; the command gets them as `choice`."""


def open_editor(photo: Path, model: Model, choice: FaceChoice) -> Editor:
    """Open a photo as `face_options` want it, with a bar; raises as `Editor.open`."""
    with bar("Finding the face and its code") as update:
        editor = Editor.open(
            photo,
            model=model,
            face=choice.faces,
            inverter=choice.inversion,
            fidelity=choice.fidelity,
            progress=lambda step: update(step.number, step.total),
        )
    for number, one in enumerate(editor.faces, start=1):
        if one.likeness is not None and one.likeness.poor:
            which = f"face {number}: " if len(editor.faces) > 1 else ""
            click.echo(f"note: {which}{one.likeness}", err=True)
    return editor


def photo_and_edits(first: Path, words: Sequence[str]) -> tuple[Path, tuple[str, ...]]:
    """The photo and the edits of a command line on which edits may come first: `--age +1.5 me.jpg`.

    Args:
        first: the first word that is not an option of the command's.
        words: those that follow.

    Raises:
        UsageError: if there is no photo, or more than one.
    """
    groups = list(_in_groups([str(first), *words]))
    edits = [word for group in groups if _is_option(group[0]) for word in group]
    others = [word for word, *_ in groups if not _is_option(word)]
    if not others:
        raise UsageError("there is no photo to edit; name one, such as me.jpg --age +1.5")
    if len(others) > 1 and Path(others[1]).exists():
        raise UsageError(f"{others[0]!r} and {others[1]!r}: one photo at a time; `faceloom batch` edits many")
    return Path(others[0]), (*edits, *others[1:])


def parse_edits(words: Sequence[str]) -> tuple[Edit, ...]:
    """Edits from what is left of the command line: `--age +1.5 --smile=1`.

    Raises:
        UsageError: if a word is not an option, or an amount is missing or not a number.
    """
    edits = []
    for word, *following in _in_groups(words):
        if not _is_option(word):
            raise UsageError(f"{word!r} is not understood; edits are given as --NAME AMOUNT, such as --age +1.5")
        name, equals, amount = word[2:].partition("=")
        if not equals:
            if not following:
                raise UsageError(f"--{name} needs an amount, such as --{name} +1")
            amount = following[0]
        try:
            edits.append(Edit(name, float(amount)))
        except ValueError:
            raise UsageError(f"the amount of --{name} must be a number, such as +1.5, not {amount!r}") from None
    return tuple(edits)


def _is_option(word: str) -> bool:
    return word.startswith("--") and word != "--"


def _in_groups(words: Sequence[str]) -> Iterator[list[str]]:
    """An option with the amount that follows it, if any does; any other word alone."""
    rest = iter(words)
    for word in rest:
        takes_next = _is_option(word) and "=" not in word
        yield [word, *(itertools.islice(rest, 1) if takes_next else ())]


def check_apart(sources: Sequence[Path | None], results: Sequence[Path | None]) -> None:
    """Raise UsageError where a result would take the place of what is read, or of another result."""
    taken: dict[Path, str] = {}
    try:
        for path in filter(None, sources):
            taken[path.resolve()] = f"{str(path)!r} is read; saving there would lose it. Choose another name"
        for path in filter(None, results):
            if path.resolve() in taken:
                raise UsageError(taken[path.resolve()])
            taken[path.resolve()] = f"{str(path)!r} cannot hold two results; choose another name for one of them"
    except (OSError, RuntimeError) as error:  # too long, or links in a circle
        raise UsageError(f"cannot use such a name ({error}); choose another") from error
