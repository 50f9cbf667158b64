"""Presets: named recipes with a strength, such as "Grandparent".

They stand in presets.toml, as data. A model offers those whose directions it has.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from typing import Any

from faceloom.directions.direction import DirectionSet
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.model import Model
from faceloom.recipe import Edit, Recipe

FILE = "presets.toml"


@dataclass(frozen=True)
class Preset:
    """A recipe with a name.

    Attributes:
        name: one word, as on the command line.
        title: for people.
        edits: at full strength.
        strength: the share of it that is used where nothing else is asked for.
        mirror: a direction whose amount takes the sign that leads away from what a face already is; "" for none. It
            turns a face read as masculine feminine, and the other way round.
    """

    name: str
    title: str
    edits: tuple[Edit, ...]
    strength: float = 1.0
    mirror: str = ""

    def edits_for(
        self, directions: DirectionSet, strength: float | None = None, readings: Mapping[str, float] | None = None
    ) -> tuple[Edit, ...]:
        """Its edits at a strength, inside the ranges of the directions.

        Args:
            directions: of the model.
            strength: from 0 (nothing) to 2; the preset's own where None.
            readings: what a face is, by attribute, in standard deviations; needed for `mirror`, see `readings_of`.

        Raises:
            UsageError: if the strength is out of range, or a direction is missing.
        """
        share = self.strength if strength is None else strength
        if not 0.0 <= share <= 2.0:
            raise UsageError(f"the strength of a preset is a number from 0 to 2, not {share:g}")
        edits = []
        for edit in self.edits:
            low, high = directions[edit.direction].range
            away = edit.direction == self.mirror and (readings or {}).get(self.mirror, 0.0) > 0.0
            amount = share * (-abs(edit.amount) if away else edit.amount)
            edits.append(Edit(edit.direction, min(high, max(low, amount))))
        return tuple(edits)

    def recipe_for(self, editor: Editor, strength: float | None = None, base: Recipe | None = None) -> Recipe:
        """The recipe for the faces of an open photo, added to `base`, whose own edits count.

        Raises:
            UsageError: as `edits_for`; or it mirrors, and would go another way for each of them.
        """
        recipe = base or Recipe(model=editor.model.id)
        given = {edit.direction for edit in recipe.edits}
        readings = [readings_of(editor, number) for number in range(len(editor.faces))]
        if self.mirror and len({each.get(self.mirror, 0.0) > 0.0 for each in readings}) > 1:
            raise UsageError(
                f"the preset {self.name!r} leads these faces different ways; give it to one at a time, with --face N"
            )
        edits = self.edits_for(editor.model.directions, strength, readings[0])
        return replace(recipe, edits=(*(edit for edit in edits if edit.direction not in given), *recipe.edits))


def readings_of(editor: Editor, number: int = 0) -> dict[str, float]:
    """What an open face is, counted from 0, as the model's probes read its code, in standard deviations."""
    codes = editor.faces[number].latent.codes[None]
    return {name: float(probe.read(codes)) for name, probe in editor.model.directions.probes.items()}


def load_presets(model: Model) -> tuple[Preset, ...]:
    """The presets that this model has all directions for.

    One that mirrors needs a probe of its attribute, too: without it nobody knows which way to go.
    """
    known, probes = model.directions.names(), model.directions.probes
    return tuple(
        preset
        for preset in _presets()
        if all(edit.direction in known for edit in preset.edits) and (not preset.mirror or preset.mirror in probes)
    )


def find_preset(model: Model, name: str) -> Preset:
    """The preset of this name or title.

    Raises:
        UsageError: if the model has none.
    """
    offered = load_presets(model)
    wanted = name.casefold()
    for preset in offered:
        if wanted in (preset.name, preset.title.casefold()):
            return preset
    names = [preset.name for preset in offered]
    close = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"this model has: {', '.join(names) or 'none'}"
    raise UsageError(f"there is no preset {name!r}; {hint}")


@lru_cache(maxsize=1)
def _presets() -> tuple[Preset, ...]:
    text = (resources.files("faceloom") / FILE).read_text(encoding="utf-8")
    return read_presets(tomllib.loads(text)["preset"])


def read_presets(entries: Sequence[Mapping[str, Any]]) -> tuple[Preset, ...]:
    """Presets from the tables of a TOML file.

    Raises:
        UsageError: if one is malformed.
    """
    found = []
    for entry in entries:
        try:
            edits = tuple(Edit(str(name), float(amount)) for name, amount in dict(entry["edits"]).items())
            preset = Preset(str(entry["name"]), str(entry["title"]), edits)
            found.append(
                replace(preset, strength=float(entry.get("strength", 1.0)), mirror=str(entry.get("mirror", "")))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"a preset needs a name, a title and edits: {error!r} in {entry!r}") from error
    return tuple(found)
