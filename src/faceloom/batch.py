"""The same edit for many photos: it goes on when one of them fails, and where it stopped when it is called again.

The folder of the results holds a journal, one line of JSON for each photo that is done with. A photo is not edited
again while its file, the model and what is asked for stay as they were. A result is replaced only by that of the same
photo, and only if nobody else has changed it since.
"""

from __future__ import annotations

import errno
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import filelock
from torch import nn

import faceloom
from faceloom.editor import Editor, InverterName, make_inverter
from faceloom.errors import FaceloomError, UsageError
from faceloom.faces.detect import detect
from faceloom.files import drafted, replacing
from faceloom.generators.protocol import fingerprint_of
from faceloom.imaging.photos import WRITABLE, check_output, open_photo, photos_in
from faceloom.model import Model
from faceloom.presets import Preset
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import mark_in_use, save_picture
from faceloom.provenance.signer import load_signing_key
from faceloom.recipe import Recipe

JOURNAL = "faceloom-batch.jsonl"
FORMATS = ("jpg", "png", "webp", "tif")
State = Literal["edited", "kept", "no face", "failed"]
_KINDS = {"output": str, "photo": str, "stamp": str, "state": str, "faces": int, "size": int, "changed": int}
_FULL = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}


@dataclass(frozen=True)
class Task:
    """One photo, and where its result goes."""

    photo: Path
    output: Path


@dataclass(frozen=True)
class Job:
    """What to do to each photo.

    Attributes:
        recipe: the edits; the model is the one that the job is run with.
        preset: whose edits are added to them, as they suit the face; None for none.
        strength: of the preset; its own where None.
        face: which faces, as in `Editor.open`.
        inversion: method; the dial at `fidelity` where None.
        fidelity: as in `Editor.open`.
        quality: of JPEG and WebP, from 1 to 100.
        provenance: whether the pictures say how they were made.
    """

    recipe: Recipe
    preset: Preset | None = None
    strength: float | None = None
    face: int | Literal["all"] | None = None
    inversion: InverterName | None = None
    fidelity: float | None = None
    quality: int = 95
    provenance: bool = True


@dataclass(frozen=True)
class Outcome:
    """What became of one photo.

    Attributes:
        photo: its path.
        output: where its result is, or would be.
        state: "edited"; "kept", edited by a call before; "no face" in it; or "failed".
        message: what went wrong, or what a person should know; "" for nothing.
        faces: how many were edited.
        seconds: that it took.
    """

    photo: Path
    output: Path
    state: State
    message: str = ""
    faces: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), "photo": str(self.photo), "output": str(self.output), "seconds": round(self.seconds, 2)}


def plan(sources: Sequence[Path], out: Path, form: str | None = None) -> list[Task]:
    """Where the results of photos go: each under its own name, in `out`.

    Args:
        sources: photos, and folders whose photos are taken, but for hidden ones and those in folders within.
        out: the folder of the results; need not exist, and must be none that photos are in.
        form: one of `FORMATS`; the photo's own where None, JPEG where that cannot be written.

    Raises:
        UsageError: if there are none, a source is missing or has none, or two would have the same result.
    """
    photos = [photo for source in sources for photo in _photos_of(source)]
    if not photos:
        raise UsageError("name the photos, or a folder of them")
    tasks: dict[str, Task] = {}
    place = out.resolve()
    for photo in photos:
        if place in (photo.resolve().parent, photo.parent.resolve()):
            raise UsageError(f"{str(out)!r} is where the photos are; choose another folder for the results")
        task = Task(photo, out / f"{photo.stem}{_suffix(photo, form)}")
        # Without regard to case, which not every disk knows.
        before = tasks.setdefault(task.output.name.casefold(), task)
        if before.photo.resolve() != photo.resolve():
            raise UsageError(
                f"{str(before.photo)!r} and {str(photo)!r} would both become {task.output.name!r}; rename one of them"
            )
    return list(tasks.values())


