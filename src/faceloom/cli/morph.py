"""`faceloom morph`."""

from __future__ import annotations

from pathlib import Path

import click

from faceloom.animation import morph_frames
from faceloom.cli.numbers import FiniteRange
from faceloom.cli.options import FILE, check_apart, device_option, model_option, provenance_option
from faceloom.cli.progress import bar, counted
from faceloom.cli.subjects import model_of, open_subject, recipe_for
from faceloom.imaging.video import check_film, check_video_output
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_film
from faceloom.settings import keep_memory


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.argument("edits", nargs=-1, type=click.UNPROCESSED)
@click.option("-o", "--output", type=FILE, required=True, help="Where to save: .mp4, .gif or .webp.")
@click.option("--seconds", type=FiniteRange(0.1, 60.0), default=3.0, show_default=True)
@click.option("--rate", type=FiniteRange(1.0, 60.0), default=25.0, show_default=True, help="Frames a second.")
@provenance_option
@device_option
@model_option
def morph(
    first: Path,
    second: Path,
    edits: tuple[str, ...],
    output: Path,
    seconds: float,
    rate: float,
    no_provenance: bool,
    device: str,
    model: str | None,
) -> None:
    """Turn one avatar (or photo) into another, as a video of the aligned faces."""
    check_video_output(output)
    check_apart([first, second], [output])
    keep_memory()
    shared = model or model_of((first, second))
    ends = [open_subject(path, shared, device).face_alone() for path in (first, second)]
    recipe = recipe_for(ends[0], None, edits)
    count = max(2, round(seconds * rate))
    check_film(output, rate, count, ends[0].photo.size)
    with bar("Drawing frames", count) as update:
        frames = morph_frames(ends[0], ends[1], recipe, count=count)
        save_film(counted(frames, update), output, None if no_provenance else Claim(), rate=rate)
    click.echo(f"{output}: {count} frames")
