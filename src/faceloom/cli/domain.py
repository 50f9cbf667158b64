"""`faceloom domain`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from faceloom.cli.numbers import SEED
from faceloom.cli.options import FILE, model_option
from faceloom.cli.progress import Update, bar
from faceloom.domains.illustrators import ILLUSTRATORS, illustrator
from faceloom.domains.twin import SUFFIX, Twin, check_name
from faceloom.errors import CheckpointError, UsageError
from faceloom.model import DEFAULT, Model, load_model
from faceloom.settings import keep_memory
from faceloom.training.drawings import DrawingsTraining, train_on_drawings
from faceloom.training.images import FaceSet, load_faces
from faceloom.training.oneshot import OneShot, learn_style
from faceloom.training.twins import Report, TwinTraining, require_stylegan2, train_illustrated


@click.group()
def domain() -> None:
    """Make and list twins: generators that draw the same people as cartoons.

    A twin is used with `faceloom edit PHOTO --twin NAME -o OUT.jpg`.
    """


@domain.command("list")
@model_option
def list_twins(model: str | None) -> None:
    """List the twins of a model."""
    twins = load_model(model or DEFAULT).twins
    if not len(twins):
        click.echo("no twins yet; `faceloom domain learn PICTURE --name NAME` makes one")
    for name in twins:
        try:
            twin = twins[name]
        except CheckpointError as error:
            click.echo(f"{name:16} cannot be used: {error} (`faceloom domain remove {name}` deletes it)", err=True)
            continue
        learned = (twin.info or {}).get("from", "drawings")
        source = f"the illustrator {twin.illustrator}" if twin.illustrator else learned
        click.echo(f"{name:16} {twin.title} (from {source}, {twins.path(name).stat().st_size // 1000} kB)")


@domain.command()
@click.argument("name")
@model_option
def remove(name: str, model: str | None) -> None:
    """Remove the twin NAME that was made on this machine."""
    loaded = load_model(model or DEFAULT)
    path = loaded.twins.path(name)
    if path.parent != loaded.twin_folder:
        raise UsageError(f"the twin {name!r} came with the model and stays; only your own can be removed")
    path.unlink()
    click.echo(f"{name} is removed")


@domain.command()
@click.argument("picture", type=FILE)
@click.option("--name", required=True, help="Of the twin: small letters, digits and hyphens.")
@click.option("--title", default="", help="A few words for people; the picture's name where left out.")
@click.option("--keep-colour", is_flag=True, help="Learn the strokes, and leave people the colours that they have.")
@click.option("--steps", type=click.IntRange(1), default=OneShot.steps, show_default=True, help="Of training.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--replace", "again", is_flag=True, help="Replace your own twin of this name.")
@model_option
def learn(
    picture: Path, name: str, title: str, keep_colour: bool, steps: int, seed: int, again: bool, model: str | None
) -> None:
    """Learn a style from one PICTURE of a face, such as a painting. Takes a minute or two."""
    loaded, out = _prepared(model, name, None, again)
    settings = OneShot(keep_colour=keep_colour, steps=steps, seed=seed)
    with bar("Learning the style", 1000) as update:
        twin = learn_style(loaded, picture, name, settings, title=title, report=_share(update))
    _keep(twin, out, loaded)


@domain.command()
@click.option("--data", type=FILE, multiple=True, help="Folder or zip of drawings with faces; repeat for more.")
@click.option(
    "--illustrator",
    "styles",
    type=click.Choice(tuple(ILLUSTRATORS)),
    multiple=True,
    help="Learn from a program that draws, instead; repeat for more.",
)
@click.option(
    "--faces",
    type=FILE,
    multiple=True,
    help="What the illustrator draws: folder, zip or faces.npz of a run; random people where left out.",
)
@click.option("--name", help="Of the twin; the illustrator's where left out.")
@click.option("--title", default="", help="A few words for people.")
@click.option("--steps", type=click.IntRange(1), help="Of training.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=FILE, help="Folder to save into, instead of yours.")
@click.option("--replace", "again", is_flag=True, help="Replace a twin of this name.")
@model_option
def train(
    data: tuple[Path, ...],
    styles: tuple[str, ...],
    faces: tuple[Path, ...],
    name: str | None,
    title: str,
    steps: int | None,
    seed: int,
    out: Path | None,
    again: bool,
    model: str | None,
) -> None:
    """Train a twin on a set of drawings (--data), or on what an illustrator draws (--illustrator)."""
    if bool(data) == bool(styles):
        raise UsageError("give either --data with drawings or --illustrator with the name of one")
    if data and (name is None or faces):
        raise UsageError("--data needs a --name, and takes no --faces")
    if name is not None and len(styles) > 1:
        raise UsageError("--name is that of one twin; leave it out, or choose one illustrator")
    if data:
        loaded, path = _prepared(model, str(name), out, again)
        drawings = _faces(data, require_stylegan2(loaded).resolution, drawn=True)
        plan = DrawingsTraining(steps=steps or DrawingsTraining.steps, seed=seed)
        with bar("Training the twin", 1000) as update:
            twin = train_on_drawings(loaded, drawings, str(name), plan, title=title, report=_share(update))
        _keep(twin, path, loaded)
    places = [_prepared(model, name or style, out, again) for style in styles]
    for style, (loaded, path) in zip(styles, places, strict=True):
        shown = _faces(faces, require_stylegan2(loaded).resolution) if faces else None
        pairs = TwinTraining(steps=steps or TwinTraining.steps, seed=seed)
        with bar(f"Making {name or style}", 1000) as update:
            twin = train_illustrated(loaded, illustrator(style), name or style, shown, pairs, report=_share(update))
        _keep(replace(twin, title=title) if title else twin, path, loaded)


def _prepared(model: str | None, name: str, out: Path | None, again: bool) -> tuple[Model, Path]:
    """The model, and where the twin will be saved; all that can be wrong is found before the work begins."""
    check_name(name)
    torch.set_num_threads(1)
    keep_memory()
    loaded = load_model(model or DEFAULT)
    require_stylegan2(loaded)
    folder = loaded.twin_folder if out is None else out
    path = folder / f"{name}{SUFFIX}"
    if not again and (path.exists() or (out is None and name in loaded.twins)):
        raise UsageError(f"there is a twin {name!r} already; choose another --name, or give --replace")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {str(folder)!r} ({error.strerror or error})") from error
    return loaded, path


def _keep(twin: Twin, path: Path, loaded: Model) -> None:
    twin.save(path)
    used = "use it with" if path.parent == loaded.twin_folder else f"in {loaded.twin_folder}, use it with"
    click.echo(f"{path}: {twin.title}, {path.stat().st_size // 1000} kB; {used} --twin {twin.name}")


def _share(update: Update) -> Report:
    """Moves a bar of a thousand steps; each phase of the work fills it anew."""
    return lambda what, done, every: update(round(1000 * done / every))


def _faces(sources: tuple[Path, ...], resolution: int, *, drawn: bool = False) -> FaceSet:
    if len(sources) == 1 and sources[0].suffix == ".npz":
        ready = FaceSet.load(sources[0])
        if ready.pixels.shape[1] != resolution:
            side = ready.pixels.shape[1]
            raise UsageError(f"the faces in {str(sources[0])!r} are {side} px, and the model draws {resolution} px")
        return ready
    with bar("Finding faces") as update:
        found = load_faces(sources, resolution, drawn=drawn, progress=update)
    click.echo(f"{len(found)} faces, {found.skipped} pictures left out (no usable face, or a copy)")
    return found
