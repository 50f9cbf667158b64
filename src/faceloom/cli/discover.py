"""`faceloom discover`: find directions in a generator."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch
from torch import Tensor

from faceloom.cli.numbers import SEED
from faceloom.cli.options import FILE, model_option
from faceloom.cli.progress import bar
from faceloom.directions.components import closed_form_directions, principal_directions, sample_codes
from faceloom.directions.direction import DirectionSet
from faceloom.directions.packs import word_of
from faceloom.directions.strips import direction_sheet
from faceloom.directions.stylespace import REGIONS, label_channels, region_channels, region_mask
from faceloom.directions.supervised import Float, labelled_direction
from faceloom.errors import FaceError, MissingExtraError, PhotoError, UsageError
from faceloom.faces.align import align
from faceloom.faces.detect import choose, detect
from faceloom.files import check_place
from faceloom.imaging.convert import to_images
from faceloom.imaging.photos import check_output, open_photo, photos_in
from faceloom.metrics.judges import load_judges
from faceloom.model import DEFAULT, Model, load_model
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.types import Photo

_CommandT = TypeVar("_CommandT", bound=Callable[..., Any])
_CROP = 256
_FACES = 3
_SEED = click.option("--seed", type=SEED, default=0, show_default=True, help="The same seed finds the same directions.")


@click.group()
def discover() -> None:
    """Find directions in a generator: without labels, or from labels, a judge, or two folders of photos.

    Look at the sheet, then keep what you can name: faceloom directions name found.safetensors 7 "hair volume".
    """


def _output_options(command: _CommandT) -> _CommandT:
    command = click.option("--people", type=click.IntRange(1, 8), default=_FACES, show_default=True, help="On it.")(
        command
    )
    command = click.option("--sheet", type=FILE, help="Also draw each direction's effect on a few random faces.")(
        command
    )
    return model_option(click.option("--out", "-o", type=FILE, required=True, help="A safetensors file.")(command))


def _count(default: int) -> Callable[[_CommandT], _CommandT]:
    return click.option("--count", type=click.IntRange(1, 512), default=default, show_default=True, help="How many.")


def _layers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[tuple[int, int]]:
    """Groups such as "0-3,4-7", both ends included."""
    groups = []
    for part in (value or "").split(",") if value else ():
        first, _, last = part.partition("-")
        if not first.strip().isdigit() or not (last or first).strip().isdigit():
            raise click.BadParameter(f"{part!r} is no group of layers; write them as 0-3,4-7")
        groups.append((int(first), int(last or first) + 1))
    return groups


@discover.command()
@_count(20)
@click.option("--samples", type=click.IntRange(10), default=20_000, show_default=True, help="Random codes.")
@click.option("--layers", callback=_layers, metavar="A-B,C-D", help="Apply each component to these groups apart.")
@_SEED
@_output_options
def pca(
    count: int,
    samples: int,
    layers: list[tuple[int, int]],
    seed: int,
    out: Path,
    sheet: Path | None,
    people: int,
    model: str | None,
) -> None:
    """Principal components of W (GANSpace): along what faces differ most."""
    loaded = _load(model, out, sheet)
    found = principal_directions(loaded.generator, count=count, samples=max(samples, count), layers=layers, seed=seed)
    _finish(loaded, found, out, sheet, people, f"{samples} random codes")


@discover.command()
@_count(5)
@click.option("--layers", callback=_layers, metavar="A-B,C-D", help="Groups of layers; thirds where left out.")
@_output_options
def sefa(
    count: int, layers: list[tuple[int, int]], out: Path, sheet: Path | None, people: int, model: str | None
) -> None:
    """What each group of layers reacts to most, in closed form (SeFa): COUNT for each group."""
    loaded = _load(model, out, sheet)
    rows = loaded.generator.num_ws
    thirds = [(0, rows // 3), (rows // 3, 2 * rows // 3), (2 * rows // 3, rows)]
    found = closed_form_directions(loaded.generator, count=count, layers=layers or thirds)
    _finish(loaded, found, out, sheet, people, "no samples, but 2000 for units and ranges")


@discover.command()
@_count(20)
@click.option("--region", type=click.Choice(list(REGIONS)), help="Channels that change this place.")
@click.option("--judge", "score", help='Channels that differ by this score of the judges, such as "age".')
@click.option("--samples", type=click.IntRange(30), default=1000, show_default=True, help="Random faces.")
@_SEED
@_output_options
def stylespace(
    count: int,
    region: str | None,
    score: str | None,
    samples: int,
    seed: int,
    out: Path,
    sheet: Path | None,
    people: int,
    model: str | None,
) -> None:
    """Single channels of S that change one place of the picture, or one attribute (StyleSpace)."""
    if bool(region) == bool(score):
        raise UsageError("give either --region or --judge")
    loaded = _load(model, out, sheet)
    if region:
        mask = region_mask(region, loaded.generator.resolution)
        found = region_channels(loaded.generator, mask, count=count, samples=samples, seed=seed)
    else:
        codes = sample_codes(loaded.generator, samples, seed)
        found = label_channels(loaded.generator, codes, _judged(loaded, codes, str(score)), count=count)
    _finish(loaded, found, out, sheet, people, f"{samples} random faces")


@discover.command()
@click.argument("name")
@click.option("--csv", "table", type=FILE, help="Table with a column of files, and one of numbers; see --photos.")
@click.option("--column", help="Column of the table; NAME where left out.")
@click.option("--photos", type=FILE, help="Folder of the table's files; the table's own where left out.")
@click.option("--with", "with_it", type=FILE, help="Folder of photos of people with it ...")
@click.option("--without", type=FILE, help="... and of others.")
@click.option("--judge", "score", help='Let the judges label random faces by this score, such as "age".')
@click.option("--samples", type=click.IntRange(10), default=1000, show_default=True, help="Random faces to judge.")
@click.option(
    "--method",
    type=click.Choice(["slope", "ridge", "logistic"]),
    default="slope",
    show_default=True,
    help="slope: how the mean face changes; ridge, logistic: normal of a linear probe (InterFaceGAN).",
)
@_SEED
@_output_options
def labels(
    name: str,
    table: Path | None,
    column: str | None,
    photos: Path | None,
    with_it: Path | None,
    without: Path | None,
    score: str | None,
    samples: int,
    method: str,
    seed: int,
    out: Path,
    sheet: Path | None,
    people: int,
    model: str | None,
) -> None:
    """Find the direction NAME from labels: of a table, of two folders of photos, or of the judges."""
    if (with_it is None) != (without is None):
        raise UsageError("give two folders: --with FOLDER --without FOLDER")
    if sum(map(bool, (table, with_it, score))) != 1:
        raise UsageError("give labels by one of: --csv FILE, --with FOLDER --without FOLDER, --judge SCORE")
    word = word_of(name)
    loaded = _load(model, out, sheet)
    if score:
        codes = sample_codes(loaded.generator, samples, seed)
        values = _judged(loaded, codes, score)
    elif table:
        rows = _table(table, column or name)
        codes, kept = _encoded(loaded, [(photos or table.parent) / file for file in rows])
        values = np.array(list(rows.values()))[kept]
    else:
        assert with_it is not None
        assert without is not None
        groups = [photos_in(folder) for folder in (without, with_it)]
        codes, kept = _encoded(loaded, [path for group in groups for path in group])
        values = np.repeat([0.0, 1.0], [len(group) for group in groups])[kept]
    direction, _ = labelled_direction(loaded.generator, codes, values, word, method=method)  # type: ignore[arg-type]  # click has checked it
    found = DirectionSet([direction], loaded.generator.fingerprint, {"found": f"{method} of {len(values)} labels"})
    _finish(loaded, found, out, sheet, people, f"{len(values)} labelled faces")


def _load(model: str | None, out: Path, sheet: Path | None) -> Model:
    check_place(out)
    if sheet is not None:
        check_output(sheet)
    return load_model(model or DEFAULT)


def _finish(model: Model, found: DirectionSet, out: Path, sheet: Path | None, people: int, samples: str) -> None:
    found.save(out)
    if sheet is not None:
        codes = sample_codes(model.generator, 10, seed=1)[:people]
        calm = model.generator.w_mean.cpu() + 0.7 * (codes - model.generator.w_mean.cpu())
        with bar("Drawing the sheet", len(found)) as update:
            drawn = Photo(direction_sheet(model.generator, found, calm, progress=update))
            save_picture(drawn, sheet, Claim(generated=True))
    click.echo(f"{out}: {len(found)} direction(s) from {samples}")
    for number, one in enumerate(found):
        layers = f"layers {one.layers[0]}-{one.layers[1] - 1}"
        click.echo(f"{number:>3}  {one.name}  {one.range[0]:+g} … {one.range[1]:+g}  {layers}")


@torch.no_grad()
def _judged(model: Model, codes: Tensor, score: str) -> Float:
    """The score of random faces, the mean of the judges that have it in their standard deviations; (N,)."""
    judges, known, columns = load_judges(), set[str](), []
    parts = torch.split(codes, 64)
    with bar("Judging random faces", len(parts)) as update:
        answers: dict[str, list[Tensor]] = {}
        for number, part in enumerate(parts, start=1):
            images = model.generator.synthesize(part.unsqueeze(1).expand(-1, model.generator.num_ws, -1)).clamp(-1, 1)
            for judge in judges:
                scores = judge.score_aligned(images)
                known |= set(scores)
                if score in scores:
                    answers.setdefault(judge.name, []).append(scores[score])
            update(number)
    for values in answers.values():
        column = torch.cat(values).double()
        columns.append((column - column.mean()) / column.std().clamp_min(1e-9))
    if not columns:
        raise UsageError(f"no judge has a score {score!r}; there are: {', '.join(sorted(known))}")
    return np.asarray(torch.stack(columns).mean(dim=0).numpy())


def _table(path: Path, column: str) -> dict[str, float]:
    """Numbers of a column by file; files without one are left out."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the table {path}: {error}") from error
    heads = list(rows[0]) if rows else []
    files = next((head for head in ("file", "name", "photo") if head in heads), None)
    if files is None or column not in heads:
        raise UsageError(f"{path} needs the columns 'file' and {column!r}; it has {', '.join(heads) or 'none'}")
    found = {}
    for row in rows:
        with suppress(TypeError, ValueError):
            found[row[files]] = float(row[column])
    return found


@torch.no_grad()
def _encoded(model: Model, paths: list[Path]) -> tuple[Tensor, list[int]]:
    """Codes in W (N, w_dim) of the largest face of each photo, and which photos had one."""
    if model.encoder is None:
        raise UsageError(f"the model {model.id!r} has no encoder to read photos with; label random faces with --judge")
    codes, kept = [], []
    with bar("Reading the photos", len(paths)) as update:
        for number, path in enumerate(paths):
            try:
                photo = open_photo(path)
                crop = align(photo, choose(detect(photo), None, photo), max(_CROP, model.generator.resolution))
            except (PhotoError, FaceError, MissingExtraError) as error:
                click.echo(f"note: {path.name} is left out: {error}", err=True)
            else:
                codes.append(model.encoder(to_images(crop.pixels[None]))[0].mean(dim=0).cpu())
                kept.append(number)
            update(number + 1)
    return torch.stack(codes) if codes else torch.zeros(0, model.generator.w_dim), kept
