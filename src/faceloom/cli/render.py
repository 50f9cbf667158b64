"""`faceloom render`."""

from __future__ import annotations

from pathlib import Path

import click

from faceloom.cli.options import FILE, check_apart, device_option, model_option, provenance_option
from faceloom.cli.subjects import open_avatar, recipe_for
from faceloom.imaging.photos import check_output
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.settings import keep_memory


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("avatar", type=FILE)
@click.argument("edits", nargs=-1, type=click.UNPROCESSED)
@click.option("-o", "--output", type=FILE, required=True, help="Where to save; the suffix chooses the format.")
@click.option("--recipe", "recipe_file", type=FILE, help="Take edits from this JSON file; options are added to it.")
@click.option("--photo", type=FILE, help="The photo that the avatar was made from, to edit the face in there.")
@provenance_option
@device_option
@model_option
def render(
    avatar: Path,
    edits: tuple[str, ...],
    output: Path,
    recipe_file: Path | None,
    photo: Path | None,
    no_provenance: bool,
    device: str,
    model: str | None,
) -> None:
    """Edit an AVATAR, as `faceloom invert PHOTO -o me.avatar` makes them, without inverting anew.

    Give edits as --NAME AMOUNT, as for `faceloom edit`.
    """
    check_output(output)
    check_apart([avatar, photo, recipe_file], [output])
    keep_memory()
    editor = open_avatar(avatar, model, device, photo)
    recipe = recipe_for(editor, recipe_file, edits)
    save_picture(editor.render(recipe).photo, output, None if no_provenance else Claim(recipe))
    click.echo(f"{output}: {avatar.name}, {len(recipe.edits)} edit(s)")