def edit_photos(tasks: Iterable[Task], out: Path, model: Model, job: Job) -> Iterator[Outcome]:
    """Edit photos one after the other, and tell of each as soon as it is done with.

    Results and the journal's lines are written whole; what is interrupted is done again by the next call. A file in a
    result's place that is not the photo's own result, as it was written, stays, and the photo fails.

    Args:
        tasks: from `plan`.
        out: the folder of the results, made where it is missing.
        model: that draws.
        job: what to do.

    Raises:
        UsageError: if the folder cannot be written to or another batch writes to it, a direction or twin is unknown,
            there is no such face or method, the journal is not one, or the disk is full.
    """
    tasks = list(tasks)
    job = replace(job, recipe=replace(job.recipe, model=model.id))
    model.directions.check_known(job.recipe.edits)
    if isinstance(job.face, int) and job.face < 1:
        raise UsageError(f"faces are counted from 1, not {job.face}")
    if job.inversion is not None:
        make_inverter(job.inversion, model)
    if job.provenance and mark_in_use() == "credentials":
        load_signing_key()
    asked = _identity(model, job)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".faceloom-batch.lock", timeout=0)
        check_output(out / "any.png")
        with lock:
            journal = _Journal(out / JOURNAL)
            for task in tasks:
                yield _outcome(task, model, job, journal, asked)
    except filelock.Timeout as error:
        raise UsageError(f"another batch is writing to {str(out)!r}; wait for it, or choose another folder") from error
    except OSError as error:
        raise UsageError(f"cannot use the folder {str(out)!r} ({error.strerror or error}); choose another") from error


def _photos_of(source: Path) -> list[Path]:
    try:
        folder, there = source.is_dir(), source.exists()
    except OSError as error:
        raise UsageError(f"cannot read {str(source)!r} ({error.strerror or error})") from error
    if not there:
        raise UsageError(f"there is no photo or folder {str(source)!r}")
    return photos_in(source) if folder else [source]


def _outcome(task: Task, model: Model, job: Job, journal: _Journal, asked: str) -> Outcome:
    """What becomes of a photo; whatever goes wrong with it stops no other."""
    started = time.monotonic()
    failed = Outcome(task.photo, task.output, "failed")
    try:
        stamp = _stamp(task.photo, asked)
        known = journal.outcome(task, stamp)
        outcome = _edit(task, model, job, journal, stamp) if known is None else known
    except (FaceloomError, OSError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, OSError) and cause.errno in _FULL:
            raise
        outcome = replace(failed, message=" ".join(str(error).split()))
    except Exception as error:  # memory that is short, or a fault of ours
        outcome = replace(failed, message=f"unexpected: {type(error).__name__}: {' '.join(str(error).split())}")
    return replace(outcome, seconds=time.monotonic() - started)


def _edit(task: Task, model: Model, job: Job, journal: _Journal, stamp: str) -> Outcome:
    journal.check_place(task)
    photo = open_photo(task.photo)
    found = detect(photo)
    if not found:
        journal.add(task, stamp, "no face")
        words = f"{str(task.output)!r} is of what the photo was before" if task.output.exists() else ""
        return Outcome(task.photo, task.output, "no face", words)
    editor = Editor.open(photo, model=model, face=job.face, inverter=job.inversion, fidelity=job.fidelity, found=found)
    recipe = job.recipe if job.preset is None else job.preset.recipe_for(editor, job.strength, job.recipe)
    rendered = editor.render(recipe).photo
    with drafted(task.output) as draft:
        save_picture(rendered, draft, Claim(recipe) if job.provenance else None, quality=job.quality)
        journal.check_place(task)  # once more: that took a while
        facts = _facts(draft)
        journal.add(task, stamp, "begun", facts=facts)
    journal.add(task, stamp, "edited", len(editor.faces), facts)
    notes = [str(face.likeness) for face in editor.faces if face.likeness is not None and face.likeness.poor]
    return Outcome(task.photo, task.output, "edited", "; ".join(dict.fromkeys(notes)), len(editor.faces))


