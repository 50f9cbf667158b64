"""`faceloom train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from faceloom.cli.options import FILE
from faceloom.cli.progress import bar
from faceloom.encoders.residual import ResidualEncoder
from faceloom.errors import TrainingError
from faceloom.generators.stylegan2 import StyleGAN2
from faceloom.imaging.convert import to_images, to_pixels
from faceloom.imaging.photos import save_photo
from faceloom.imaging.sheets import grid
from faceloom.metrics.reconstruction import psnr
from faceloom.model import load_model
from faceloom.settings import choose_device, keep_memory
from faceloom.training.attributes import attribute_table, read_attributes
from faceloom.training.export import export_model
from faceloom.training.images import FaceSet, load_faces
from faceloom.training.trainer import Trainer, TrainingConfig
from faceloom.types import Photo

FACES_FILE = "faces.npz"
SHEET_ROWS = 8
MEASURED = 64


@click.command()
@click.option(
    "--data",
    type=FILE,
    multiple=True,
    required=True,
    help="Folder or zip of pictures with faces; repeat for more. A labels.csv in it gives directions.",
)
@click.option("-o", "--out", type=FILE, required=True, help="Folder of the run; an unfinished run in it goes on.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    default=110.0,
    show_default=True,
    help="Time budget, over all resumptions.",
)
@click.option("--resolution", type=click.Choice(["32", "64", "128", "256"]), default="64", show_default=True)
@click.option("--batch", type=click.IntRange(2, 512), default=16, show_default=True, help="Images a step.")
@click.option(
    "--adversarial",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Weight of the adversarial loss; wants a GPU.",
)
@click.option(
    "--sharpen",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Pull of a small discriminator of patches on reconstructions, 0.2 for instance; a CPU can afford it.",
)
@click.option("--start", metavar="MODEL", help="Model to start from, of the same or a smaller resolution.")
@click.option(
    "--attributes", type=FILE, help="TOML file of the directions to find; the default model's where left out."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or mps.")
@click.option("--seed", type=int, default=0, show_default=True)
def train(
    data: tuple[Path, ...],
    out: Path,
    minutes: float,
    resolution: str,
    batch: int,
    adversarial: float,
    sharpen: float,
    start: str | None,
    attributes: Path | None,
    threads: int,
    device: str,
    seed: int,
) -> None:
    """Train generator, encoder and directions on your own (licensed) faces.

    The run's folder gets a sheet of reconstructions every few minutes, and at the end the folder `model`, which
    --model takes.
    """
    torch.set_num_threads(threads)
    keep_memory()
    wanted = read_attributes(attributes)
    out.mkdir(parents=True, exist_ok=True)
    networks = None if start is None else _networks(start)
    shape = shape_for(int(resolution)) if networks is None else shape_from(networks, int(resolution))
    config = replace(
        shape, minutes=minutes, batch=batch, adversarial=adversarial, patches=sharpen, seed=seed, adversarial_from=0.0
    )
    faces = _faces(data, out, config.resolution)
    training = faces.subset(~faces.held_out)
    shown = faces.subset(faces.held_out)
    if not len(shown):
        shown = training
    trainer = Trainer(config, training, out, str(choose_device(device)), start=networks)
    with bar("Training", 1000) as update:

        def report(values: dict[str, float]) -> None:
            update(round(values["share"] * 1000))
            losses = " ".join(
                f"{name} {value:.4f}" for name, value in values.items() if name not in ("share", "images")
            )
            _log(out, f"{trainer.progress.seconds:.0f} s, {int(values['images'])} images: {losses}")
            if trainer.progress.steps % 500 == 0:
                _log(out, _sheet(trainer, shown, out))

        trainer.run(report)
    click.echo(_sheet(trainer, shown, out))
    export_model(trainer, faces, attribute_table(faces, data, wanted), wanted, out / "model", say=click.echo)
    click.echo(f"{out / 'model'}: {trainer.progress.images} images seen; use it with --model {out / 'model'}")


def _log(out: Path, line: str) -> None:
    with (out / "log.txt").open("a", encoding="utf-8") as log:
        log.write(line + "\n")


def shape_for(resolution: int) -> TrainingConfig:
    """The default shape, with blocks left out or added at the fine end."""
    config = TrainingConfig()
    while config.resolution > resolution:
        config = replace(
            config,
            resolution=config.resolution // 2,
            channels=config.channels[:-1],
            encoder_widths=config.encoder_widths[1:],
        )
    while config.resolution < resolution:
        config = replace(
            config,
            resolution=config.resolution * 2,
            channels=(*config.channels, max(8, config.channels[-1] // 2)),
            encoder_widths=(max(8, config.encoder_widths[0] // 2), *config.encoder_widths),
        )
    return config


def shape_from(networks: tuple[StyleGAN2, ResidualEncoder], resolution: int) -> TrainingConfig:
    """The shape of a trained model, with blocks added to its generator up to `resolution`, and settings to refine it.

    Raises:
        TrainingError: if the model is larger.
    """
    generator, encoder = networks
    channels = generator.config.channels
    if generator.resolution > resolution:
        raise TrainingError(
            f"the model to start from draws {generator.resolution} px, more than {resolution}; raise --resolution"
        )
    while 4 << (len(channels) - 1) < resolution:
        channels = (*channels, max(8, channels[-1] * 5 // 6))
    return replace(
        TrainingConfig(),
        resolution=resolution,
        channels=channels,
        encoder_widths=encoder.config.widths,
        w_dim=generator.w_dim,
        mapping_layers=generator.config.mapping_layers,
        learning_rate=1.5e-3,
        anneal=0.5,
        perceptual=0.4,
        perceptual_size=max(96, resolution),
    )


def _networks(name: str) -> tuple[StyleGAN2, ResidualEncoder]:
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
        faces = load_faces(data, resolution, progress=update)
    faces.save(kept)
    click.echo(f"{len(faces)} faces, {faces.skipped} pictures without a usable one")
    return faces


@torch.no_grad()
def _sheet(trainer: Trainer, faces: FaceSet, out: Path) -> str:
    """Draw held-out faces from W and from W+ with the averaged networks, and say how near they come."""
    generator, encoder = trainer.averaged_networks()
    images = to_images(faces.pixels[:MEASURED]).to(trainer.device)
    base, offsets = encoder.split(images)
    alone = base.unsqueeze(1).expand(-1, generator.num_ws, -1)
    drawn = [generator.synthesize(codes).clamp(-1.0, 1.0) for codes in (alone, alone + offsets)]
    columns = [faces.pixels[:SHEET_ROWS], *(to_pixels(one[:SHEET_ROWS]) for one in drawn)]
    sheet = grid(list(zip(*columns, strict=True)), None, ["face", "from W", "from W+"], cell=128)
    save_photo(Photo(sheet), out / "sheet.png")
    from_w, from_w_plus = (float(psnr(one, images).mean()) for one in drawn)
    kind = "held-out faces" if faces.held_out.all() else "faces, none held out"
    return f"PSNR on {len(images)} {kind}: {from_w:.2f} dB from W, {from_w_plus:.2f} dB from W+"
