"""Packs: directions to keep and to pass on, for one generator, as one safetensors file.

A pack is a file of directions (`DirectionSet.save`) whose JSON also says what it is called, who made it, its licence
and examples of its use. Installed packs lie in the data folder, in a folder named after the generator's fingerprint.
Python packages bring directions along through the entry-point group "faceloom.directions": each entry point is a
function without arguments that returns the path of a pack, or a DirectionSet.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from faceloom.directions.anchors import DirectionWarning
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.errors import CheckpointError, DirectionError, UsageError
from faceloom.generators.protocol import Generator
from faceloom.settings import data_folder

PLUGINS = "faceloom.directions"
SUFFIX = ".safetensors"
_LONGEST_NAME = 60
_KEPT = re.compile(r"\.safetensors$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Pack:
    """Directions with a name.

    Attributes:
        name: one word.
        author, licence: of the directions; "" where not said.
        examples: recipes in words, such as "beard 2, age 1".
        directions: for one generator.
        path: where it lies, if anywhere.
    """

    name: str
    author: str
    licence: str
    examples: tuple[str, ...]
    directions: DirectionSet
    path: Path | None = None

    def save(self, path: Path) -> None:
        """Write the pack; raises UsageError if that is not possible."""
        entry = {"name": self.name, "author": self.author, "licence": self.licence, "examples": list(self.examples)}
        info = {**self.directions.info, "pack": entry}
        DirectionSet(list(self.directions), self.directions.fingerprint, info).save(path)


def word_of(name: str) -> str:
    """A name as one word for the command line: "Hair volume" becomes "hair-volume".

    Raises:
        UsageError: if no letter or digit is in it.
    """
    word = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")[:_LONGEST_NAME].strip("-")
    if not word:
        raise UsageError(f"{name!r} cannot name a direction; use letters and digits, such as hair-volume")
    return word


def make_pack(
    directions: DirectionSet,
    names: Sequence[str],
    name: str,
    *,
    author: str = "",
    licence: str = "",
    examples: Sequence[str] = (),
) -> Pack:
    """A pack of some directions of a set.

    Raises:
        UsageError: if there is no such direction, or none is named.
    """
    if not names:
        raise UsageError("a pack needs at least one direction; name some")
    chosen = DirectionSet([directions[one] for one in dict.fromkeys(names)], directions.fingerprint)
    return Pack(word_of(name), author, licence, tuple(examples), chosen)


def read_pack(path: Path) -> Pack:
    """Read a pack, or any file of directions, which is then called like the file.

    Raises:
        CheckpointError: if the file is neither.
        DirectionError: if a direction in it is zero or not finite.
    """
    directions = DirectionSet.load(path)
    entry = directions.info.get("pack")
    entry = entry if isinstance(entry, dict) else {}
    examples = entry.get("examples", [])
    return Pack(
        word_of(str(entry.get("name") or re.sub(r"\.x\.pack$|\.pack$", "", _KEPT.sub("", path.name)))),
        str(entry.get("author", "")),
        str(entry.get("licence", "")),
        tuple(str(one) for one in examples) if isinstance(examples, list) else (),
        directions,
        path,
    )


def pack_folder(fingerprint: str) -> Path:
    """Where the packs for a generator lie; it may not exist."""
    return data_folder() / "directions" / word_of(fingerprint)


def installed_packs(fingerprint: str) -> list[Pack]:
    """The packs that were installed for a generator, by name.

    Raises:
        CheckpointError, DirectionError: if a file is damaged; the message says how to get rid of it.
    """
    packs = []
    for path in sorted(pack_folder(fingerprint).glob(f"*{SUFFIX}")):
        try:
            packs.append(read_pack(path))
        except (CheckpointError, DirectionError) as error:
            raise type(error)(f"{error}; remove it with `faceloom directions remove {path.stem}`") from error
    return packs


def install(pack: Pack, fingerprint: str, taken: Collection[str]) -> Path:
    """Put a pack where the generator's directions are looked for; a pack of the same name is replaced.

    Args:
        pack: what to install.
        fingerprint: of the generator.
        taken: names of directions that the model has without this pack.

    Raises:
        DirectionError: if the pack is for another generator, or has a name that is taken.
    """
    pack.directions.check_generator(fingerprint)
    clash = next((name for name in pack.directions.names() if name in taken), None)
    if clash is not None:
        raise DirectionError(f"the model already has a direction {clash!r}; rename it, or remove the other one first")
    folder = pack_folder(fingerprint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder} ({error.strerror}); set FACELOOM_DATA to another") from error
    path = folder / f"{pack.name}{SUFFIX}"
    pack.save(path)
    return path


def remove(name: str, fingerprint: str) -> Path:
    """Remove an installed pack, or one direction of one.

    Returns:
        The file that was deleted or rewritten.

    Raises:
        UsageError: if nothing of this name is installed.
    """
    path = pack_folder(fingerprint) / f"{word_of(name)}{SUFFIX}"
    if path.is_file():
        path.unlink()
        return path
    for pack in installed_packs(fingerprint):
        if name in pack.directions.names() and pack.path is not None:
            rest = [direction for direction in pack.directions if direction.name != name]
            if rest:
                left = DirectionSet(rest, pack.directions.fingerprint, pack.directions.info)
                Pack(pack.name, pack.author, pack.licence, pack.examples, left).save(pack.path)
            else:
                pack.path.unlink()
            return pack.path
    raise UsageError(f"no pack or direction {name!r} is installed for this model; `faceloom directions list` shows all")


def own_directions(fingerprint: str, taken: Collection[str]) -> list[Direction]:
    """The directions that a person installed for a generator, and those that Python packages bring for it.

    One whose name is taken is left out with a DirectionWarning.
    """
    found: dict[str, Direction] = {}
    for source, direction in _everything(fingerprint):
        if direction.name in taken or direction.name in found:
            message = f"the direction {direction.name!r} of {source} is left out: there is another of this name"
            warnings.warn(message, DirectionWarning, stacklevel=2)
        else:
            found[direction.name] = direction
    return list(found.values())


def plugin_sets(fingerprint: str) -> list[tuple[str, DirectionSet]]:
    """By entry point, the directions that installed Python packages bring for a generator.

    Raises:
        DirectionError: if a plugin fails.
    """
    found = []
    for point in entry_points(group=PLUGINS):
        try:
            given = point.load()()
            directions = given if isinstance(given, DirectionSet) else DirectionSet.load(Path(given))
        except Exception as error:  # whatever a plugin does wrong
            raise DirectionError(
                f"the plugin {point.name!r} ({point.value}) failed: {error}; update or uninstall its package"
            ) from error
        if directions.fingerprint == fingerprint:  # a package may serve several generators
            found.append((point.name, directions))
    return found


def _everything(fingerprint: str) -> Iterator[tuple[str, Direction]]:
    for pack in installed_packs(fingerprint):
        pack.directions.check_generator(fingerprint)
        yield from ((f"the pack {pack.name!r}", direction) for direction in pack.directions)
    for name, directions in plugin_sets(fingerprint):
        yield from ((f"the plugin {name!r}", direction) for direction in directions)


def check_fits(directions: Iterable[Direction], generator: Generator) -> None:
    """Raise DirectionError if a direction in W+ has not the shape of this generator's codes."""
    wanted = (generator.num_ws, generator.w_dim)
    for one in directions:
        if one.space == "w+" and tuple(one.vector.shape) != wanted:
            raise DirectionError(
                f"the direction {one.name!r} is {tuple(one.vector.shape)}, and codes of this generator are {wanted}; "
                f"`faceloom directions remove {one.name}` takes it away if it is installed"
            )


def with_own(directions: DirectionSet, generator: Generator) -> DirectionSet:
    """The set with everything of `own_directions`; raises DirectionError if some of it does not fit."""
    more = own_directions(generator.fingerprint, directions.names())
    check_fits(more, generator)
    return directions.joined(more) if more else directions
