"""`faceloom edit`."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from faceloom.cli.options import (
    FILE,
    FaceChoice,
    check_apart,
    device_option,
    face_options,
    model_option,
    open_editor,
    photo_and_edits,
    provenance_option,
)
from faceloom.cli.progress import bar
from faceloom.cli.recipes import Wishes, model_for, recipe_of, recipe_options, words_of
from faceloom.cli.stickers import check_sticker
from faceloom.editor import Editor
from faceloom.effects import effect_sheet
from faceloom.files import check_place, replacing
from faceloom.imaging.photos import check_output
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
@click.option("--save-recipe", type=FILE, help="Save what was done as JSON, for use with --recipe.")
@click.option("--sticker", type=FILE, help="Also save the head, cut out on a transparent background, as PNG or WebP.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@provenance_option
@face_options
@device_option
@model_option
@recipe_options
def edit(
    photo: Path,
    edits: tuple[str, ...],
    output: Path,
    sheet: Path | None,
    save_recipe: Path | None,
    sticker: Path | None,
    quality: int,
    as_json: bool,
    no_provenance: bool,
    choice: FaceChoice,
    device: str,
    model: str | None,
    wishes: Wishes,
) -> None:
    """Edit the face in PHOTO and put it back.

    Give edits as --NAME AMOUNT, in standard deviations of the attribute: --age +1.5 --smile 1. `faceloom directions`
    lists the names.
    """
    started = time.monotonic()
    photo, edits = photo_and_edits(photo, edits)
    for path in filter(None, (output, sheet, sticker)):
        check_output(path)
    check_apart([photo, wishes.recipe], [output, sheet, sticker, save_recipe])
    if save_recipe is not None:
        check_place(save_recipe)
    keep_memory()
    recipe = recipe_of(wishes, edits, model)
    check_sticker(sticker)
    loaded, preset = model_for(recipe, wishes, device)
    editor = open_editor(photo, loaded, choice)
    if recipe.twin and recipe.paste == "transfer" and choice.face is not None:
        click.echo("note: a cartoon is of the whole photo; other people in it keep their shapes and eyes", err=True)
    if preset is not None:
        recipe = preset.recipe_for(editor, wishes.strength, recipe)
    render = editor.render(recipe)
    strip = None
    if sheet is not None:
        with bar("Drawing the sheet") as update:
            strip = effect_sheet(editor, recipe, progress=update)
    claim = None if no_provenance else Claim(recipe)
    mark = save_picture(render.photo, output, claim, quality=quality)
    if sticker is not None:
        save_picture(editor.sticker(recipe), sticker, claim, quality=quality, icc_profile=editor.photo.icc_profile)
    if sheet is not None and strip is not None:
        shown = Photo(strip, editor.photo.icc_profile, str(sheet))
        save_picture(shown, sheet, None if no_provenance else Claim(), quality=quality)
    if save_recipe is not None:
        with replacing(save_recipe) as file:
            file.write(f"{recipe.to_json()}\n".encode())
    seconds = time.monotonic() - started
    if as_json:
        click.echo(json.dumps(_report(editor, recipe, output, seconds, mark)))
    else:
        click.echo(f"{output}: {len(editor.faces)} face(s), {words_of(recipe)}, {seconds:.1f} s")


def _report(editor: Editor, recipe: Recipe, output: Path, seconds: float, mark: Mark) -> dict[str, object]:
    return {
        "output": str(output),
        "seconds": round(seconds, 2),
        "faces": [{"box": [round(edge, 1) for edge in face.crop.face.box]} for face in editor.faces],
        "recipe": json.loads(recipe.to_json()),
        "provenance": mark,
    }
