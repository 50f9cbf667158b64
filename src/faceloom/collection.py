"""The models and directions on this machine: downloaded or imported, listed, checked, deleted."""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceloom.checkpoints.catalog import Entry, RemoteFile, catalogue, entry_of, entry_with
from faceloom.checkpoints.fetch import Patience, Update, fetch
from faceloom.checkpoints.installed import (
    DIRECTIONS_FILE,
    GENERATOR_FILE,
    Installed,
    InstalledKind,
    Source,
    check_id,
    damage,
    drafting,
    find,
    id_from,
    installed,
    publish,
)
from faceloom.checkpoints.installed import remove as remove_installed
from faceloom.errors import CheckpointError, DirectionError, FaceloomError, FaceloomWarning, UsageError
from faceloom.files import hash_file
from faceloom.settings import cache_folder

if TYPE_CHECKING:
    from faceloom.checkpoints.irse import PspKind

FetchWatch = Callable[[RemoteFile], Update]
"""Told which file is fetched next, it gives what is told how much has come."""


def downloads_folder(name: str) -> Path:
    """Where the files of a catalogue entry are kept as they were served; it need not exist."""
    return cache_folder() / "downloads" / name


def get(name: str, *, watch: FetchWatch | None = None, patience: Patience | None = None) -> Installed:
    """Download an entry of the catalogue and import it. A download that broke off is continued.

    The files stay in the cache as they were served, so that nothing is fetched twice.

    Args:
        name: its id.
        watch: shows the progress.
        patience: when to give up.

    Raises:
        UsageError: if there is no such entry, or it is here already.
        DownloadError: if a file cannot be had.
        CheckpointError, DirectionError: if a file is not what it should be.
    """
    entry = entry_of(name)
    if find(name) is not None:
        raise UsageError(f"{name!r} is here already; `faceloom models verify {name}` checks it")
    folder = downloads_folder(name)
    for file in entry.files:
        path = folder / file.name
        if path.is_file() and (not file.sha256 or hash_file(path) == file.sha256):
            continue
        update = None if watch is None else watch(file)
        fetch(file.url, path, sha256=file.sha256, size=file.size, progress=update, patience=patience)
    urls = {file.name: file.url for file in entry.files}
    alone = entry.kind != "directions" and len(entry.files) == 1
    return import_file(folder / entry.files[0].name if alone else folder, name=name, urls=urls)


def import_file(
    path: Path,
    *,
    name: str | None = None,
    encoder_kind: PspKind | None = None,
    pairs_with: Sequence[str] = (),
    urls: dict[str, str] | None = None,
) -> Installed:
    """Convert a checkpoint, or directions, and keep them under an id.

    Networks become safetensors. Directions stay as published, one file for all; which models they are for is told by
    `pairs_with`, else by the catalogue, which knows published files by their sha256, else by there being only one
    imported model that they fit. They are then used with all models that share that one's latent space.

    Args:
        path: a file of any kind that `load_generator`, `load_encoder` or `load_directions` read; or a folder of files
            of directions.
        name: the id; where None, that of the catalogue for files that it knows, else one made of the file's name.
        encoder_kind: whether an encoder is e4e's or pSp's, where its file does not say.
        pairs_with: ids of the models that directions are for.
        urls: where files came from, by their names.

    Raises:
        UsageError: if the id is taken or none, or it cannot be told which model directions are for.
        CheckpointError, DirectionError: if the file is not supported, damaged or hostile.
    """
    sources = _sources(path, urls or {})
    known = _Known.of(sources, name)
    with drafting(check_id(name or known.id or id_from(path.stem))) as draft:
        # Heavy imports, which listing what is here does not need.
        from faceloom.checkpoints.convert import convert

        details = {} if path.is_dir() else convert(path, draft, kind=encoder_kind)
        if details and pairs_with:
            raise UsageError(f"{path.name} is a network; --for is of directions. Leave it out")
        if encoder_kind is not None and "encoder" not in details:
            raise UsageError(f"{path.name} holds no encoder; --kind is of encoders. Leave it out")
        record = Installed(name or known.id or id_from(path.stem), "generator", path.name, sources, details=details)
        finished = _as_model(record, known) if details else _as_directions(record, known, path, draft, pairs_with)
        return publish(draft, finished)


