"""What was imported: one folder for each id, with its networks as safetensors and a record of where they came from."""

from __future__ import annotations

import datetime
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from faceloom.errors import CheckpointError, UsageError
from faceloom.files import hash_file
from faceloom.settings import data_folder

GENERATOR_FILE, ENCODER_FILE, DIRECTIONS_FILE = "generator.safetensors", "encoder.safetensors", "directions.safetensors"
RECORD_FILE = "model.json"
VERSION = 1
InstalledKind = Literal["generator", "encoder", "directions"]
"""An "encoder" comes with its generator."""
_DRAFT = ".draft-"
_ABANDONED = 24 * 3600.0  # seconds; an import takes minutes
_ID = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_RESERVED = frozenset({"default"})


@dataclass(frozen=True)
class Source:
    """The file that something was made of.

    Attributes:
        name: of the file.
        sha256: of its bytes.
        size: in bytes.
        url: where it was downloaded from; "" where a person had it.
    """

    name: str
    sha256: str
    size: int
    url: str = ""


@dataclass(frozen=True)
class Installed:
    """Something that was imported.

    Attributes:
        id: its name, and that of its folder.
        kind: see `InstalledKind`.
        title: what it is, in a line.
        licence: its terms in a line; "" where nobody has said.
        sources: the files that it was made of.
        pairs_with: ids that share its latent space.
        details: what the files turned out to hold.
        imported: the date, as YYYY-MM-DD.
        files: sha256 of each file in its folder.
    """

    id: str
    kind: InstalledKind
    title: str
    sources: tuple[Source, ...]
    licence: str = ""
    pairs_with: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    imported: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return models_folder() / self.id

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def models_folder() -> Path:
    """The folder of everything imported; it need not exist."""
    return data_folder() / "models"


def check_id(name: str) -> str:
    """The id, if it is one.

    Raises:
        UsageError: if it could not be a folder's name on every system, or is taken by Faceloom itself.
    """
    if _ID.fullmatch(name) is None:
        raise UsageError(f"{name!r} is no id: use small letters, digits and -, such as my-model")
    if name in _RESERVED:
        raise UsageError(f"the id {name!r} is that of the embedded model; choose another with --id")
    return name


def id_from(text: str) -> str:
    """An id made of a file's name: "E4E_ffhq (1).pt" without its suffix gives "e4e-ffhq-1"."""
    word = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:64].strip("-")
    return word if word and word not in _RESERVED else "model"


def is_model_folder(path: Path) -> bool:
    """Whether a folder is a model, as `faceloom train` writes them."""
    try:
        return (path / GENERATOR_FILE).is_file()
    except OSError:  # a name too long for any folder
        return False


def find(name: str) -> Installed | None:
    """What was imported under this id, if anything.

    Raises:
        CheckpointError: if its record is damaged.
    """
    if _ID.fullmatch(name) is None:
        return None
    path = models_folder() / name / RECORD_FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = int(data.pop("version"))
        sources = tuple(Source(**source) for source in data.pop("sources"))
        found = Installed(**{**data, "sources": sources, "pairs_with": tuple(data.get("pairs_with", ()))})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the record {str(path)!r} is damaged; run `faceloom models rm {name}`") from error
    if version > VERSION:
        raise CheckpointError(f"{name} was imported by a later Faceloom (format {version}); upgrade to use it")
    if found.id != name or found.kind not in get_args(InstalledKind):
        raise CheckpointError(f"the record {str(path)!r} is damaged; run `faceloom models rm {name}`")
    return found


def installed() -> list[Installed]:
    """Everything imported, by id.

    Raises:
        CheckpointError: if a record is damaged.
    """
    folder = models_folder()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [found for found in map(find, names) if found is not None]


@contextmanager
def drafting(name: str) -> Iterator[Path]:
    """A folder to make something in, which is gone when the block is left; `publish` moves it into its place.

    Those that a killed import left a day ago or earlier go, too.

    Raises:
        UsageError: if the id is none or taken, or the folder cannot be made.
    """
    check_id(name)
    if (models_folder() / name).exists():
        raise UsageError(f"{name!r} is here already; choose another --id, or run `faceloom models rm {name}` first")
    for left in models_folder().glob(f"{_DRAFT}*"):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(left)
    draft = models_folder() / f"{_DRAFT}{secrets.token_hex(8)}"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot write in {str(models_folder())!r} ({error.strerror or error})") from error
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def publish(draft: Path, record: Installed) -> Installed:
    """Write the record, with the hashes of all files, and move the draft to where `record.folder` is.

    Raises:
        UsageError: if that is not possible.
    """
    hashes = {path.name: hash_file(path) for path in sorted(draft.iterdir())}
    data = {**asdict(record), "imported": datetime.date.today().isoformat(), "files": hashes}
    try:
        (draft / RECORD_FILE).write_text(json.dumps({"version": VERSION, **data}, indent=2), encoding="utf-8")
        os.rename(draft, record.folder)
    except OSError as error:
        raise UsageError(f"cannot write {str(record.folder)!r} ({error.strerror or error})") from error
    found = find(record.id)
    assert found is not None
    return found


def remove(name: str) -> None:
    """Delete what was imported under this id, damaged or not.

    Raises:
        UsageError: if there is nothing.
    """
    folder = models_folder() / name
    if _ID.fullmatch(name) is None or not folder.is_dir():
        raise UsageError(f"nothing was imported as {name!r}; `faceloom models list` shows what is here")
    # Out of sight in one step, so that nobody meets a half-deleted model.
    doomed = models_folder() / f"{_DRAFT}{secrets.token_hex(8)}"
    os.utime(folder)  # lest it be swept up meanwhile
    os.rename(folder, doomed)
    shutil.rmtree(doomed)


def damage(one: Installed) -> list[str]:
    """What is wrong with the files of something imported, in words; empty where nothing is."""
    found = []
    for name, expected in one.files.items():
        path = one.folder / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif hash_file(path) != expected:
            found.append(f"{name} was changed")
    return found
