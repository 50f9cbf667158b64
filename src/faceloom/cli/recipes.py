"""Options that say what to do to a face, and the recipe that they make; for verbs that edit photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import click

from faceloom.cli.numbers import FiniteRange
from faceloom.cli.options import FILE, gathered, parse_edits
from faceloom.errors import UsageError
from faceloom.model import DEFAULT, Model, load_model
from faceloom.presets import Preset, find_preset
from faceloom.recipe import Paste, Recipe


@dataclass(frozen=True)
class Wishes:
    """The options of `recipe_options`, as they were given."""

    recipe: Path | None
    preset: str | None
    strength: float | None
    keep: tuple[str, ...]
    balance: bool
    paste: Paste | None
    twin: str | None
    degree: float | None


_OPTIONS = (
    click.option("--recipe", type=FILE, help="Take edits from this JSON file; options are added to it."),
    click.option(
        "--preset",
        help='A named recipe, such as "grandparent"; `faceloom directions` lists them. Edits given as well count more.',
    ),
    click.option("--strength", type=FiniteRange(0.0, 2.0), help="Of the preset; 1 is all of it."),
    click.option(
        "--keep", multiple=True, metavar="NAME", help="Take back what edits do to this attribute; repeatable."
    ),
    click.option("--balance", is_flag=True, help="Let no edit add to what another one changes."),
    click.option(
        "--paste",
        type=click.Choice(["transfer", "replace"]),
        help="transfer (default): warp and recolour the photo's own pixels; replace: put in the generator's picture.",
    ),
    click.option("--twin", help="Draw with this twin: toon, comic, sketch, or one that `faceloom domain` made."),
    click.option("--degree", type=FiniteRange(0, 1), help="How far towards the twin, from 0 to 1 (the default)."),
)


recipe_options = gathered(Wishes, "wishes", _OPTIONS)
"""`--recipe`, `--preset` and the others; the command gets them as `wishes`."""


def recipe_of(wishes: Wishes, words: tuple[str, ...], model: str | None) -> Recipe:
    """The recipe of a file, with what the command line adds to it.

    Args:
        wishes: the options.
        words: edits, as `parse_edits` takes them.
        model: its id or folder; the recipe's where None.

    Raises:
        UsageError: if the file is not a recipe, or an option makes no sense.
    """
    recipe = Recipe(model=model or DEFAULT) if wishes.recipe is None else Recipe.read(wishes.recipe)
    if model is not None:
        recipe = replace(recipe, model=model)
    for wanted in parse_edits(words):
        recipe = recipe.with_edit(wanted.direction, wanted.amount)
    if wishes.paste is not None:
        recipe = replace(recipe, paste=wishes.paste)
    if wishes.twin is not None:
        recipe = replace(recipe, twin=wishes.twin)
    if wishes.degree is not None:
        if not recipe.twin:
            raise UsageError("--degree says how far to go towards a twin; choose one with --twin, such as --twin toon")
        recipe = replace(recipe, degree=wishes.degree)
    return _balanced(recipe, wishes.keep, wishes.balance)


def model_for(recipe: Recipe, wishes: Wishes, device: str) -> tuple[Model, Preset | None]:
    """The recipe's model, which knows its edits and its twin, and the preset that was asked for.

    Raises:
        UsageError: if there is no such model, direction, twin or preset.
        CheckpointError: if a file is damaged.
    """
    model = load_model(recipe.model, device)
    if recipe.twin:
        model.twins.path(recipe.twin)
    model.directions.check_known(recipe.edits)
    if wishes.preset is None and wishes.strength is not None:
        raise UsageError("--strength is that of a preset; give --preset NAME, too")
    preset = None if wishes.preset is None else find_preset(model, wishes.preset)
    for name, amount in recipe.amounts().items():
        low, high = model.directions[name].range
        if not low <= amount <= high:
            click.echo(f"note: {name} {amount:+g} is beyond {low:+g} … {high:+g}", err=True)
    return model, preset


def words_of(recipe: Recipe) -> str:
    """What is done, for people."""
    words = [f"{step.direction} {step.amount:+g}" for step in recipe.edits]
    if recipe.twin:
        words.append(f"drawn by {recipe.twin} to {recipe.degree:.0%}")
    return ", ".join(words) or "no edit"


def _balanced(recipe: Recipe, keep: tuple[str, ...], balance: bool) -> Recipe:
    given = {edit.direction for edit in recipe.edits}
    for name in keep:
        if any(edit.direction == name and edit.amount for edit in recipe.edits):
            raise UsageError(f"{name!r} cannot be both edited and kept; leave one of the two out")
        if name not in given:
            recipe = recipe.with_edit(name, 0.0)
    return replace(recipe, balance=True) if keep or balance else recipe
