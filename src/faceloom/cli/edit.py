"""`faceloom edit`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import click

from faceloom.cli.options import (
    FILE,
    device_option,
    face_options,
    model_option,
    open_editor,
    parse_edits,
    provenance_option,
)
from faceloom.cli.progress import bar
from faceloom.cli.stickers import check_sticker
from faceloom.editor import Editor
from faceloom.effects import effect_sheet
from faceloom.errors import UsageError
from faceloom.files import replacing
from faceloom.imaging.photos import check_output
from faceloom.model import DEFAULT, load_model
from faceloom.presets import find_preset
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import Mark, save_picture
from faceloom.recipe import Recipe
from faceloom.settings import keep_memory
from faceloom.types import Photo


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("photo", type=FILE)
@click.argument("edits", nargs=-1, type=click.UNPROCESSED)
@click.option("-o", "--output", type=FILE, required=True, help="Where to save; the suffix chooses the format.")
@click.option("--sheet", type=FILE, help="Also save a strip of each edit over its range.")
@click.option("--recipe", "recipe_file", type=FILE, help="Take edits from this JSON file; options are added to it.")
@click.option("--preset", help='A named recipe, such as "grandparent"; edits given as well count more.')
@click.option("--strength", type=click.FloatRange(0.0, 2.0), help="Of the preset; 1 is all of it.")
@click.option("--keep", multiple=True, metavar="NAME", help="Take back what edits do to this attribute; repeatable.")
@click.option("--balance", is_flag=True, help="Let no edit add to what another one changes.")
@click.option("--save-recipe", type=FILE, help="Save what was done as JSON, for use with --recipe.")
@click.option(
    "--paste",
    type=click.Choice(["transfer", "replace"]),
    help="transfer (default): warp and recolour the photo's own pixels; replace: put in the generator's picture.",
)
@click.option("--twin", help="Draw with this twin: toon, comic, sketch, or one that `faceloom domain` made.")
@click.option("--degree", type=click.FloatRange(0, 1), help="How far towards the twin, from 0 to 1 (the default).")
@click.option("--sticker", type=FILE, help="Also save the head, cut out on a transparent background, as PNG or WebP.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@provenance_option
@face_options
@device_option
@model_option
def edit(
    photo: Path,
    edits: tuple[str, ...],
    output: Path,
    sheet: Path | None,
    recipe_file: Path | None,
    preset: str | None,
    strength: float | None,
    keep: tuple[str, ...],
    balance: bool,
    save_recipe: Path | None,
    paste: str | None,
    twin: str | None,
    degree: float | None,
    sticker: Path | None,
    quality: int,
    as_json: bool,
    no_provenance: bool,
    face: int | None,
    all_faces: bool,
    inversion: str | None,
    fidelity: float | None,
    device: str,
    model: str | None,
) -> None:
    """Edit the face in PHOTO and put it back.

    Give edits as --NAME AMOUNT, in standard deviations of the attribute: --age +1.5 --smile 1. `faceloom directions`
    lists the names.
    """
    started = time.monotonic()
    for path in filter(None, (output, sheet, sticker)):
        check_output(path)
    if save_recipe is not None and not save_recipe.parent.is_dir():
        raise UsageError(f"there is no folder {str(save_recipe.parent)!r} to save the recipe in; create it first")
    keep_memory()
    recipe = _drawn_by(_balanced(_recipe(recipe_file, edits, paste, model), keep, balance), twin, degree)
    check_sticker(sticker)
    loaded = load_model(recipe.model, device)
    if recipe.twin:
        loaded.twins.path(recipe.twin)
    loaded.directions.check_known(recipe.edits)
    chosen = None if preset is None else find_preset(loaded, preset)
    if chosen is None and strength is not None:
        raise UsageError("--strength is that of a preset; give --preset NAME, too")
    for wanted in recipe.edits:
        low, high = loaded.directions[wanted.direction].range
        if not low <= wanted.amount <= high:
            click.echo(f"note: {wanted.direction} {wanted.amount:+g} is beyond {low:+g} … {high:+g}", err=True)
    editor = open_editor(photo, loaded, face, all_faces, inversion, fidelity)
    if chosen is not None:
        recipe = chosen.recipe_for(editor, strength, recipe)
    render = editor.render(recipe)
    strip = None
    if sheet is not None:
        with bar("Drawing the sheet") as update:
            strip = effect_sheet(editor, recipe, progress=update)
    claim = None if no_provenance else Claim(recipe)
    mark = save_picture(render.photo, output, claim, quality=quality)
    if sticker is not None:
        save_picture(editor.sticker(recipe), sticker, claim)
    if sheet is not None and strip is not None:
        save_picture(Photo(strip, name=str(sheet)), sheet, None if no_provenance else Claim(), quality=quality)
    if save_recipe is not None:
        with replacing(save_recipe) as file:
            file.write(recipe.to_json().encode())
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_report(editor, recipe, output, seconds, mark)))
    else:
        click.echo(f"{output}: {len(editor.faces)} face(s), {_words(recipe)}, {seconds:.1f} s")


def _recipe(file: Path | None, words: tuple[str, ...], paste: str | None, model: str | None) -> Recipe:
    recipe = Recipe(model=model or DEFAULT) if file is None else Recipe.read(file)
    if model is not None:
        recipe = replace(recipe, model=model)
    for wanted in parse_edits(words):
        recipe = recipe.with_edit(wanted.direction, wanted.amount)
    return recipe if paste is None else replace(recipe, paste=paste)  # type: ignore[arg-type]  # click has checked it


def _balanced(recipe: Recipe, keep: tuple[str, ...], balance: bool) -> Recipe:
    given = {edit.direction for edit in recipe.edits}
    for name in keep:
        if name not in given:
            recipe = recipe.with_edit(name, 0.0)
    return replace(recipe, balance=True) if keep or balance else recipe


def _drawn_by(recipe: Recipe, twin: str | None, degree: float | None) -> Recipe:
    if twin is not None:
        recipe = replace(recipe, twin=twin)
    if degree is not None:
        if not recipe.twin:
            raise UsageError("--degree says how far to go towards a twin; choose one with --twin, such as --twin toon")
        recipe = replace(recipe, degree=degree)
    return recipe


def _words(recipe: Recipe) -> str:
    words = [f"{step.direction} {step.amount:+g}" for step in recipe.edits]
    if recipe.twin:
        words.append(f"drawn by {recipe.twin} to {recipe.degree:.0%}")
    return ", ".join(words) or "no edit"


def _report(editor: Editor, recipe: Recipe, output: Path, seconds: float, mark: Mark) -> dict[str, object]:
    return {
        "output": str(output),
        "seconds": round(seconds, 2),
        "faces": [{"box": [round(edge, 1) for edge in face.crop.face.box]} for face in editor.faces],
        "recipe": json.loads(recipe.to_json()),
        "provenance": mark,
    }
