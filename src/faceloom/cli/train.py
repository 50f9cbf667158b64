"""`faceloom train`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import torch

from faceloom.cli.numbers import SEED, FiniteRange
from faceloom.cli.progress import bar
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError, UsageError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.settings import choose_device, keep_memory
from faceloom.training import packing, portable, processes
from faceloom.training.arithmetic import Arithmetic
from faceloom.training.config import RECIPES, TrainingConfig, shape_for, shape_from, with_feature_maps
from faceloom.training.images import FaceSet
from faceloom.training.sheets import jpeg, reconstruction_sheet, sample_distance, sample_sheet
from faceloom.training.trainer import Start, Trainer
from faceloom.types import Photo

FILE = click.Path(path_type=Path)
FACES_FILE = "faces.npz"
LOG_FILE = "log.txt"
CLOSING = 30.0
"""Seconds that a limited call keeps for its last state and sheets, and as many again to measure."""
_LOG_LINES = 60


@dataclass(frozen=True)
class _Wishes:
    """The options, as they were given."""

    data: tuple[Path, ...]
    out: Path | None
    minutes: float | None
    images: int | None
    call_minutes: float | None
    recipe: str | None
    resolution: str | None
    channels: tuple[int, ...] | None
    encoder_widths: tuple[int, ...] | None
    batch: int | None
    adversarial: float | None
    sharpen: float | None
    critic: float | None
    compare_at: int | None
    start: str | None
    attributes: Path | None
    threads: int
    device: str
    precision: Literal["float32", "bf16"]
    compiled: bool
    portable: Path | None
    measure: int
    export: bool
    pack: Path | None
    max_mib: float
    seed: int


def _numbers(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(int(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= 1024 for number in numbers):
        raise click.BadParameter(f"{value!r} is not a list of numbers from 1 to 1024, as in 128,128,96,64")
    return numbers


@click.command()
@click.option(
    "--data",
    type=FILE,
    multiple=True,
    required=True,
    help="Folder or zip of pictures with faces, or packed faces; repeat for more. A labels.csv gives directions.",
)
@click.option("-o", "--out", type=FILE, help="Folder of the run; an unfinished run in it goes on.")
@click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Time budget, over all resumptions.  [default: that of the run in --out, else 110, or the recipe's]",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    help="End after so many images instead, over all resumptions, whole batches: for runs to be compared.",
)
@click.option(
    "--call-minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Stop after this long, sheets included, to go on with another call.",
)
@click.option("--recipe", type=click.Choice(list(RECIPES)), help="Settings for a GPU, thought out as a whole.")
@click.option("--resolution", type=click.Choice(["32", "64", "128", "256"]), help="[default: 64, or the recipe's]")
@click.option(
    "--channels",
    callback=_numbers,
    help="Feature maps of the generator for 4, 8, ... pixels, as in 128,128,96,64; no fewer than those of --start, "
    "whose discriminator is left out where there are more.",
)
@click.option(
    "--encoder-widths",
    callback=_numbers,
    help="Feature maps of the encoder, from the size that it works on down to 4 pixels, as in 24,48,96,144,192; "
    "no fewer than those of --start.",
)
@click.option("--batch", type=click.IntRange(2, 512), help="Images a step.  [default: 16, or the recipe's]")
@click.option(
    "--adversarial",
    type=FiniteRange(min=0),
    help="Weight of the adversarial loss; wants a GPU.  [default: 0, or the recipe's]",
)
@click.option(
    "--sharpen",
    type=FiniteRange(0, 1),
    help="Pull of a small discriminator of patches on reconstructions, 0.2 for instance; a CPU can afford it.",
)
@click.option(
    "--critic",
    type=FiniteRange(0, 1),
    help="Pull of a discriminator that looks through frozen features, on reconstructions and people who do not exist, "
    "0.3 for instance; instead of --sharpen. A CPU can afford it.",
)
@click.option(
    "--compare-at",
    type=click.IntRange(16),
    help="Beside --critic: compare reconstructions with photos at this size, such as 64; what is finer is its own.",
)
@click.option(
    "--start", metavar="MODEL", help="Model, or portable run, to start from; of the same or a smaller resolution."
)
@click.option(
    "--attributes", type=FILE, help="TOML file of the directions to find; the default model's where left out."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16"]),
    default="float32",
    show_default=True,
    help="Number format of convolutions; bf16 is for a GPU.",
)
@click.option("--compile", "compiled", is_flag=True, help="Compile the networks first: a minute, then faster steps.")
@click.option("--portable", type=FILE, help="Folder for the run's state in small files; a run in it goes on.")
@click.option(
    "--measure",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Measure the Fréchet distance of so many random faces at the end of the call.",
)
@click.option("--export/--no-export", default=True, help="Make a model of a finished run (default), or do not.")
@click.option("--pack", type=FILE, help="Do not train: write the faces of --data into this zip, to be carried.")
@click.option("--max-mib", type=FiniteRange(min=0, min_open=True), default=60.0, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
def train(**options: Any) -> None:
    """Train generator, encoder and directions on your own (licensed) faces.

    The run's folder gets a sheet of reconstructions every few minutes, and at the end the folder `model`, which
    --model takes. Started by torchrun, all processes share each batch.
    """
    begun, wishes = time.monotonic(), _Wishes(**options)
    torch.set_num_threads(wishes.threads)
    keep_memory()
    if wishes.pack is not None:
        _pack(wishes, wishes.pack)
    elif wishes.critic and (wishes.sharpen or wishes.adversarial or wishes.recipe):
        raise UsageError("--critic stands alone; leave --sharpen, --adversarial and --recipe out")
    elif wishes.compare_at and not wishes.critic:
        raise UsageError("--compare-at leaves detail to a critic; give --critic, too")
    elif wishes.minutes is not None and wishes.images is not None:
        raise UsageError("a run ends after --minutes or after --images; give one of them")
    elif wishes.out is None:
        raise UsageError("say where the run's folder is, with --out")
    else:
        team, device = processes.join(choose_device(wishes.device))
        try:
            _train(wishes, wishes.out, team, device, begun)
        finally:
            processes.leave()


def _train(wishes: _Wishes, out: Path, team: processes.Processes, device: torch.device, begun: float) -> None:
    out.mkdir(parents=True, exist_ok=True)
    networks = None if wishes.start is None else _networks(wishes.start)
    config = _config(wishes, networks)
    faces = team.in_turn(lambda: _faces(wishes.data, out, config.resolution))
    shown = faces.subset(faces.held_out)
    trainer = Trainer(
        config,
        faces.subset(~faces.held_out),
        out,
        device,
        start=networks,
        portable=wishes.portable,
        arithmetic=Arithmetic(wishes.precision == "bf16", "inductor" if wishes.compiled else None),
        processes=team,
        keep_budget=wishes.minutes is None and wishes.images is None,
    )
    if not len(shown):
        shown = faces
    speed = _Speed(trainer)
    with bar("Training", 1000) as update:

        def report(values: dict[str, float]) -> None:
            update(round(values.pop("share") * 1000))
            seconds, images = trainer.progress.seconds, int(values.pop("images"))
            words = " ".join(f"{name} {value:.4f}" for name, value in values.items())
            _log(out, f"{seconds:.0f} s, {images} images, {speed.lately():.1f} a second: {words}")

        until = float("inf")
        if wishes.call_minutes is not None:
            closing = CLOSING * (2 if wishes.measure else 1)
            until = begun + wishes.call_minutes * 60.0 - min(closing, wishes.call_minutes * 30.0)

        def show() -> None:
            _show(trainer, shown, out)

        if trainer.share < 1.0:
            trainer.run(report, until=until, saved=show)
    if team.first:
        _finish(wishes, trainer, faces, shown, out, {"images_a_second": speed.best})


class _Speed:
    """Images a second between reports."""

    def __init__(self, trainer: Trainer) -> None:
        self.progress, self.best = trainer.progress, 0.0
        self._images, self._seconds = self.progress.images, self.progress.seconds

    def lately(self) -> float:
        """Since the last time that this was asked."""
        images, seconds = self.progress.images - self._images, self.progress.seconds - self._seconds
        self._images, self._seconds = self.progress.images, self.progress.seconds
        found = images / max(seconds, 1e-9)
        self.best = round(max(self.best, found), 1)
        return found


def _finish(
    wishes: _Wishes, trainer: Trainer, faces: FaceSet, shown: FaceSet, out: Path, notes: dict[str, Any]
) -> None:
    """What the first process does when a call's time is up."""
    if wishes.measure:
        notes["frechet"] = {"count": wishes.measure, "distance": sample_distance(trainer, faces, wishes.measure)}
        _log(out, f"Fréchet distance of {wishes.measure} samples: {notes['frechet']['distance']:.2f}")
    click.echo(_show(trainer, shown, out, notes))
    if trainer.share < 1.0:
        click.echo(f"{out}: {trainer.stand}; call again to go on")
        return
    if not wishes.export:
        click.echo(
            f"{out}: finished, {trainer.progress.images} images seen; the same with --export makes a model of it"
        )
        return
    # Imported here: directions and their judges are not needed where a machine only trains.
    from faceloom.training.attributes import attribute_table, read_attributes, unread_columns
    from faceloom.training.export import export_model

    wanted = read_attributes(wishes.attributes)
    unread = unread_columns(wishes.data, wanted)
    if unread:
        click.echo(f"labels that no attribute reads (--attributes FILE names others): {', '.join(unread)}")
    export_model(trainer, faces, attribute_table(faces, wishes.data, wanted), wanted, out / "model", say=click.echo)
    click.echo(f"{out / 'model'}: {trainer.progress.images} images seen; use it with --model {out / 'model'}")


