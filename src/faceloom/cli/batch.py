"""`faceloom batch`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import takewhile
from pathlib import Path

import click

from faceloom.batch import FORMATS, Job, Outcome, edit_photos, plan
from faceloom.cli.options import (
    FILE,
    FaceChoice,
    device_option,
    face_options,
    model_option,
    provenance_option,
)
from faceloom.cli.recipes import Wishes, model_for, recipe_of, recipe_options, words_of
from faceloom.errors import UsageError
from faceloom.settings import keep_memory


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("photos", nargs=-1, type=click.UNPROCESSED, metavar="PHOTOS... [EDITS]...")
@click.option("-o", "--out", type=FILE, required=True, help="Folder of the results, and of a journal of them.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Of the results; each photo's own where left out.")
@click.option("--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each photo.")
@provenance_option
@face_options
@device_option
@model_option
@recipe_options
def batch(
    photos: tuple[str, ...],
    out: Path,
    form: str | None,
    quality: int,
    as_json: bool,
    no_provenance: bool,
    choice: FaceChoice,
    device: str,
    model: str | None,
    wishes: Wishes,
) -> None:
    """Edit the faces in PHOTOS, or in all photos of a folder, alike.

    Edits are given as for `faceloom edit`, after the photos. A photo that fails stops nobody else; called again, the
    same command goes on where it stopped, and edits anew what has changed.
    """
    sources = [Path(word) for word in takewhile(lambda word: not word.startswith("--"), photos)]
    if photos and not sources:
        raise UsageError("name the photos, or a folder of them, before the edits")
    tasks = plan(sources, out, form)
    keep_memory()
    recipe = recipe_of(wishes, photos[len(sources) :], model)
    loaded, preset = model_for(recipe, wishes, device)
    job = Job(
        recipe,
        preset,
        wishes.strength,
        choice.faces,
        choice.inversion,
        choice.fidelity,
        quality,
        not no_provenance,
    )
    counts: Counter[str] = Counter()
    try:
        for number, outcome in enumerate(edit_photos(tasks, out, loaded, job), start=1):
            counts[outcome.state] += 1
            _tell(outcome, f"{number}/{len(tasks)}", as_json)
    except KeyboardInterrupt:
        click.echo(f"faceloom: stopped after {counts.total()} of {len(tasks)}; the same command goes on", err=True)
        sys.exit(130)
    states = [f"{counts[state]} {words}" for state, words in _STATES.items() if counts[state]]
    done = [words_of(recipe)] if recipe.edits or recipe.twin or preset is None else []
    done += [] if preset is None else [f"the preset {preset.name}"]
    click.echo(f"{len(tasks)} photo(s): {', '.join(states)}; {' and '.join(done)}", err=as_json)
    if counts["failed"]:
        raise UsageError(f"{counts['failed']} of {len(tasks)} photos failed; the same command tries them again")
    if not counts["edited"] + counts["kept"]:
        raise UsageError("no face was found in any photo; nothing was edited")


_STATES = {"edited": "edited", "kept": "edited before", "no face": "without a face", "failed": "failed"}


def _tell(outcome: Outcome, place: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(outcome.to_dict()))
        return
    if outcome.state == "edited":
        click.echo(f"{place} {_shown(outcome.output)}: {outcome.faces} face(s), {outcome.seconds:.1f} s")
    elif outcome.state != "failed":
        click.echo(f"{place} {_shown(outcome.photo)}: {_STATES[outcome.state]}")
    if outcome.message:
        words = f"{place} {_shown(outcome.photo)}: failed" if outcome.state == "failed" else "note"
        click.echo(f"{words}: {outcome.message}", err=True)


def _shown(path: Path) -> str:
    """A path on one line, whatever its name holds."""
    return str(path) if str(path).isprintable() else repr(str(path))
