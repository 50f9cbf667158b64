"""`faceloom directions`: list, name, pack, install, remove, and report on what can be edited."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal

import click

from faceloom.audit import Panel, audit
from faceloom.cli.directions_report import matrix_of, report_text
from faceloom.cli.numbers import FiniteRange
from faceloom.cli.options import FILE, model_option
from faceloom.cli.progress import bar
from faceloom.directions.direction import DirectionSet
from faceloom.directions.importing import OPTIONS
from faceloom.directions.navigation import Course
from faceloom.directions.packs import (
    PLUGINS,
    check_fits,
    install,
    installed_packs,
    make_pack,
    plugin_sets,
    read_pack,
    remove,
    word_of,
)
from faceloom.errors import UsageError
from faceloom.files import replacing
from faceloom.imaging.photos import check_output, photos_in, save_photo
from faceloom.metrics.judges import installed_judges
from faceloom.model import DEFAULT, GENERATOR_FILE, Model, forget_models, load_model
from faceloom.presets import load_presets
from faceloom.settings import cache_folder
from faceloom.training.attributes import Attribute, attribute_table, read_attributes
from faceloom.training.carrying import carry_directions
from faceloom.training.export import Values, refit_directions
from faceloom.training.images import FaceSet
from faceloom.training.refining import correct_direction, refine_directions
from faceloom.types import Photo

_LARGEST_SHARE = 2.0


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@model_option
@click.pass_context
def directions(context: click.Context, as_json: bool, model: str | None) -> None:
    """List what can be edited. One unit is one standard deviation of the attribute, unless said otherwise."""
    if context.invoked_subcommand is None:
        _list(load_model(model or DEFAULT), as_json)
    elif as_json or model:
        raise UsageError(f"write --json and --model behind {context.invoked_subcommand!r}")


@directions.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@model_option
def list_all(as_json: bool, model: str | None) -> None:
    """List what can be edited, and the installed packs."""
    loaded = load_model(model or DEFAULT)
    _list(loaded, as_json)
    if not as_json:
        for pack in installed_packs(loaded.generator.fingerprint):
            words = ", ".join(filter(None, (pack.author, pack.licence)))
            click.echo(f"pack {pack.name}: {', '.join(pack.directions.names())}" + (f" ({words})" if words else ""))
        for name, found in plugin_sets(loaded.generator.fingerprint):
            click.echo(f"plugin {name} ({PLUGINS}): {', '.join(found.names())}")


@directions.command("name")
@click.argument("found", type=FILE)
@click.argument("number")
@click.argument("name")
@click.option("--low", default="less", show_default=True, help="What a face becomes at negative amounts.")
@click.option("--high", default="more", show_default=True, help="What it becomes at positive ones.")
@click.option("--flip", is_flag=True, help="Swap the two sides.")
@model_option
def keep(found: Path, number: str, name: str, low: str, high: str, flip: bool, model: str | None) -> None:
    """Keep a direction of a file of `faceloom discover` under a name: `edit` knows it from then on.

    NUMBER is its row in the sheet, from 0, or its name there.
    """
    loaded = load_model(model or DEFAULT)
    given = DirectionSet.load(found)
    given.check_generator(loaded.generator.fingerprint)
    word = _free_word(name)
    names = given.names()
    if number.isdigit() and int(number) >= len(names):
        raise UsageError(f"{found} holds the directions 0 to {len(names) - 1}, not {number}")
    direction = given[names[int(number)] if number.isdigit() else number]
    named = direction.renamed(word, low, high, flip=flip)
    # Only a direction that was named so before gives way: not one of the model's own, nor of somebody's pack.
    again = any(one.name == word and one.directions.names() == (word,) for one in installed_packs(given.fingerprint))
    if not again and any(one.name == word for one in installed_packs(given.fingerprint)):
        raise UsageError(f"there is a pack {word!r} of other directions; choose another name, or remove it first")
    taken = [one for one in loaded.directions.names() if one != word or not again]
    pack = make_pack(DirectionSet([named], given.fingerprint), [word], word)
    check_fits(pack.directions, loaded.generator)
    path = install(pack, loaded.generator.fingerprint, taken)
    forget_models()
    click.echo(f"{path}: use it with faceloom edit --{word} 1")


@directions.command("pack")
@click.argument("names", nargs=-1, required=True)
@click.option("--output", "-o", type=FILE, required=True, help="The pack, such as mine.pack.safetensors.")
@click.option("--name", help="What to call the pack; like the file where left out.")
@click.option("--author", default="", help="Who made the directions.")
@click.option("--licence", "--license", default="", help="Under which terms others may use them.")
@click.option("--example", "examples", multiple=True, help='A recipe in words, such as "beard 2"; repeat for more.')
@model_option
def pack_up(
    names: tuple[str, ...],
    output: Path,
    name: str | None,
    author: str,
    licence: str,
    examples: tuple[str, ...],
    model: str | None,
) -> None:
    """Write the directions NAMES to a file that others can install."""
    loaded = load_model(model or DEFAULT)
    title = name or output.name.removesuffix(".safetensors").removesuffix(".pack").removesuffix(".x")
    pack = make_pack(loaded.directions, names, title, author=author, licence=licence, examples=examples)
    pack.save(output)
    click.echo(f"{output}: {len(pack.directions)} direction(s) for the generator {pack.directions.fingerprint}")


@directions.command("install")
@click.argument("file", type=FILE)
@model_option
def install_pack(file: Path, model: str | None) -> None:
    """Install a pack, or a file of directions, for this model's generator."""
    loaded = load_model(model or DEFAULT)
    pack = read_pack(file)
    before = [one.name for one in loaded.directions]
    mine = {
        name
        for old in installed_packs(loaded.generator.fingerprint)
        if old.name == pack.name
        for name in old.directions.names()
    }
    for one in pack.directions:
        _free_word(one.name)
    check_fits(pack.directions, loaded.generator)
    path = install(pack, loaded.generator.fingerprint, [name for name in before if name not in mine])
    forget_models()
    click.echo(f"{path}: {', '.join(pack.directions.names())}")


