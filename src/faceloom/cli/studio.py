"""`faceloom studio`."""

from __future__ import annotations

from pathlib import Path

import click

from faceloom.cli.options import FILE, device_option, model_option
from faceloom.errors import MissingExtraError
from faceloom.settings import data_folder, keep_memory


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of 127.0.0.1; a free one where left out.")
@click.option("--no-browser", is_flag=True, help="Print the address and leave opening it to you.")
@click.option("--data", type=FILE, help="Folder for photos and projects, instead of the usual one.")
@device_option
@model_option
def studio(port: int, no_browser: bool, data: Path | None, device: str, model: str | None) -> None:
    """Edit faces in a web page on your own machine.

    The page is served on 127.0.0.1 alone; photos and projects stay in your data folder, and nothing is sent elsewhere.
    Stop it with Ctrl-C.
    """
    try:
        from faceloom.server.serve import serve
        from faceloom.server.studio import Studio, StudioSettings
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("fastapi", "pydantic", "starlette", "uvicorn"):
            raise
        raise MissingExtraError(f"the studio needs {error.name}; run: pip install 'faceloom[studio]'") from error
    keep_memory()
    folder = data if data is not None else data_folder() / "studio"
    serve(
        Studio(StudioSettings(folder.expanduser(), model, device)),
        port,
        not no_browser,
        lambda address: click.echo(f"Faceloom studio: {address}  (stop with Ctrl-C)"),
    )
