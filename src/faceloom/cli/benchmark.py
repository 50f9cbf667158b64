"""`faceloom benchmark`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from faceloom.cli.options import FILE, model_option
from faceloom.files import check_place
from faceloom.model import DEFAULT, load_model
from faceloom.settings import cache_folder


@click.group()
def benchmark() -> None:
    """Measure methods on a folder of photos, and write down what came of it."""


@benchmark.command()
@click.option("--photos", type=FILE, required=True, help="Folder of photos; the largest face of each is taken.")
@click.option("--limit", type=click.IntRange(1), help="How many photos; all where left out.")
@click.option("--few", type=click.IntRange(1), default=6, show_default=True, help="How many photos for slow methods.")
@click.option("--methods", help="Only these, with commas between; all where left out.")
@click.option("--out", type=FILE, default=Path("docs/inversion.md"), show_default=True, help="Where to write the page.")
@click.option("--results", type=FILE, help="JSON lines to keep results in and go on from; in the cache where left out.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of PyTorch.")
@model_option
def inversion(
    photos: Path,
    limit: int | None,
    few: int,
    methods: str | None,
    out: Path,
    results: Path | None,
    threads: int,
    model: str | None,
) -> None:
    """Compare inversion methods on the same faces: one table, one plot.

    What is in the results is not measured again, so that a run that was stopped goes on where it was.
    """
    from faceloom.comparison.contenders import choose_contenders
    from faceloom.comparison.document import write_page
    from faceloom.comparison.measuring import read_records
    from faceloom.comparison.report import Results
    from faceloom.comparison.run import Plan, choose_photos, compare, key_of, label_of
    from faceloom.metrics.judges import installed_judges

    check_place(out)
    contenders = choose_contenders(methods)
    loaded = load_model(model or DEFAULT)
    fingerprint = loaded.generator.fingerprint
    file = results or cache_folder() / "benchmarks" / f"inversion-{fingerprint}.jsonl"
    plan = Plan(choose_photos(photos, limit), model or DEFAULT, file, few, threads)
    click.echo(f"{len(plan.photos)} faces; results in {file}", err=True)
    if missing := installed_judges()[1]:
        click.echo(f"note: {missing} What edits do is not measured.", err=True)
    compare(plan, contenders, lambda line: click.echo(line, err=True))
    records = read_records(file, key_of(loaded, threads))
    found = Results.of(records, [label_of(path) for path in plan.photos])
    options = {"--methods": methods, "--threads": threads if threads > 1 else None, "--model": model}
    command = f"faceloom benchmark inversion --photos FOLDER --limit {len(plan.photos)} --few {few}"
    command += "".join(f" {option} {value}" for option, value in options.items() if value is not None)
    write_page(out, found, plan, loaded, command)
    click.echo(f"{out}: {len(found.by_method)} methods")


@benchmark.command()
@click.option("--photos", type=FILE, required=True, help="Folder of photos with ordinary faces.")
@click.option("--limit", type=click.IntRange(8), help="How many photos; all where left out.")
@click.option("--out", type=FILE, help="Where to write; into the model's folder where left out.")
@model_option
def likeness(photos: Path, limit: int | None, out: Path | None, model: str | None) -> None:
    """Measure how well a model reconstructs ordinary faces, so that it can tell which ones it cannot."""
    from faceloom.comparison.run import aligned, choose_photos
    from faceloom.inversion.likeness import calibrate, calibration_file

    loaded = load_model(model or DEFAULT)
    file = out or calibration_file(loaded.id)
    check_place(file)
    crops = [crop for _, crop in aligned(choose_photos(photos, limit))]
    found = calibrate(loaded.generator, loaded.require_encoder(), [crop.pixels for crop in crops])
    found.save(file)
    click.echo(json.dumps({"output": str(file), **found.to_dict()}))
