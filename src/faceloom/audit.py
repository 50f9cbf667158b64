"""What every direction does to every attribute, and to who it is, measured on photos.

Each photo is edited along each direction to either side, as `Editor.render` would, but in its aligned crop only.
Judges, the model's probes and dlib's identity network look at it before and after. Notes are kept in a file as they are
taken, so that a report that was stopped goes on where it was, and one on a model of which a direction was found anew
measures that direction only.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from faceloom.directions.direction import Direction
from faceloom.editor import Editor
from faceloom.errors import FaceError, MissingExtraError, PhotoError, UsageError
from faceloom.files import hash_file
from faceloom.imaging.convert import to_images
from faceloom.imaging.photos import open_photo
from faceloom.inversion.dial import default_fidelity
from faceloom.metrics.identity import SAME_PERSON, IdentityJudge, distance
from faceloom.metrics.judges import Judge, installed_judges
from faceloom.model import Model
from faceloom.recipe import Recipe
from faceloom.types import Face, Photo

Float = NDArray[np.float64]
JUDGED: Mapping[str, str] = {"age": "age", "gender": "male_logit", "smile": "happy_logit"}
"""Directions, and the score of the judges that should follow them."""
AMOUNTS = (-2.0, 2.0)
_IDENTITY = "identity"
_VERSION = 3  # of what is measured; notes of another are not used


class Panel:
    """Everything that looks at a face: judges where they are installed, the model's probes, and identity."""

    def __init__(self, model: Model, judges: Sequence[Judge] | None = None) -> None:
        self.model = model
        self.judges = installed_judges()[0] if judges is None else judges
        self.identity = IdentityJudge()

    def look(self, photo: Photo, face: Face) -> tuple[dict[str, float], list[float]]:
        """Scores, "judge: score" for judges and "probe: attribute" for probes, and the identity's embedding (128,).

        The photo is an aligned crop.
        """
        scores: dict[str, float] = {}
        for judge in self.judges:
            found = judge.score(photo.pixels, face)
            scores |= {f"{judge.name}: {name}": found[name] for name in JUDGED.values() if name in found}
        if self.model.encoder is not None and self.model.directions.probes:
            with torch.no_grad():
                codes = self.model.encoder(to_images(photo.pixels[None]))
            probes = self.model.directions.probes
            scores |= {f"probe: {name}": float(probe.read(codes)) for name, probe in probes.items() if _told(name)}
        return scores, self.identity.embed(photo.pixels, face).tolist()


