"""`faceloom directions`."""

from __future__ import annotations

import json

import click

from faceloom.cli.options import model_option
from faceloom.model import DEFAULT, load_model


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@model_option
def directions(as_json: bool, model: str | None) -> None:
    """List what can be edited. One unit is one standard deviation of the attribute."""
    loaded = load_model(model or DEFAULT)
    entries = [
        {"name": one.name, "low": one.low, "high": one.high, "range": list(one.range), "layers": list(one.layers)}
        for one in loaded.directions
    ]
    if as_json:
        click.echo(json.dumps({"model": loaded.id, "generator": loaded.generator.fingerprint, "directions": entries}))
        return
    width = max((len(one.name) for one in loaded.directions), default=0)
    for one in loaded.directions:
        click.echo(f"--{one.name:<{width}}  {one.range[0]:+g} … {one.range[1]:+g}  {one.low} … {one.high}")
