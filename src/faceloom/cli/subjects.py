"""What a verb works on where it takes a photo or an avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from faceloom.avatar import SUFFIX, Avatar
from faceloom.cli.options import FaceChoice, open_editor, parse_edits
from faceloom.editor import Editor
from faceloom.errors import UsageError
from faceloom.imaging.photos import open_photo
from faceloom.model import DEFAULT, load_model
from faceloom.recipe import Recipe


def open_avatar(path: Path, model: str | None, device: str, photo: Path | None = None) -> Editor:
    """Open an avatar with the model that it names, or with `model`; in its photo where that is given."""
    avatar = Avatar.load(path)
    try:
        loaded = load_model(model or avatar.model, device)
    except UsageError as error:
        if model is not None:
            raise
        words = (
            f"{str(path)!r} was made with the model {avatar.model!r}, which is not to be had here: {error}. Where it"
        )
        raise UsageError(f"{words} lies elsewhere, or has another name, say so with --model") from error
    return avatar.open(loaded, None if photo is None else open_photo(photo))


def model_of(paths: Sequence[Path]) -> str | None:
    """The model of the first avatar among avatars and photos, which the others are opened with; None without one."""
    return next((Avatar.load(path).model for path in paths if path.suffix.lower() == SUFFIX), None)


def open_subject(path: Path, model: str | None, device: str) -> Editor:
    """Open an avatar by its suffix; anything else is a photo, whose largest face is inverted."""
    if path.suffix.lower() == SUFFIX:
        return open_avatar(path, model, device)
    return open_editor(path, load_model(model or DEFAULT, device), FaceChoice())


def recipe_for(editor: Editor, file: Path | None, words: Sequence[str]) -> Recipe:
    """The recipe of a file with the edits of the command line added, for the model at hand."""
    recipe = Recipe(model=editor.model.id) if file is None else Recipe.read(file)
    if recipe.model != editor.model.id:
        click.echo(f"note: the recipe was made for the model {recipe.model!r}, whose amounts may mean more", err=True)
        recipe = replace(recipe, model=editor.model.id)
    for wanted in parse_edits(words):
        recipe = recipe.with_edit(wanted.direction, wanted.amount)
    editor.model.directions.check_known(recipe.edits)
    return recipe
