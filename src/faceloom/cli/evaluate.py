"""`faceloom evaluate`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch

from faceloom.cli.numbers import SEED
from faceloom.cli.options import FILE
from faceloom.cli.progress import bar
from faceloom.editor import make_inverter
from faceloom.errors import UsageError
from faceloom.evaluation import (
    Quality,
    evaluate_reconstruction,
    evaluate_samples,
    reconstruction_sheet,
    sample_sheet,
)
from faceloom.files import replacing
from faceloom.model import DEFAULT, load_model
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.settings import keep_memory
from faceloom.training.images import FaceSet
from faceloom.training.packing import gather, is_packed, packed_side
from faceloom.types import Photo


@click.command()
@click.argument("model", default=DEFAULT)
@click.option(
    "--data", type=FILE, multiple=True, help="Folder or zip of pictures with faces, or packed faces; repeat for more."
)
@click.option(
    "--faces", "faces_file", type=FILE, help="Aligned faces that `faceloom train` kept (faces.npz), instead of --data."
)
@click.option("--held-out/--all", default=True, help="Only the faces that training leaves out (default), or all.")
@click.option("-o", "--out", type=FILE, required=True, help="Folder for the table and the sheets.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
def evaluate(
    model: str,
    data: tuple[Path, ...],
    faces_file: Path | None,
    held_out: bool,
    out: Path,
    seed: int,
    threads: int,
) -> None:
    """Measure MODEL on faces: random faces against real ones, and reconstructions.

    The folder gets evaluation.md, samples-0.7.png and samples-1.0.png (64 random faces each) and reconstructions.png.
    """
    if bool(data) == bool(faces_file):
        raise click.UsageError("give either --data (pictures) or --faces (a faces.npz)")
    torch.set_num_threads(threads)
    keep_memory()
    loaded = load_model(model)
    out.mkdir(parents=True, exist_ok=True)
    faces = FaceSet.load(faces_file) if faces_file else _load(data, loaded.generator.resolution)
    known = faces.subset(faces.held_out) if held_out else faces
    if not len(known):
        raise click.UsageError("none of these faces is held out; use --all, or give more faces")
    # Samples are compared with all faces: the reference of a Fréchet distance wants numbers, and no face is scored.
    with bar("Random faces") as update:
        quality = evaluate_samples(loaded, faces.pixels, seed=seed, progress=update)
    with bar("Reconstructions") as update:
        fidelity, drawn = evaluate_reconstruction(
            loaded,
            make_inverter("encoder", loaded),
            known.pixels,
            kind="held-out faces" if held_out else "faces",
            progress=update,
        )
    table = Quality((*quality.rows, *fidelity.rows)).markdown()
    with replacing(out / "evaluation.md") as file:
        file.write(f"{table}\n".encode())
    for truncation in (0.7, 1.0):
        sheet = Photo(sample_sheet(loaded, truncation, seed=seed))
        save_picture(sheet, out / f"samples-{truncation}.png", Claim(generated=True))
    order = np.random.default_rng(seed).permutation(len(known))
    sheet = Photo(reconstruction_sheet(known.pixels[order], drawn[order]))
    save_picture(sheet, out / "reconstructions.png", Claim())
    click.echo(table)
    click.echo(f"{out}: evaluation.md, samples-0.7.png, samples-1.0.png, reconstructions.png")


def _load(data: tuple[Path, ...], resolution: int) -> FaceSet:
    size = min([max(256, resolution), *(packed_side(source) for source in data if is_packed(source))])
    if size < resolution:
        raise UsageError(f"the packed faces are {size} px, the model draws {resolution}; pack larger ones")
    with bar("Finding faces") as update:
        return gather(data, size, progress=update)
