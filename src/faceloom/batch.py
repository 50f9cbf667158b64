"""The same edit for many photos: it goes on when one of them fails, and where it stopped when it is called again.

The folder of the results holds a journal, one line of JSON for each photo that is done with. A photo is not edited
again while it, the model and what is asked for stay as they were.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from faceloom.editor import Editor, InverterName
from faceloom.errors import FaceloomError, UsageError
from faceloom.faces.detect import detect
from faceloom.files import replacing
from faceloom.imaging.photos import READABLE, WRITABLE, check_output, open_photo
from faceloom.model import Model
from faceloom.presets import Preset
from faceloom.provenance.claims import Claim
from faceloom.provenance.saving import save_picture
from faceloom.recipe import Recipe

JOURNAL = "faceloom-batch.jsonl"
FORMATS = ("jpg", "png", "webp", "tif")
State = Literal["edited", "kept", "no face", "failed"]


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
        sources: photos, and folders whose photos are taken, not those in folders within.
        out: the folder of the results; need not exist.
        form: one of `FORMATS`; the photo's own where None, JPEG where that cannot be written.

    Raises:
        UsageError: if there are none, a folder has none, two would have the same result, or one would take the place of
            a photo.
    """
    photos: list[Path] = []
    for source in sources:
        found = [source]
        if source.is_dir():
            found = sorted(path for path in source.iterdir() if path.suffix.lower() in READABLE and path.is_file())
            if not found:
                raise UsageError(f"there are no photos in {str(source)!r}; name a folder of photos, or photos")
        photos += found
    if not photos:
        raise UsageError("name the photos, or a folder of them")
    originals = {photo.resolve() for photo in photos}
    tasks: dict[Path, Task] = {}
    for photo in photos:
        task = Task(photo, out / f"{photo.stem}{_suffix(photo, form)}")
        place = task.output.resolve()
        if place in originals:
            raise UsageError(f"{str(task.output)!r} would take the place of a photo; choose another folder for results")
        before = tasks.setdefault(place, task)
        if before is not task and before.photo.resolve() != photo.resolve():
            raise UsageError(
                f"{str(before.photo)!r} and {str(photo)!r} would both become {task.output.name!r}; rename one of them"
            )
    return list(tasks.values())


def edit_photos(tasks: Iterable[Task], out: Path, model: Model, job: Job) -> Iterator[Outcome]:
    """Edit photos one after the other, and tell of each as soon as it is done with.

    Results and the journal's lines are written whole; what is interrupted is done again by the next call. A file that
    is in a result's place, but not in the journal, stays, and its photo fails.

    Args:
        tasks: from `plan`.
        out: the folder of the results, made where it is missing.
        model: that draws.
        job: what to do.

    Raises:
        UsageError: if the folder cannot be written to, a direction or twin is unknown, or the journal is not one.
    """
    tasks = list(tasks)
    job = replace(job, recipe=replace(job.recipe, model=model.id))
    model.directions.check_known(job.recipe.edits)
    if job.recipe.twin:
        model.twins.path(job.recipe.twin)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {str(out)!r} ({error.strerror or error})") from error
    for task in tasks[:1]:
        check_output(task.output)
    journal = _Journal(out / JOURNAL)
    asked = _identity(model, job)
    for task in tasks:
        started = time.monotonic()
        stamp = _stamp(task.photo, asked)
        outcome = journal.outcome(task, stamp)
        if outcome is None:
            outcome = replace(_edit(task, model, job, journal), seconds=time.monotonic() - started)
            journal.add(outcome, stamp)
        yield outcome


def _edit(task: Task, model: Model, job: Job, journal: _Journal) -> Outcome:
    failed = Outcome(task.photo, task.output, "failed")
    if task.output.exists() and not journal.made(task):
        words = (
            f"{str(task.output)!r} was there before and is not of this batch; move it away, or choose another folder"
        )
        return replace(failed, message=words)
    try:
        photo = open_photo(task.photo)
        found = detect(photo)
        if not found:
            return replace(failed, state="no face")
        editor = Editor.open(
            photo, model=model, face=job.face, inverter=job.inversion, fidelity=job.fidelity, found=found
        )
        recipe = job.recipe if job.preset is None else job.preset.recipe_for(editor, job.strength, job.recipe)
        claim = Claim(recipe) if job.provenance else None
        save_picture(editor.render(recipe).photo, task.output, claim, quality=job.quality)
    except FaceloomError as error:
        return replace(failed, message=" ".join(str(error).split()))
    notes = [str(face.likeness) for face in editor.faces if face.likeness is not None and face.likeness.poor]
    return replace(failed, state="edited", message="; ".join(dict.fromkeys(notes)), faces=len(editor.faces))


class _Journal:
    """What was done in a folder, by result; the last line of a photo counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, dict[str, Any]] = {}
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {str(path)!r} ({error}); move it away") from error
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            if not line.endswith("\n"):  # the writer was interrupted; its photo is done again
                self._cut(text[: -len(line)])
                break
            try:
                entry = json.loads(line)
                self._lines[str(entry["output"])] = {name: entry[name] for name in ("stamp", "state", "faces")}
                known = entry["state"] in get_args(State)
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(f"{str(path)!r} is no journal of a batch (line {number + 1}); move it away") from error
            if not known:
                raise UsageError(f"{str(path)!r} was written by another version of Faceloom; move it away")

    def outcome(self, task: Task, stamp: str) -> Outcome | None:
        """What became of a photo before, if nothing has changed since."""
        entry = self._lines.get(task.output.name)
        if entry is None or entry["stamp"] != stamp:
            return None
        if entry["state"] == "no face":
            return Outcome(task.photo, task.output, "no face")
        if entry["state"] == "edited" and task.output.exists():
            return Outcome(task.photo, task.output, "kept", faces=int(entry["faces"]))
        return None

    def made(self, task: Task) -> bool:
        """Whether a batch has made the file that is in a result's place."""
        return self._lines.get(task.output.name, {}).get("state") == "edited"

    def add(self, outcome: Outcome, stamp: str) -> None:
        """Write a line. A photo that fails leaves its earlier result, and the line that tells of it."""
        if outcome.state == "failed":
            return
        entry = {**outcome.to_dict(), "output": outcome.output.name, "stamp": stamp}
        self._lines[outcome.output.name] = entry
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise UsageError(f"cannot write {str(self.path)!r} ({error.strerror or error})") from error

    def _cut(self, text: str) -> None:
        with replacing(self.path) as file:
            file.write(text.encode())


def _suffix(photo: Path, form: str | None) -> str:
    if form is not None:
        return f".{form}"
    own = photo.suffix.lower()
    return own if own in WRITABLE else ".jpg"


def _identity(model: Model, job: Job) -> str:
    """All that a result depends on, but for the photo."""
    twin = model.twins.path(job.recipe.twin).stat().st_mtime_ns if job.recipe.twin else 0
    return json.dumps([model.generator.fingerprint, twin, asdict(job)], sort_keys=True)


def _stamp(photo: Path, asked: str) -> str:
    """Of a photo as it is and what is asked for."""
    try:
        facts = photo.stat()
        seen = f"{photo.resolve()} {facts.st_size} {facts.st_mtime_ns}"
    except OSError:
        seen = str(photo)
    return hashlib.sha256(f"{seen} {asked}".encode()).hexdigest()
