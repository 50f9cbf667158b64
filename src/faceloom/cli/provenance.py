"""`faceloom provenance`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from faceloom.cli.options import FILE
from faceloom.errors import UsageError
from faceloom.files import replacing
from faceloom.provenance.claims import Claim
from faceloom.provenance.reading import Statement, read_statement


@click.command()
@click.argument("picture", type=FILE)
@click.option(
    "--save-recipe", type=FILE, help="Save the recipe that the picture carries, for `faceloom edit --recipe`."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def provenance(picture: Path, save_recipe: Path | None, as_json: bool) -> None:
    """Say what PICTURE says about itself: whether it was edited with AI, how, and whether it was changed since.

    A signature of Faceloom says how a picture was made, not who made it: its key vouches for itself alone.
    """
    found = read_statement(picture)
    if save_recipe is not None:
        if found.recipe is None:
            raise UsageError(f"{str(picture)!r} carries no recipe of Faceloom; give a picture that it saved")
        with replacing(save_recipe) as file:
            file.write(found.recipe.to_json().encode() + b"\n")
    if as_json:
        recipe = None if found.recipe is None else json.loads(found.recipe.to_json())
        click.echo(json.dumps({**vars(found), "actions": list(found.actions), "recipe": recipe}, indent=2))
        return
    for name, text in _rows(found).items():
        if text:
            click.echo(f"{name:<10} {text}")


def _rows(found: Statement) -> dict[str, str]:
    if found.mark == "none":
        return {"says": "nothing about how it was made"}
    signed = "changed since it was signed" if not found.intact else "as it was when it was signed"
    return {
        "says it by": "Content Credentials (C2PA)" if found.mark == "credentials" else "metadata, not signed",
        "state": signed if found.mark == "credentials" else "",
        "made with": found.generator,
        "source": found.source_type.rpartition("/")[2],
        "actions": ", ".join(found.actions),
        "edits": "" if found.recipe is None else Claim(found.recipe).words or "none",
        "signed by": f"{found.issuer}: a name that nobody has checked" if found.issuer else "",
    }
