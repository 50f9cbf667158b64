"""`faceloom edit`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import click

from faceloom.cli.options import FILE, face_options, model_option, open_editor, parse_edits
from faceloom.cli.progress import bar
from faceloom.editor import Editor
from faceloom.effects import effect_sheet
from faceloom.errors import UsageError
from faceloom.files import replacing
from faceloom.imaging.photos import check_output, save_photo
from faceloom.model import DEFAULT, load_model
from faceloom.recipe import Recipe
from faceloom.settings import keep_memory
from faceloom.types import Photo


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("photo", type=FILE)
@click.argument("edits", nargs=-1, type=click.UNPROCESSED)
@click.option("-o", "--output", type=FILE, required=True, help="Where to save; the suffix chooses the format.")
@click.option("--sheet", type=FILE, help="Also save a strip of each edit over its range.")
@click.option("--recipe", "recipe_file", type=FILE, help="Take edits from this JSON file; options are added to it.")
@click.option("--save-recipe", type=FILE, help="Save what was done as JSON, for use with --recipe.")
@click.option(
    "--paste",
    type=click.Choice(["transfer", "replace"]),
    help="transfer (default): warp and recolour the photo's own pixels; replace: put in the generator's picture.",
)
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@face_options
@model_option
def edit(
    photo: Path,
    edits: tuple[str, ...],
    output: Path,
    sheet: Path | None,
    recipe_file: Path | None,
    save_recipe: Path | None,
    paste: str | None,
    quality: int,
    as_json: bool,
    face: int | None,
    all_faces: bool,
    inversion: str,
    model: str | None,
) -> None:
    """Edit the face in PHOTO and put it back.

    Give edits as --NAME AMOUNT, in standard deviations of the attribute: --age +1.5 --smile 1. `faceloom directions`
    lists the names.
    """
    started = time.monotonic()
    for path in filter(None, (output, sheet)):
        check_output(path)
    if save_recipe is not None and not save_recipe.parent.is_dir():
        raise UsageError(f"there is no folder {str(save_recipe.parent)!r} to save the recipe in; create it first")
    keep_memory()
    recipe = _recipe(recipe_file, edits, paste, model)
    loaded = load_model(recipe.model)
    loaded.directions.check_known(recipe.edits)
    for wanted in recipe.edits:
        low, high = loaded.directions[wanted.direction].range
        if not low <= wanted.amount <= high:
            click.echo(f"note: {wanted.direction} {wanted.amount:+g} is beyond {low:+g} … {high:+g}", err=True)
    editor = open_editor(photo, loaded, face, all_faces, inversion)
    render = editor.render(recipe)
    strip = None
    if sheet is not None:
        with bar("Drawing the sheet") as update:
            strip = effect_sheet(editor, recipe, progress=update)
    save_photo(render.photo, output, quality=quality)
    if sheet is not None and strip is not None:
        save_photo(Photo(strip, name=str(sheet)), sheet, quality=quality)
    if save_recipe is not None:
        with replacing(save_recipe) as file:
            file.write(recipe.to_json().encode())
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_report(editor, recipe, output, seconds)))
    else:
        click.echo(f"{output}: {len(editor.faces)} face(s), {_words(recipe)}, {seconds:.1f} s")


def _recipe(file: Path | None, words: tuple[str, ...], paste: str | None, model: str | None) -> Recipe:
    recipe = Recipe(model=model or DEFAULT) if file is None else Recipe.read(file)
    if model is not None:
        recipe = replace(recipe, model=model)
    for wanted in parse_edits(words):
        recipe = recipe.with_edit(wanted.direction, wanted.amount)
    return recipe if paste is None else replace(recipe, paste=paste)  # type: ignore[arg-type]  # click has checked it


def _words(recipe: Recipe) -> str:
    return ", ".join(f"{step.direction} {step.amount:+g}" for step in recipe.edits) or "no edit"


def _report(editor: Editor, recipe: Recipe, output: Path, seconds: float) -> dict[str, object]:
    return {
        "output": str(output),
        "seconds": round(seconds, 2),
        "faces": [{"box": [round(edge, 1) for edge in face.crop.face.box]} for face in editor.faces],
        "recipe": json.loads(recipe.to_json()),
    }