@dataclass(frozen=True, eq=False)
class Audit:
    """What was measured.

    Attributes:
        directions: D names.
        scores: C names, as `Panel.look` gives them.
        changes: (P, D, 2, C) change of each score at the lower and the upper amount; NaN where not measured.
        distances: (P, D, 2) of identities, before and after.
        deviations: (C,) of the scores over the unedited photos; 1 for probes, which read standard deviations.
        before: (P, C) the scores of the unedited photos.
    """

    directions: tuple[str, ...]
    scores: tuple[str, ...]
    changes: Float
    distances: Float
    deviations: Float
    before: Float

    @property
    def photos(self) -> int:
        """How many photos were measured."""
        return len(self.changes)

    def matrix(self) -> tuple[list[str], Float]:
        """Attributes, and (D, attributes): mean change for one unit, in standard deviations; judges are averaged."""
        step = AMOUNTS[1] - AMOUNTS[0]
        one = np.nanmean(self.changes[:, :, 1] - self.changes[:, :, 0], axis=0) / step / self.deviations
        groups: dict[str, list[int]] = {}
        for index, score in enumerate(self.scores):
            source, _, name = score.partition(": ")
            kind = next((key for key, value in JUDGED.items() if value == name), name)
            groups.setdefault(kind if source == "probe" else f"{kind} (judges)", []).append(index)
        names = sorted(groups, key=lambda name: "(judges)" not in name)
        return names, np.stack([one[:, groups[name]].mean(axis=1) for name in names], axis=1)

    def right_way(self, direction: str, *scores: str) -> tuple[float, float]:
        """Share of the photos on which a score follows a direction: at the lower, and at the upper amount.

        Several scores are averaged, each in its standard deviations.
        """
        _, moved = self._averaged(direction, scores)
        return float(np.mean(moved[:, 0] < 0)), float(np.mean(moved[:, 1] > 0))

    def right_way_across(self, direction: str, *scores: str) -> tuple[float, float]:
        """The same, of the photos with room to go: at the lower amount the upper half, at the upper one the lower half.

        A judge can hardly find a man more of a man; whatever else an edit does then moves his score back.
        """
        before, moved = self._averaged(direction, scores)
        upper = before > np.median(before)
        return _share(moved[upper, 0] < 0), _share(moved[~upper, 1] > 0)

    def _averaged(self, direction: str, scores: Sequence[str]) -> tuple[Float, Float]:
        """(P,) means of scores before, and (P, 2) of their changes along a direction."""
        columns = [self.scores.index(score) for score in scores]
        changes = self.changes[:, self.directions.index(direction)][..., columns] / self.deviations[columns]
        return (self.before[:, columns] / self.deviations[columns]).mean(axis=1), changes.mean(axis=2)

    def same_person(self, direction: str) -> tuple[float, float]:
        """Share of the photos on which the person is recognised: at the lower, and at the upper amount."""
        low, high = (self.distances[:, self.directions.index(direction)] < SAME_PERSON).mean(axis=0)
        return float(low), float(high)


