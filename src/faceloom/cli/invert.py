"""`faceloom invert`."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch

from faceloom.checkpoints import native
from faceloom.cli.options import FILE, face_options, model_option, open_editor
from faceloom.editor import CROP_SIZE
from faceloom.errors import UsageError
from faceloom.imaging.photos import check_output, save_photo
from faceloom.imaging.sheets import grid
from faceloom.model import DEFAULT, load_model
from faceloom.settings import keep_memory
from faceloom.types import Photo


@click.command()
@click.argument("photo", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Where to save the codes (.safetensors).")
@click.option("--sheet", type=FILE, help="Also save the aligned face beside its reconstruction.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@face_options
@model_option
def invert(
    photo: Path,
    output: Path,
    sheet: Path | None,
    as_json: bool,
    face: int | None,
    all_faces: bool,
    inversion: str,
    model: str | None,
) -> None:
    """Find the style code of the face in PHOTO and save it."""
    if output.suffix != ".safetensors" or not output.parent.is_dir():
        raise UsageError(f"{str(output)!r} must end in .safetensors and be in a folder that exists")
    if sheet is not None:
        check_output(sheet)
    keep_memory()
    editor = open_editor(photo, load_model(model or DEFAULT), face, all_faces, inversion)
    codes = torch.stack([one.latent.codes for one in editor.faces])
    config = {"generator": editor.model.generator.fingerprint, "space": "w+", "inversion": inversion}
    native.write(output, {"ws": codes}, native.Header("codes", config, {}))
    if sheet is not None:
        rows = [[one.crop.pixels, one.before] for one in editor.faces]
        picture = grid(rows, None, ["photo", "reconstruction"], cell=CROP_SIZE)
        save_photo(Photo(picture), sheet)
    if as_json:
        click.echo(json.dumps({"output": str(output), "shape": list(codes.shape), **config}))
    else:
        click.echo(f"{output}: codes of {len(editor.faces)} face(s), {tuple(codes.shape)}")