@directions.command("remove")
@click.argument("name")
@model_option
def remove_one(name: str, model: str | None) -> None:
    """Remove an installed pack, or one direction of it. The model's own directions stay."""
    path = remove(name, load_model(model or DEFAULT).generator.fingerprint)
    forget_models()
    click.echo(f"{path}: {name} removed")


@directions.command("report")
@click.option("--photos", type=FILE, required=True, help="Folder of photos to measure on.")
@click.option("--limit", type=click.IntRange(1), default=60, show_default=True, help="How many of them, evenly spread.")
@click.option("--out", "-o", type=FILE, help="Also write the report here, as Markdown.")
@click.option("--picture", type=FILE, help="Draw the matrix.")
@click.option("--minutes", type=FiniteRange(0), help="Stop after this long; the next call goes on.")
@click.option("--only", multiple=True, metavar="NAME", help="Measure this direction; repeat for more. All if left out.")
@click.option("--fidelity", type=FiniteRange(0, 1), help="Place on the dial; its default where left out.")
@model_option
def report(
    photos: Path,
    limit: int,
    out: Path | None,
    picture: Path | None,
    minutes: float | None,
    only: tuple[str, ...],
    fidelity: float | None,
    model: str | None,
) -> None:
    """Measure what each direction does to each attribute and to identity, at -2 and +2 on photos."""
    loaded = load_model(model or DEFAULT)
    every = photos_in(photos)
    if picture is not None:
        check_output(picture)
    count = min(limit, len(every))
    chosen = [every[round(i * (len(every) - 1) / max(1, count - 1))] for i in range(count)]
    measured = [loaded.directions[name] for name in only] or None
    notes = cache_folder() / "reports" / f"{loaded.generator.fingerprint}.jsonl"
    try:
        notes.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot keep notes in {str(notes.parent)!r} ({error.strerror or error})") from error
    judges, missing = installed_judges()
    if missing:
        click.echo(f"note: {missing} The model's own probes judge alone.", err=True)
    with bar("Measuring") as update:
        result = audit(
            loaded, chosen, notes,
            panel=Panel(loaded, judges), directions=measured, minutes=minutes, fidelity=fidelity, progress=update,
        )  # fmt: skip
    text = report_text(result, loaded, fidelity)
    click.echo(text)
    if out is not None:
        with replacing(out) as file:
            file.write(text.encode())
    if picture is not None:
        save_photo(Photo(matrix_of(result, loaded)), picture, note=None)


@directions.command("refit")
@click.option("--model", "folder", type=FILE, required=True, help="Folder of a model that `faceloom train` wrote.")
@click.option("--faces", type=FILE, required=True, help="faces.npz of the run.")
@click.option("--data", type=FILE, multiple=True, help="Folder or zip with a labels.csv; repeat for more.")
@click.option("--attributes", type=FILE, help="TOML file of the directions; the default model's where left out.")
@click.option("--project", is_flag=True, help="Also take measured side effects out of each direction.")
def refit(folder: Path, faces: Path, data: tuple[Path, ...], attributes: Path | None, project: bool) -> None:
    """Find the directions of a trained model anew, after labels or attributes have changed."""
    known, wanted, values = _labelled(folder, faces, data, attributes)
    found = refit_directions(folder, known, values, wanted, say=click.echo, project=project)
    forget_models()
    click.echo(f"{folder}: {len(found)} direction(s)")


