"""The catalogue: what others publish, where it is, and under which terms. It is data, in catalog.toml."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

from faceloom.errors import UsageError

EntryKind = Literal["generator", "encoder", "directions"]
"""An "encoder" comes with its generator."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that others serve.

    Attributes:
        name: what to call it here.
        url: where it is, https.
        size: in bytes, exact; None where nobody has said.
        size_about: in bytes, roughly; None where nothing is known.
        sha256: of its bytes in hexadecimal; "" where it is not independently known.
        sha256_from: who states it.
    """

    name: str
    url: str
    size: int | None = None
    size_about: int | None = None
    sha256: str = ""
    sha256_from: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain = bool(self.name) and not set(self.name) & set("/\\:") and not self.name.startswith(".")
        hashed = not self.sha256 or (len(self.sha256) == 64 and set(self.sha256) <= set("0123456789abcdef"))
        if not plain or not hashed or bool(self.sha256) != bool(self.sha256_from):
            raise ValueError(f"the catalogue describes the file {self.name!r} wrongly")
        if not self.url.startswith("https://"):
            raise ValueError(f"the catalogue's link {self.url!r} is not https")


@dataclass(frozen=True)
class Entry:
    """Something that others publish.

    Attributes:
        id: how to ask for it.
        title: what it is, in a line.
        kind: see `EntryKind`.
        homepage: where its authors write about it.
        licence, licence_url: its terms in a line, and their text.
        files: what it consists of.
        resolution: side of its pictures in pixels; None for directions.
        pairs_with: ids that share its latent space.
        link_verified: whether somebody fetched it from its link and found what the catalogue says.
        note: what to know before fetching it.
    """

    id: str
    title: str
    kind: EntryKind
    homepage: str
    licence: str
    licence_url: str
    files: tuple[RemoteFile, ...]
    resolution: int | None = None
    pairs_with: tuple[str, ...] = ()
    link_verified: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(EntryKind) or not self.files:
            raise ValueError(f"the catalogue describes {self.id!r} wrongly")

    @property
    def size(self) -> int | None:
        """Bytes of all files, as far as they are known exactly or roughly; None where one is not."""
        sizes = [file.size or file.size_about for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def verified(self) -> bool:
        """Whether both its link and its hashes were verified."""
        return self.link_verified and all(file.sha256 for file in self.files)

    @property
    def doubts(self) -> str:
        """What nobody has verified, in words; "" where everything was."""
        doubts = [] if self.link_verified else ["link"]
        doubts += [] if all(file.sha256 for file in self.files) else ["sha256"]
        return " and ".join(doubts)


@cache
def catalogue() -> Mapping[str, Entry]:
    """All entries by id, in the order of the file."""
    text = resources.files("faceloom.checkpoints").joinpath("catalog.toml").read_text(encoding="utf-8")
    return {name: _entry(name, table) for name, table in tomllib.loads(text).items()}


def entry_of(name: str) -> Entry:
    """The entry of this id.

    Raises:
        UsageError: if there is none.
    """
    found = catalogue().get(name)
    if found is None:
        close = difflib.get_close_matches(name, catalogue(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`faceloom models list` shows what there is"
        raise UsageError(f"the catalogue has no {name!r}; {hint}")
    return found


def entry_with(sha256: str) -> tuple[Entry, RemoteFile] | None:
    """The file of the catalogue that has these bytes, and its entry."""
    pairs = [(entry, file) for entry in catalogue().values() for file in entry.files]
    return next(((entry, file) for entry, file in pairs if file.sha256 == sha256), None)


def _entry(name: str, table: Mapping[str, Any]) -> Entry:
    files = tuple(RemoteFile(**{**file, "sha256_from": tuple(file.get("sha256_from", ()))}) for file in table["files"])
    return Entry(**{**table, "id": name, "files": files, "pairs_with": tuple(table.get("pairs_with", ()))})
