"""`faceloom sample`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from faceloom.cli.numbers import SEED, FiniteRange
from faceloom.cli.options import FILE, device_option, model_option, provenance_option
from faceloom.editor import draw
from faceloom.imaging.photos import check_output
from faceloom.imaging.sheets import grid
from faceloom.model import DEFAULT, load_model
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.types import Photo


@click.command()
@click.option("-o", "--output", type=FILE, required=True, help="Where to save the sheet.")
@click.option("--count", type=click.IntRange(1, 1024), default=16, show_default=True, help="How many faces.")
@click.option("--columns", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True, help="The same seed gives the same faces.")
@click.option(
    "--truncation",
    type=FiniteRange(0.0, 2.0),
    default=0.7,
    show_default=True,
    help="0: the mean face; 1: full variety.",
)
@click.option("--twin", help="Draw them with this twin: toon, comic, sketch, or one that `faceloom domain` made.")
@provenance_option
@device_option
@model_option
def sample(
    output: Path,
    count: int,
    columns: int,
    seed: int,
    truncation: float,
    twin: str | None,
    no_provenance: bool,
    device: str,
    model: str | None,
) -> None:
    """Draw faces of people who do not exist, on one sheet."""
    check_output(output)
    loaded = load_model(model or DEFAULT, device)
    z = torch.randn(count, loaded.generator.z_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        codes = loaded.generator.map(z.to(loaded.device), truncation=truncation)
        drawer = loaded if twin is None else replace(loaded, generator=loaded.twins[twin].blend(loaded.generator))
        pictures = draw(drawer, codes)
    rows = [pictures[start : start + columns] for start in range(0, count, columns)]
    sheet = Photo(grid(rows, None, None, cell=max(96, loaded.generator.resolution)))
    save_picture(sheet, output, None if no_provenance else Claim(generated=True))
    click.echo(
        f"{output}: {count} face(s), seed {seed}, truncation {truncation:g}{f', drawn by {twin}' if twin else ''}"
    )
