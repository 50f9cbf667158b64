"""`faceloom invert`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import torch

from faceloom.avatar import SUFFIX, Avatar
from faceloom.checkpoints import native
from faceloom.cli.options import FILE, FaceChoice, check_apart, device_option, face_options, model_option, open_editor
from faceloom.cli.progress import bar
from faceloom.editor import CROP_SIZE, Editor
from faceloom.errors import UsageError
from faceloom.files import check_place
from faceloom.imaging.photos import check_output
from faceloom.imaging.sheets import grid
from faceloom.inversion.dial import default_fidelity
from faceloom.model import DEFAULT, load_model
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.recipe import Edit
from faceloom.settings import keep_memory
from faceloom.types import Photo


@click.command()
@click.argument("photo", type=FILE)
@click.option("-o", "--output", type=FILE, help="Where to save: me.avatar, or codes alone (.safetensors).")
@click.option("--sheet", type=FILE, help="Also save the aligned face beside its reconstruction.")
@click.option("--curve", type=FILE, help="Draw reconstruction against editability of this photo, along the dial.")
@click.option("--curve-edit", metavar="NAME=AMOUNT", help="The edit that the curve shows, such as smile=2.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@face_options
@device_option
@model_option
def invert(
    photo: Path,
    output: Path | None,
    sheet: Path | None,
    curve: Path | None,
    curve_edit: str | None,
    as_json: bool,
    choice: FaceChoice,
    device: str,
    model: str | None,
) -> None:
    """Find the style code of the face in PHOTO and save it, or draw what it can trade for likeness."""
    if output is None and curve is None:
        raise UsageError("give --output to save the codes, or --curve to draw what likeness costs")
    if curve is None and curve_edit is not None:
        raise UsageError("--curve-edit says what --curve draws; give both")
    if output is not None:
        if output.suffix not in (".safetensors", SUFFIX):
            raise UsageError(f"{str(output)!r} must end in .safetensors or {SUFFIX}")
        check_place(output)
        if output.suffix == SUFFIX and choice.all_faces:
            raise UsageError("an avatar is one face; leave --all-faces out, or save codes alone (.safetensors)")
    check_apart([photo], [output, sheet, curve])
    wanted = None if curve_edit is None else _edit(curve_edit)
    for path in filter(None, (sheet, curve)):
        check_output(path)
    keep_memory()
    loaded = load_model(model or DEFAULT, device)
    loaded.directions.check_known([wanted] if wanted else [])
    quick = output is None and sheet is None and choice.inversion is None and choice.fidelity is None
    if quick and loaded.encoder is None:  # the curve turns the dial by itself
        choice, quick = replace(choice, fidelity=0.0), False
    editor = open_editor(photo, loaded, replace(choice, inversion="encoder") if quick else choice)
    place = default_fidelity(loaded.generator) if choice.fidelity is None else choice.fidelity
    done = choice.inversion or ("encoder" if quick else f"fidelity {place:g}")
    report: dict[str, object] = {
        "generator": loaded.generator.fingerprint,
        "space": "w+",
        "inversion": done,
        "faces": [{"likeness": None if one.likeness is None else vars(one.likeness)} for one in editor.faces],
    }
    if output is not None:
        report |= _save_avatar(editor, output) if output.suffix == SUFFIX else _save_codes(editor, output, done)
    if sheet is not None:
        rows = [[one.crop.pixels, one.before] for one in editor.faces]
        cells = grid(rows, None, ["photo", "reconstruction"], cell=CROP_SIZE)
        save_picture(Photo(cells, editor.photo.icc_profile), sheet, Claim())
    if curve is not None:
        report["curve"] = _draw_curve(editor, wanted, curve)
    if as_json:
        click.echo(json.dumps(report))
    else:
        if output is not None:
            click.echo(f"{output}: {len(editor.faces)} face(s), {done}")
        for place in report.get("curve", ()):  # type: ignore[attr-defined]
            click.echo("fidelity {fidelity:g}: perceptual distance {error:.3f}, edit {effect:+.2f}".format(**place))


def _save_avatar(editor: Editor, output: Path) -> dict[str, object]:
    if len(editor.faces) > 1:
        raise UsageError(f"an avatar is one face, and {len(editor.faces)} are open; choose one with --face")
    Avatar.of(editor).save(output)
    return {"output": str(output), "bytes": output.stat().st_size}


def _save_codes(editor: Editor, output: Path, done: str) -> dict[str, object]:
    """The codes as "ws", and what belongs to them as `Inversion.tensors` names it."""
    tensors = editor.inversion.tensors()
    codes = tensors.pop("codes")
    config = {"generator": editor.model.generator.fingerprint, "space": "w+", "inversion": done}
    native.write(output, {"ws": codes, **tensors}, native.Header("codes", config, {}))
    return {"output": str(output), "shape": list(codes.shape), "bytes": output.stat().st_size}


def _draw_curve(editor: Editor, wanted: Edit | None, path: Path) -> list[dict[str, float]]:
    from faceloom.comparison.curve import choose_edit, curve_sheet, trace
    from faceloom.comparison.trials import Panel

    panel, crop = Panel(), editor.faces[0].crop
    edit, score = choose_edit(editor.model.directions, wanted)
    why = panel.missing or ("" if score else f"No judge knows what {edit.direction} is.")
    if why:
        click.echo(f"note: {why} The curve shows how near codes are to W instead.", err=True)
    with bar("Turning the dial") as update:
        places = trace(editor.model.on(torch.device("cpu")), crop, edit, score, panel, update)  # the judges are there
    save_picture(Photo(curve_sheet(crop, places, edit, not why), editor.photo.icc_profile), path, Claim())
    return [{"fidelity": one.fidelity, "error": one.error, "effect": one.effect} for one in places]


def _edit(words: str) -> Edit:
    name, _, amount = words.partition("=")
    try:
        value = float(amount)
    except ValueError:
        raise UsageError(f"--curve-edit takes a direction and an amount, such as smile=2, not {words!r}") from None
    return Edit(name, value)
