"""`faceloom animate`."""

from __future__ import annotations

from pathlib import Path

import click

from faceloom.animation import edit_frames
from faceloom.cli.numbers import FiniteRange
from faceloom.cli.options import FILE, check_apart, device_option, model_option, provenance_option
from faceloom.cli.progress import bar, counted
from faceloom.cli.subjects import open_subject, recipe_for
from faceloom.errors import UsageError
from faceloom.imaging.video import check_film, check_video_output
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_film
from faceloom.settings import keep_memory


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("subject", type=FILE)
@click.argument("edits", nargs=-1, type=click.UNPROCESSED)
@click.option("--edit", "direction", required=True, metavar="NAME", help="The direction to move along.")
@click.option("--from", "low", type=float, help="Lowest amount; the direction's own where left out.")
@click.option("--to", "high", type=float, help="Highest amount.")
@click.option("-o", "--output", type=FILE, required=True, help="Where to save: .mp4, .gif or .webp.")
@click.option("--whole", is_flag=True, help="The whole photo instead of the aligned face.")
@click.option("--seconds", type=FiniteRange(0.1, 60.0), default=3.0, show_default=True)
@click.option("--rate", type=FiniteRange(1.0, 60.0), default=25.0, show_default=True, help="Frames a second.")
@provenance_option
@device_option
@model_option
def animate(
    subject: Path,
    edits: tuple[str, ...],
    direction: str,
    low: float | None,
    high: float | None,
    output: Path,
    whole: bool,
    seconds: float,
    rate: float,
    no_provenance: bool,
    device: str,
    model: str | None,
) -> None:
    """Move the face of an avatar or photo along one direction and back, as a video that loops.

    Other edits, given as --NAME AMOUNT, are held.
    """
    check_video_output(output)
    check_apart([subject], [output])
    count = round(seconds * rate)
    if count < 4:
        raise UsageError(f"{count} frame(s) show no movement there and back; give more --seconds or a higher --rate")
    keep_memory()
    editor = open_subject(subject, model, device)
    if not whole:
        editor = editor.face_alone()
    recipe = recipe_for(editor, None, edits)
    least, most = editor.model.directions[direction].range
    span = (least if low is None else low, most if high is None else high)
    check_film(output, rate, count, editor.photo.size)
    with bar("Drawing frames", count) as update:
        frames = counted(edit_frames(editor, recipe, direction, span, count=count), update)
        save_film(frames, output, None if no_provenance else Claim(), rate=rate)
    click.echo(f"{output}: {count} frames of {direction} from {span[0]:+g} to {span[1]:+g}")