def _pack(wishes: _Wishes, path: Path) -> None:
    resolution = int(wishes.resolution or (RECIPES[wishes.recipe].resolution if wishes.recipe else 64))
    with bar("Finding faces") as update:
        faces = packing.gather(wishes.data, resolution, progress=update)
    with bar("Packing") as update:
        quality, size = packing.pack(faces, path, int(wishes.max_mib * 2**20), progress=update)
    click.echo(f"{path}: {len(faces)} faces of {resolution} px, quality {quality}, {size / 2**20:.1f} MiB")


def _config(wishes: _Wishes, networks: Start | None) -> TrainingConfig:
    """The settings: a recipe's, or those that fit the resolution or the model to start from; then what was asked."""
    if wishes.recipe is not None:
        config = RECIPES[wishes.recipe]
        if wishes.resolution not in (None, str(config.resolution)):
            raise UsageError(f"the recipe {wishes.recipe} is for {config.resolution} px; leave --resolution out")
    else:
        size = int(wishes.resolution or 64)
        config = shape_for(size) if networks is None else shape_from((networks[0], networks[1]), size)
        config = replace(config, adversarial_from=0.0)
        if wishes.critic:  # two who learn from each other want smaller and less persistent steps
            config = replace(config, learning_rate=0.5 * config.learning_rate, momentum=0.5)
    config = with_feature_maps(config, channels=wishes.channels, encoder_widths=wishes.encoder_widths)
    asked = {
        "minutes": wishes.minutes,
        "images": wishes.images,
        "batch": wishes.batch,
        "adversarial": wishes.adversarial,
        "patches": wishes.sharpen,
        "critic": wishes.critic,
        "compared_at": wishes.compare_at,
        "seed": wishes.seed,
    }
    return replace(config, **{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


def _networks(name: str) -> Start:
    run = portable.read_portable(Path(name))
    if run is not None:
        return portable.networks_of(run)
    from faceloom.model import load_model

    model = load_model(name)
    if not (isinstance(model.generator, StyleGAN2) and isinstance(model.encoder, ResidualEncoder)):
        raise TrainingError(f"{name} was not made by `faceloom train`; start from such a model, or from none")
    return model.generator, model.encoder


def _faces(data: tuple[Path, ...], out: Path, resolution: int) -> FaceSet:
    kept = out / FACES_FILE
    if kept.exists():
        faces = FaceSet.load(kept)
        if faces.pixels.shape[1] != resolution:
            raise TrainingError(f"{kept} holds faces of another resolution; choose another --out")
        return faces
    with bar("Finding faces") as update:
        faces = packing.gather(data, resolution, progress=update)
    if not all(map(packing.is_packed, data)):
        faces.save(kept)
    click.echo(f"{len(faces)} faces, {faces.skipped} pictures left out (no usable face, or a copy)")
    return faces


def _show(trainer: Trainer, faces: FaceSet, out: Path, notes: dict[str, Any] | None = None) -> str:
    """Draw the sheets, write the portable state, and say how near reconstructions come."""
    pictures = {}
    sheet, line = reconstruction_sheet(trainer, faces)
    save_picture(Photo(sheet), out / "sheet.png", Claim())
    pictures["sheet.jpg"] = jpeg(sheet)
    if trainer.config.adversarial:
        random = sample_sheet(trainer)
        save_picture(Photo(random), out / "samples.png", Claim(generated=True))
        pictures["samples.jpg"] = jpeg(random)
    _log(out, line)
    log = (out / LOG_FILE).read_text(encoding="utf-8").splitlines()[-_LOG_LINES:]
    trainer.save_portable(pictures, {**(notes or {}), "log": log})
    return line


def _log(out: Path, line: str) -> None:
    with (out / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(line + "\n")