def verify(one: Installed) -> list[str]:
    """What is wrong with something imported, and with what is left of its download; empty where nothing is."""
    wrong = damage(one)
    for source in one.sources:
        path = downloads_folder(one.id) / source.name
        if path.is_file() and hash_file(path) != source.sha256:
            wrong.append(f"the download {source.name} was changed")
    return wrong


def remove(name: str) -> None:
    """Delete something imported, and its download.

    Raises:
        UsageError: if there is nothing of the kind.
    """
    check_id(name)
    downloads = downloads_folder(name)
    left = downloads.is_dir() and any(downloads.iterdir())
    if downloads.is_dir():
        try:
            shutil.rmtree(downloads)
        except OSError as error:
            raise UsageError(f"cannot delete {str(downloads)!r} ({error.strerror or error})") from error
    try:
        remove_installed(name)
    except UsageError:
        if not left:
            raise


@dataclass(frozen=True)
class _Known:
    """What the catalogue knows of the files that are imported.

    Attributes:
        entry: that they belong to, if any.
        id: of that entry, where they are the whole of it; "" otherwise.
        file: of the catalogue that has the bytes of the only file, if any.
    """

    entry: Entry | None = None
    id: str = ""
    file: RemoteFile | None = None

    @classmethod
    def of(cls, sources: Sequence[Source], name: str | None) -> _Known:
        matches = [entry_with(source.sha256) for source in sources]
        entries = {match[0].id: match[0] for match in matches if match is not None}
        if len(entries) == 1 and None not in matches:
            entry = next(iter(entries.values()))
            whole = len(sources) == len(entry.files)
            only = matches[0][1] if len(matches) == 1 and matches[0] is not None else None
            if name is None or name == entry.id or name not in catalogue():
                return cls(entry, entry.id if whole else "", only)
        named = catalogue().get(name) if name else _named_like(sources)
        if named is not None:
            _note_difference(named, sources)
            return cls(named, named.id)
        return cls()


def _named_like(sources: Sequence[Source]) -> Entry | None:
    """The entry of networks whose only file is called like the only one here."""
    names = [source.name for source in sources]
    models = (entry for entry in catalogue().values() if entry.kind != "directions")
    return next((entry for entry in models if [file.name for file in entry.files] == names), None)


def _note_difference(entry: Entry, sources: Sequence[Source]) -> None:
    hashes = {file.sha256 for file in entry.files if file.sha256}
    if hashes and not {source.sha256 for source in sources} <= hashes:
        note = (
            f"{sources[0].name} is not the file that the catalogue knows as {entry.id} (its sha256 is "
            f"{sources[0].sha256[:12]}…); it is imported under that id all the same"
        )
        warnings.warn(note, FaceloomWarning, stacklevel=4)


def _sources(path: Path, urls: dict[str, str]) -> tuple[Source, ...]:
    if path.is_dir():
        if (path / GENERATOR_FILE).is_file():
            raise UsageError(f"{str(path)!r} is a model already; use it as it is, with --model {path}")
        # The same files as `load_directions` takes.
        from faceloom.directions.importing import direction_files

        files = direction_files(path)
    elif path.exists() and not path.is_file():
        raise UsageError(f"{str(path)!r} is no file, but a device or the like; copy what is in it to a file first")
    else:
        files = [path]
    try:
        return tuple(Source(file.name, hash_file(file), file.stat().st_size, urls.get(file.name, "")) for file in files)
    except OSError as error:
        raise CheckpointError(f"{str(path)!r} cannot be read: {error.strerror or error}") from error


def _as_model(record: Installed, known: _Known) -> Installed:
    kind: InstalledKind = "encoder" if "encoder" in record.details else "generator"
    if known.entry is None or known.entry.kind == "directions":
        return replace(record, kind=kind)
    return replace(
        record, kind=kind, title=known.entry.title, licence=known.entry.licence, pairs_with=known.entry.pairs_with
    )


# Directions


