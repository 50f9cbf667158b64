"""One set out of the directions of several origins that pair with a generator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from faceloom.directions.anchors import DirectionWarning, attribute_of
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.importing import load_directions
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator


def paired_directions(origins: Sequence[tuple[str, Path]], generator: Generator) -> DirectionSet:
    """Load directions of several origins for one generator.

    Two directions of one name and one path are one. Of two that differ, the first keeps the name, and the other gets
    its origin's behind it: "age", then "age-stit"; or that alone, where it says as much. A direction whose name says
    in other words what it changes, such as "e4e-age", is called by the usual word where that is free.

    Args:
        origins: id and file of each, in order of precedence.
        generator: what they are to be used with.

    Returns:
        The set. An origin that does not fit the generator is left out, with a DirectionWarning.

    Raises:
        CheckpointError: if a file is damaged.
    """
    found: dict[str, Direction] = {}
    for origin, path in origins:
        try:
            loaded = load_directions(path, generator=generator)
        except DirectionError as error:
            warnings.warn(f"the directions {origin!r} are left out: {error}", DirectionWarning, stacklevel=2)
            continue
        for one in loaded:
            name = _free_name(one, origin, found)
            if name:
                found[name] = replace(one, name=name)
    plain = _plainly_named(list(found.values()))
    return DirectionSet(plain, generator.fingerprint, {"origins": [origin for origin, _ in origins]})


def _free_name(one: Direction, origin: str, found: dict[str, Direction]) -> str:
    """A name that is not taken; "" where the same direction is there already."""
    taken = found.get(one.name)
    if taken is None:
        return one.name
    if taken.follows(one):
        return ""
    label = origin.removeprefix("directions-")
    named = f"-{one.name}-" in f"-{label}-"  # as whole words
    name, count = label if named else f"{one.name}-{label}", 2
    while name in found:
        name, count = f"{one.name}-{count}", count + 1
    return name


def _plainly_named(directions: Sequence[Direction]) -> list[Direction]:
    """The directions, those of an attribute that no other is named after named after it."""
    taken = {one.name for one in directions}
    named = []
    for one in directions:
        attribute = attribute_of(one.name)
        if attribute is not None and attribute.name not in taken:
            taken.add(attribute.name)
            one = replace(one, name=attribute.name)
        named.append(one)
    return named