class _Journal:
    """What was done in a folder, by the name of the result: the last line of each, and the last that owns a file.

    A result is announced, as it will be, before it gets its name ("begun"): one whose second line was lost is known,
    and so is the one before it, where it did not get that far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last: dict[str, dict[str, Any]] = {}
        self._owns: dict[str, dict[str, Any]] = {}
        self._facts: dict[str, set[tuple[int, int]]] = {}
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        except UnicodeDecodeError as error:
            raise UsageError(self._refusal(f"is not text: {error}")) from error
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            if not line.endswith("\n"):  # the writer was interrupted
                with replacing(path) as file:
                    file.write(text[: -len(line)].encode())
                break
            try:
                entry = json.loads(line)
                sound = all(type(entry.get(name)) is kind for name, kind in _KINDS.items())
            except (ValueError, AttributeError) as error:
                raise UsageError(self._refusal(f"is damaged in line {number}")) from error
            if not sound:
                raise UsageError(self._refusal(f"is of another kind in line {number}"))
            self._take(entry)

    def outcome(self, task: Task, stamp: str) -> Outcome | None:
        """What became of a photo before, if nothing has changed since."""
        entry = self._last.get(task.output.name)
        if entry is None or entry["stamp"] != stamp:
            return None
        if entry["state"] == "no face":
            return Outcome(task.photo, task.output, "no face")
        if entry["state"] == "edited" and task.output.exists() and self._is_own(task):
            return Outcome(task.photo, task.output, "kept", faces=int(entry["faces"]))
        return None

    def check_place(self, task: Task) -> None:
        """Raises UsageError if a file that must not be lost is where a result goes."""
        if not task.output.exists():
            return
        entry = self._owns.get(task.output.name)
        words = f"{str(task.output)!r} is there already, and "
        if entry is None:
            words += "no batch has made it"
        elif entry["photo"] != str(task.photo.resolve()):
            words += f"is made of {entry['photo']!r}"
        elif not self._is_own(task):
            words += "was changed since it was made"
        else:
            return
        raise UsageError(f"{words}; move it away, or choose another folder for the results")

    def add(
        self,
        task: Task,
        stamp: str,
        state: Literal["begun", "edited", "no face"],
        faces: int = 0,
        facts: tuple[int, int] = (0, 0),
    ) -> None:
        """Write a line; `facts` are those of the result."""
        size, changed = facts
        entry = {
            "output": task.output.name,
            "photo": str(task.photo.resolve()),
            "state": state,
            "faces": faces,
            "size": size,
            "changed": changed,
            "stamp": stamp,
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        self._last[entry["output"]] = entry
        if entry["state"] != "no face":
            name, facts = entry["output"], (entry["size"], entry["changed"])
            self._owns[name] = entry
            self._facts[name] = {facts} if entry["state"] == "edited" else {*self._facts.get(name, ()), facts}

    def _is_own(self, task: Task) -> bool:
        return _facts(task.output) in self._facts[task.output.name]

    def _refusal(self, what: str) -> str:
        return f"the journal {str(self.path)!r} {what}; choose another folder for the results"


def _suffix(photo: Path, form: str | None) -> str:
    if form is not None:
        return f".{form}"
    own = photo.suffix.lower()
    return own if own in WRITABLE else ".jpg"


def _facts(path: Path) -> tuple[int, int]:
    """Size of a file in bytes, and when it was changed; a new name changes neither."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _identity(model: Model, job: Job) -> str:
    """What a result depends on besides the photo: networks, directions, what is asked for, and this version."""
    digest = hashlib.sha256(f"{faceloom.__version__} {model.generator.fingerprint}".encode())
    if model.encoder is not None:
        digest.update(fingerprint_of(cast(nn.Module, model.encoder)).encode())
    for one in model.directions:
        digest.update(f"{one.name} {one.space} {one.layers} {one.range}".encode())
        for tensor in (one.vector, one.bend):
            digest.update(b"-" if tensor is None else tensor.cpu().numpy().tobytes())
    for probe in model.directions.probes.values():
        digest.update(f"{probe.name} {probe.offset}".encode() + probe.weights.cpu().numpy().tobytes())
    effects = {name: dict(row) for name, row in model.directions.effects.items()}
    twin = _facts(model.twins.path(job.recipe.twin)) if job.recipe.twin else []
    digest.update(json.dumps([effects, twin, asdict(job)], sort_keys=True).encode())
    return digest.hexdigest()


def _stamp(photo: Path, asked: str) -> str:
    """Of a photo as it is and what is asked for."""
    return hashlib.sha256(f"{[*_facts(photo)]} {asked}".encode()).hexdigest()