def _as_directions(record: Installed, known: _Known, path: Path, draft: Path, pairs_with: Sequence[str]) -> Installed:
    from faceloom.directions.direction import DirectionSet
    from faceloom.directions.importing import load_directions, word_of

    loaded = load_directions(path)
    if known.file is not None and len(loaded) == 1:  # called as its authors call it
        loaded = DirectionSet(
            [replace(one, name=word_of(Path(known.file.name).stem)) for one in loaded], loaded.fingerprint, loaded.info
        )
    widths = {one.vector.shape[1] for one in loaded if one.space == "w+"}
    layers = {len(one.vector) for one in loaded if one.space == "w+" and len(one.vector) > 1}
    details: dict[str, Any] = {"directions": list(loaded.names()), "w_dim": max(widths, default=None)}
    if known.entry is not None and known.entry.kind == "directions":
        details["published_as"] = known.entry.id
    pairs = _pairs(known, pairs_with, widths, layers, loaded.fingerprint)
    loaded.save(draft / DIRECTIONS_FILE)
    _compare(loaded, pairs)
    entry = known.entry
    return replace(
        record,
        kind="directions",
        title=entry.title if entry and known.id else f"Directions: {', '.join(itertools.islice(loaded.names(), 4))}",
        licence=entry.licence if entry else "",
        pairs_with=pairs,
        details=details,
    )


def _pairs(
    known: _Known, wanted: Iterable[str], widths: set[int], layers: set[int], fingerprint: str
) -> tuple[str, ...]:
    """The ids of the models that directions are for."""
    chosen = list(wanted)
    if chosen:
        for one in chosen:
            if one not in catalogue() and find(one) is None:
                raise UsageError(
                    f"there is no model {one!r} to use the directions with; `faceloom models list` has all"
                )
            found = find(one)
            if "directions" in (found.kind if found else "", catalogue()[one].kind if one in catalogue() else ""):
                raise UsageError(f"{one!r} is a set of directions; --for is the model that they are used with")
            _check_width(one, widths)
        return _with_kin(chosen)
    if known.entry is not None and known.entry.kind == "directions":
        return known.entry.pairs_with
    models = [one for one in installed() if one.kind != "directions"]
    own = [one.id for one in models if one.details.get("generator", {}).get("fingerprint") == fingerprint]
    if own:
        return _with_kin(own)
    fitting = [one.id for one in models if _fits(one, widths, layers)]
    if not fitting:
        raise UsageError("no imported model fits these directions; import theirs first, or say which with --for ID")
    if not set(fitting) <= set(_with_kin(fitting[:1])):
        raise UsageError(f"these directions fit {', '.join(fitting)}; say which they are for with --for ID")
    return _with_kin(fitting)


def _check_width(name: str, widths: set[int]) -> None:
    found = find(name)
    width = found.details.get("generator", {}).get("w_dim") if found else None
    if width is not None and not widths <= {width}:
        raise DirectionError(
            f"the directions have vectors of {max(widths)} numbers, and the latents of {name!r} {width}: they were "
            "made for another generator"
        )


def _fits(model: Installed, widths: set[int], layers: set[int]) -> bool:
    generator = model.details.get("generator", {})
    return widths <= {generator.get("w_dim")} and layers <= {generator.get("num_ws")}


def _with_kin(names: Sequence[str]) -> tuple[str, ...]:
    """The models, and those that the catalogue says share their latent space."""
    kin = [other for name in names for other in (catalogue()[name].pairs_with if name in catalogue() else ())]
    models = [other for other in kin if catalogue()[other].kind != "directions"]
    return tuple(dict.fromkeys([*names, *models]))


def _compare(loaded: Any, pairs: Sequence[str]) -> None:
    """Warn where a direction disagrees with those that are here for the same models."""
    from faceloom.directions.anchors import DirectionWarning, check_directions
    from faceloom.directions.direction import DirectionSet

    anchors = []
    for other in installed():
        if other.kind == "directions" and set(other.pairs_with) & set(pairs) and "published_as" in other.details:
            stored = DirectionSet.load(other.folder / DIRECTIONS_FILE)
            anchors += [replace(one, name=f"{one.name} of {other.id}") for one in stored]
    try:
        findings = check_directions(loaded, DirectionSet(anchors, loaded.fingerprint)) if anchors else []
    except FaceloomError as error:
        warnings.warn(str(error), DirectionWarning, stacklevel=2)
        return
    for finding in findings:
        if finding.kind != "fine":
            warnings.warn(str(finding), DirectionWarning, stacklevel=2)