def audit(
    model: Model,
    photos: Sequence[Path],
    notes: Path,
    *,
    panel: Panel | None = None,
    directions: Iterable[Direction] | None = None,
    fidelity: float | None = None,
    minutes: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Measure directions on photos.

    Args:
        model: with an encoder.
        photos: paths; those without a usable face are left out.
        notes: file of notes, which is read first and grows by a line for each photo.
        panel: who looks; all that is installed where None.
        directions: the model's where None.
        fidelity: place on the dial at which the faces are inverted; the dial's default where None.
        minutes: stop after this many, whole photos only.
        progress: called with the number of photos done, and of all.

    Raises:
        UsageError: if no photo could be measured.
    """
    chosen = list(model.directions if directions is None else directions)
    panel = panel or Panel(model)
    place = default_fidelity(model.generator) if fidelity is None else fidelity
    key = _key(model, panel, place)
    known, marks = _read_notes(notes, key), {path: _content(path) for path in photos}
    started = time.monotonic()
    for number, path in enumerate(photos, start=1):
        missing = _missing(known.get(marks[path], {}), chosen)
        if missing and (minutes is None or time.monotonic() - started < 60.0 * minutes):
            try:
                note = _one_photo(model, path, missing, panel, place)
            except (MissingExtraError, PhotoError):
                pass  # the next time it may be here, or be another photo
            else:
                known[marks[path]] = None if note is None else {**(known.get(marks[path]) or {}), **note}
                _append(notes, {"key": key, "photo": path.name, "content": marks[path], "note": note})
        if progress is not None:
            progress(number, len(photos))
    taken = [note for path in photos if (note := known.get(marks[path])) and not _missing(note, chosen)]
    if not taken and any(marks[path] not in known for path in photos):
        raise UsageError(
            f"none of the {len(photos)} photos was measured; give more minutes, or photos that can be read"
        )
    if not taken:
        raise UsageError(f"none of the {len(photos)} photos shows a face that can be used; take others")
    if len(taken) < 2:
        raise UsageError("one photo says nothing of how scores differ; take two at least")
    return _summed(chosen, taken)


def _content(path: Path) -> str:
    """What tells a photo from others of its name; where it can't be read, no note is ever of it."""
    try:
        return hash_file(path)
    except OSError:
        return str(path)


def _one_photo(
    model: Model, path: Path, directions: Sequence[Direction], panel: Panel, fidelity: float
) -> dict[str, dict[str, float]] | None:
    """By `_mark` (and "" before), scores, with the distance of identities under "identity"; None without a face."""
    try:
        editor = on_crop(Editor.open(open_photo(path), model=model, fidelity=fidelity))
    except FaceError:
        return None
    face = editor.faces[0].crop.face
    before, person = panel.look(editor.photo, face)
    note = {"": before}
    for direction in directions:
        for amount in AMOUNTS:
            photo = editor.render(Recipe(model=model.id).with_edit(direction.name, amount)).photo
            scores, embedding = panel.look(photo, face)
            gap = distance(np.array(person), np.array(embedding))
            note[_mark(direction, amount)] = {**scores, _IDENTITY: gap}
    return note


def on_crop(editor: Editor) -> Editor:
    """The first face of an open photo, its aligned crop as the photo: renders touch nothing else, and are quick."""
    opened = editor.faces[0]
    photo = Photo(opened.crop.pixels, name=editor.photo.name)
    return Editor(photo, (replace(opened, crop=opened.crop.alone()),), editor.model)


def _summed(directions: Sequence[Direction], notes: Sequence[dict[str, dict[str, float]]]) -> Audit:
    scores = tuple(notes[0][""])
    before = np.array([[note[""][score] for score in scores] for note in notes])
    keys = [[_mark(one, amount) for amount in AMOUNTS] for one in directions]
    after = np.array([[[[note[k][s] for s in scores] for k in pair] for pair in keys] for note in notes])
    gaps = np.array([[[note[k][_IDENTITY] for k in pair] for pair in keys] for note in notes])
    spread = np.maximum(before.std(axis=0), 1e-6)
    deviations = np.array([1.0 if score.startswith("probe") else spread[i] for i, score in enumerate(scores)])
    names = tuple(one.name for one in directions)
    return Audit(names, scores, after - before[:, None, None], gaps, deviations, before)


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if right.size else float("nan")


def _told(name: str) -> bool:
    """Collections are held while directions are found; they are nothing that one sees."""
    return not name.startswith("collection ")


def _key(model: Model, panel: Panel, fidelity: float) -> str:
    """Of everything but the directions that a measurement depends on."""
    digest = hashlib.sha256(
        f"{_VERSION} {model.generator.fingerprint} {fidelity:g} {[one.name for one in panel.judges]}".encode()
    )
    for probe in model.directions.probes.values():
        digest.update(f"{probe.name} {probe.offset}".encode() + probe.weights.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _mark(direction: Direction, amount: float) -> str:
    """The name of a measurement: of what the direction does, whatever it is called."""
    parts = [part for part in (direction.vector, direction.bend) if part is not None]
    content = direction.space.encode() + b"".join(part.contiguous().numpy().tobytes() for part in parts)
    return f"{hashlib.sha256(content).hexdigest()[:16]} {amount:+g}"


def _missing(note: dict[str, dict[str, float]] | None, directions: Sequence[Direction]) -> list[Direction]:
    """Directions that were not measured on a photo yet; none where it shows no face."""
    if note is None:
        return []
    return [one for one in directions if any(_mark(one, amount) not in note for amount in AMOUNTS)]


def _append(path: Path, entry: dict[str, object]) -> None:
    torn = path.is_file() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if torn else "") + json.dumps(entry) + "\n")


def _read_notes(path: Path, key: str) -> dict[str, dict[str, dict[str, float]] | None]:
    """Notes by a photo's content, all lines of one together; a line that a stopped run left half-written is skipped."""
    found: dict[str, dict[str, dict[str, float]] | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            if entry["key"] == key:
                note, photo = entry["note"], str(entry["content"])
                found[photo] = None if note is None else {**(found.get(photo) or {}), **note}
        except (ValueError, KeyError, TypeError):
            continue
    return found