@directions.command("refine")
@click.argument("names", nargs=-1, required=True)
@click.option("--model", "folder", type=FILE, required=True, help="Folder of a model that `faceloom train` wrote.")
@click.option("--faces", type=FILE, required=True, help="faces.npz of the run.")
@click.option("--data", type=FILE, multiple=True, help="Folder or zip with a labels.csv; repeat for more.")
@click.option("--attributes", type=FILE, help="TOML file of the directions; the default model's where left out.")
@click.option("--steps", type=click.IntRange(1), default=Course.steps, show_default=True, help="Of the descent.")
@click.option("--bent", is_flag=True, help="Let the two sides part: more need not be the opposite of less.")
def refine(
    names: tuple[str, ...],
    folder: Path,
    faces: Path,
    data: tuple[Path, ...],
    attributes: Path | None,
    steps: int,
    bent: bool,
) -> None:
    """Refine the directions NAMES of a trained model through the pictures that they draw.

    Attributes are read from the pictures by heads fitted on the labels; what is to stay, and who it is, is held.
    """
    known, wanted, values = _labelled(folder, faces, data, attributes)
    refine_directions(folder, known, values, wanted, names, say=click.echo, course=Course(steps=steps), bent=bent)
    forget_models()
    click.echo(f"{folder}: refined {', '.join(names)}")


@directions.command("correct")
@click.argument("name")
@click.argument("shares", nargs=-1, required=True, metavar="OTHER=SHARE...")
@click.option("--model", "folder", type=FILE, required=True, help="Folder of a model that `faceloom train` wrote.")
@click.option("--faces", type=FILE, required=True, help="faces.npz of the run.")
@click.option("--attributes", type=FILE, help="TOML file of the directions; the default model's where left out.")
@click.option("--side", type=click.Choice(["low", "high"]), help="Only where amounts are negative, or positive.")
def correct(
    name: str,
    shares: tuple[str, ...],
    folder: Path,
    faces: Path,
    attributes: Path | None,
    side: Literal["low", "high"] | None,
) -> None:
    """Add shares of other directions to NAME, to take back what it does besides: `correct beard age=0.35`.

    The matrix of `faceloom directions report` says how much of what.
    """
    _check_run(folder, faces)
    added = {}
    for part in shares:
        other, _, text = part.partition("=")
        try:
            added[other] = float(text)
        except ValueError:
            raise UsageError(f"{part!r} is no share; write it as age=0.35") from None
        if not math.isfinite(added[other]) or abs(added[other]) > _LARGEST_SHARE:
            raise UsageError(f"{part!r} is too much; shares are from -{_LARGEST_SHARE:g} to {_LARGEST_SHARE:g}")
    known, wanted = FaceSet.load(faces), read_attributes(attributes)
    correct_direction(folder, known, wanted, name, added, say=click.echo, side=side)
    forget_models()


@directions.command("carry")
@click.option("--from", "source", metavar="MODEL", required=True, help="The model that training started from.")
@click.option("--model", "folder", type=FILE, required=True, help="Folder of the model that was trained on from it.")
@click.option("--faces", type=FILE, required=True, help="faces.npz of the run.")
def carry(source: str, folder: Path, faces: Path) -> None:
    """Give a model that `faceloom train --start` made the directions of the one it started from.

    They replace those that it has. No labels are needed.
    """
    _check_run(folder, faces)
    found = carry_directions(load_model(source), folder, FaceSet.load(faces), say=click.echo)
    forget_models()
    click.echo(f"{folder}: {len(found)} direction(s) from {source}")


def _check_run(folder: Path, faces: Path) -> None:
    for path in (faces, folder / GENERATOR_FILE):
        if not path.is_file():
            raise UsageError(f"there is no file {path}; give the folder of a model, and faces.npz of its run")


def _labelled(
    folder: Path, faces: Path, data: tuple[Path, ...], attributes: Path | None
) -> tuple[FaceSet, list[Attribute], dict[str, Values]]:
    """The faces of a run, the attributes, and their labels."""
    _check_run(folder, faces)
    wanted, known = read_attributes(attributes), FaceSet.load(faces)
    return known, wanted, attribute_table(known, data, wanted)


def _list(loaded: Model, as_json: bool) -> None:
    entries = [
        {
            "name": one.name,
            "low": one.low,
            "high": one.high,
            "range": list(one.range),
            "layers": list(one.layers),
            "space": one.space,
            "unit": one.unit,
            "note": one.note,
        }
        for one in loaded.directions
    ]
    if as_json:
        click.echo(json.dumps({"model": loaded.id, "generator": loaded.generator.fingerprint, "directions": entries}))
        return
    width = max((len(one.name) for one in loaded.directions), default=0)
    for one in loaded.directions:
        line = f"--{one.name:<{width}}  {one.range[0]:+g} … {one.range[1]:+g}  {one.low} … {one.high}"
        click.echo(f"{line}  ({one.note})" if one.note else line)
    if presets := load_presets(loaded):
        click.echo(f"presets (--preset NAME): {', '.join(preset.name for preset in presets)}")


def _free_word(name: str) -> str:
    """The name as one word that is no option of `edit` and its like."""
    word = word_of(name)
    plain = word.removesuffix("-direction")
    if plain in OPTIONS:
        raise UsageError(f"--{plain} is an option of `faceloom edit` or its like; choose another name")
    return word
