"""`faceloom models`: checkpoints and directions of others, downloaded or imported."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from faceloom import collection
from faceloom.checkpoints.catalog import Entry, RemoteFile, catalogue, entry_of
from faceloom.checkpoints.fetch import Update
from faceloom.checkpoints.installed import Installed, find, installed
from faceloom.errors import CheckpointError, UsageError


@click.group()
def models() -> None:
    """Get, import, list, check and delete models and directions of others.

    Nothing in their files is executed: they are parsed, and converted to safetensors.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON, with links, hashes and folders.")
def list_models(as_json: bool) -> None:
    """List what the catalogue knows, and what is here."""
    here = {one.id: one for one in installed()}
    names = [*catalogue(), *(name for name in here if name not in catalogue())]
    if as_json:
        click.echo(json.dumps([_described(name, here.get(name)) for name in names], indent=2))
        return
    width = max(map(len, names))
    for name in names:
        entry, one = catalogue().get(name), here.get(name)
        mark = "here" if one is not None else "    "
        title = entry.title if entry is not None else one.title if one is not None else ""
        click.echo(f"{mark}  {name:<{width}}  {title}")
        if entry is not None:
            words = [_size_text(entry), entry.licence.partition(":")[0]]
            words += [f"not verified: {entry.doubts}"] if entry.doubts else []
            click.echo(f"      {'':<{width}}  {' · '.join(words)}")


@models.command()
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def get(id: str, yes: bool) -> None:
    """Download ID from where its authors put it, check it, and import it."""
    entry = entry_of(id)
    if find(id) is not None:
        raise UsageError(f"{id!r} is here already; `faceloom models verify {id}` checks it")
    click.echo(f"{entry.title}\n  size:     {_size_text(entry)}")
    click.echo(f"  licence:  {entry.licence}\n            {entry.licence_url}")
    click.echo(f"  from:     {entry.files[0].url}" + (" and others" if len(entry.files) > 1 else ""))
    if entry.doubts:
        click.echo(f"  verified: not its {entry.doubts.replace(' and ', ', not its ')}")
    if entry.note:
        click.echo(textwrap.fill(entry.note, 100, initial_indent="  note:     ", subsequent_indent="            "))
    if not yes:
        click.confirm("Download it, under these terms?", abort=True)
    with _transfers() as watch:
        _tell(collection.get(id, watch=watch))


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--id", "name", metavar="ID", help="What to call it; made of the file's name where left out.")
@click.option("--for", "pairs_with", metavar="ID", multiple=True, help="The model that directions are for.")
@click.option("--kind", type=click.Choice(["e4e", "psp"]), help="Of an encoder, where its file does not say.")
def import_model(file: Path, name: str | None, pairs_with: tuple[str, ...], kind: str | None) -> None:
    """Import FILE: a checkpoint of any supported kind, or directions (also a folder of them)."""
    _tell(
        collection.import_file(
            file,
            name=name,
            encoder_kind=kind,  # type: ignore[arg-type]  # click has checked it
            pairs_with=pairs_with,
        )
    )


@models.command()
@click.argument("id", required=False)
def verify(id: str | None) -> None:
    """Check the files of ID, or of everything here, against the hashes noted when they were imported."""
    chosen = installed() if id is None else [_here(id)]
    if not chosen:
        click.echo("nothing was imported")
    wrong = {one.id: found for one in chosen if (found := collection.verify(one))}
    for one in chosen:
        click.echo(f"{one.id}: {', '.join(wrong[one.id]) if one.id in wrong else 'unchanged'}")
    if wrong:
        names = ", ".join(wrong)
        raise CheckpointError(f"{names}: not as imported; run `faceloom models rm`, then get or import it again")


@models.command()
@click.argument("id")
def rm(id: str) -> None:
    """Delete ID, and what was downloaded for it."""
    collection.remove(id)
    click.echo(f"{id}: deleted")


@models.command()
@click.argument("id")
def path(id: str) -> None:
    """Print the folder of ID."""
    click.echo(_here(id).folder)


def _here(name: str) -> Installed:
    found = find(name)
    if found is None:
        hint = f"`faceloom models get {name}` fetches it" if name in catalogue() else "`faceloom models list` has all"
        raise UsageError(f"{name!r} is not here; {hint}")
    return found


def _tell(one: Installed) -> None:
    generator = one.details.get("generator")
    if generator is not None:
        encoder = one.details.get("encoder")
        with_encoder = f", encoder {encoder['architecture']}" if encoder else ", no encoder"
        what = f"{generator['architecture']}, {generator['resolution']} px{with_encoder}"
        use = f"use it with --model {one.id}"
    else:
        names = one.details["directions"]
        what = f"{len(names)} direction{'s' * (len(names) > 1)}: {', '.join(names[:8])}{', …' * (len(names) > 8)}"
        known = catalogue()
        models = [name for name in one.pairs_with if name not in known or known[name].kind != "directions"]
        use = f"used with {', '.join(models)}"
    click.echo(f"{one.id}: {what}; {use}")


def _size_text(entry: Entry) -> str:
    if entry.size is None:
        return "size not known"
    exact = all(file.size is not None for file in entry.files)
    number, unit = (entry.size / 1e6, "MB") if entry.size >= 1e6 else (entry.size / 1e3, "kB")
    return f"{'' if exact else 'about '}{number:,.0f} {unit}"


def _described(name: str, one: Installed | None) -> dict[str, Any]:
    entry = catalogue().get(name)
    found: dict[str, Any] = {"id": name, "here": one is not None}
    if entry is not None:
        found |= {
            "title": entry.title,
            "kind": entry.kind,
            "resolution": entry.resolution,
            "licence": entry.licence,
            "licence_url": entry.licence_url,
            "homepage": entry.homepage,
            "size": entry.size,
            "pairs_with": list(entry.pairs_with),
            "verified": entry.verified,
            "link_verified": entry.link_verified,
            "note": entry.note,
            "files": [
                {"name": file.name, "url": file.url, "size": file.size, "sha256": file.sha256 or None}
                for file in entry.files
            ],
        }
    if one is not None:
        record = {"kind": one.kind, "title": one.title, "licence": one.licence, "pairs_with": list(one.pairs_with)}
        found = {**record, **found} | {
            "folder": str(one.folder),
            "imported": one.imported,
            "sources": [{"name": it.name, "sha256": it.sha256, "size": it.size, "url": it.url} for it in one.sources],
            "details": dict(one.details),
            "bytes": one.size,
        }
    return found


@contextmanager
def _transfers() -> Iterator[Callable[[RemoteFile], Update]]:
    """A bar for each file that is fetched, on standard error, where a person watches it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bars:

        def watch(file: RemoteFile) -> Update:
            task = bars.add_task(file.name, total=file.size)

            def update(done: int, of: int | None = None) -> None:
                bars.update(task, completed=done, total=of)

            return update

        yield watch
