"""`faceloom`: the verbs, and how errors are told.

A verb's module is imported when the verb is used, so that `faceloom --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
import sys

import click

import faceloom
from faceloom.errors import FaceloomError

VERBS = {
    "edit": "Edit the face in a photo and put it back.",
    "invert": "Find the style code of a face and save it.",
    "sample": "Draw faces of people who do not exist.",
    "directions": "List what can be edited.",
    "train": "Train a model on a folder or zip of faces.",
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"faceloom.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(faceloom.__version__, prog_name="faceloom")
def cli() -> None:
    """Edit the age, smile, hair and more of a face in a real photo, on your own machine."""


def main() -> None:
    """Run the command line; exit code 0 on success, 2 where the person can do something about it, 130 on Ctrl-C."""
    try:
        cli(prog_name="faceloom", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FaceloomError as error:
        click.echo(f"faceloom: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("faceloom: stopped; nothing was written", err=True)
        sys.exit(130)
