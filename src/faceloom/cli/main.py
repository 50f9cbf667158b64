"""`faceloom`: the verbs, and how errors are told.

A verb's module is imported when the verb is used, so that `faceloom --help` does not wait for PyTorch.
"""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from typing import Any

import click

import faceloom
from faceloom.errors import FaceloomError, FaceloomWarning
from faceloom.settings import wait_asleep

VERBS = {
    "studio": "Edit faces in a web page on this machine.",
    "edit": "Edit the face in a photo and put it back.",
    "batch": "Edit many photos alike.",
    "invert": "Find the style code of a face and save it.",
    "render": "Edit an avatar: an inverted face that was saved.",
    "animate": "Move a face along a direction, as a video.",
    "morph": "Turn one face into another, as a video.",
    "sample": "Draw faces of people who do not exist.",
    "directions": "List what can be edited; name, pack, install and measure directions.",
    "discover": "Find new directions in a model.",
    "models": "Get, import and list models and directions of others.",
    "domain": "Make and list twins: the same people drawn as cartoons.",
    "train": "Train a model on a folder or zip of faces.",
    "evaluate": "Measure a model: random faces and reconstructions against real ones.",
    "benchmark": "Compare inversion methods on your photos.",
    "provenance": "Say what a saved picture says about itself.",
    "doctor": "Say what Faceloom finds on this machine.",
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


def _tell_warnings() -> None:
    """Print our own warnings on one line as notes, others as Python does, until the filters are restored."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, FaceloomWarning):
            click.echo(f"note: {' '.join(str(message).split())}", err=True)
        else:
            usual(message, category, *place, **more)

    warnings.showwarning = show


def main() -> None:
    """Run the command line; exit code 0 on success, 2 where the person can do something about it, 130 on Ctrl-C."""
    wait_asleep()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what is no text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", FaceloomWarning)
            _tell_warnings()
            cli(prog_name="faceloom", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except FaceloomError as error:
        click.echo(f"faceloom: {error}", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("faceloom: stopped; what was not finished was not saved", err=True)
        sys.exit(130)
