"""What is known of the training faces: labels from their tables, and what landmarks tell."""

from __future__ import annotations

import csv
import io
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceloom.directions.regression import MIN_LABELS
from faceloom.errors import TrainingError
from faceloom.training.images import FaceSet, table

Float = NDArray[np.float64]
LOOKS_FILE = "looks.csv"
_AGE_COLUMNS = "born", "congress"
"""Of portraits of people in office: a birth year, and the Congress that the portrait hung in."""


@dataclass(frozen=True)
class Attribute:
    """One entry of an attributes file.

    Attributes:
        name: of the direction.
        column: of labels.csv or looks.csv, or "".
        measure: on landmarks, a key of `MEASURES`, or "".
        low, high: words for its ends; both "" where it is only held still.
        range: amounts that the direction is offered for.
        words: numbers that stand for words in the column, such as {"female": 19.0}.
        free: names of attributes that may change along with it, because they are part of what it is.
        layers: which style layers it acts on, as shares from the coarsest (0) to the finest (1).
        judge: the score by which judges read it, such as "age", where one does; its unit is measured by them.
        note: what to know before using it, such as "rough: ...".
        dropped: why it is not offered although it has words: what the others change of it is still taken out of them.
    """

    name: str
    column: str = ""
    measure: str = ""
    low: str = ""
    high: str = ""
    range: tuple[float, float] = (-2.0, 2.0)
    words: Mapping[str, float] = field(default_factory=dict)
    free: tuple[str, ...] = ()
    layers: tuple[float, float] = (0.0, 1.0)
    judge: str = ""
    note: str = ""
    dropped: str = ""

    @property
    def offered(self) -> bool:
        """Whether it becomes a direction, or is only held still."""
        return self.movable and not self.dropped

    @property
    def movable(self) -> bool:
        """Whether it has words for both ends."""
        return bool(self.low and self.high)


def read_attributes(path: Path | None = None) -> list[Attribute]:
    """Read an attributes file; the default model's where None.

    Raises:
        TrainingError: if it is malformed.
    """
    try:
        if path is None:
            text = (resources.files("faceloom.training") / "attributes.toml").read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        entries = tomllib.loads(text)["attribute"]
        attributes = [_read_one(entry) for entry in entries]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"the attributes file {path or 'of the default model'} is malformed: {error}") from error
    for one in attributes:
        if bool(one.column) == bool(one.measure) or (one.measure and one.measure not in MEASURES):
            raise TrainingError(f"the attribute {one.name!r} needs either a column, or a measure of {list(MEASURES)}")
    return attributes


def attribute_table(faces: FaceSet, sources: Sequence[Path], attributes: Sequence[Attribute]) -> dict[str, Float]:
    """Values of every attribute, (N,) each, NaN where not known.

    Labels come from the sources' own tables, and from looks.csv of this package: what a person saw in some of the
    default model's training faces, by the names of `FaceSet.names`. It says nothing about other faces.
    """
    labels = _labels(sources)
    for name, looks in read_looks().items():
        labels[name] = {**labels.get(name, {}), **looks}
    return {
        one.name: MEASURES[one.measure](faces)
        if one.measure
        else np.array([_number(labels.get(name, {}), one) for name in faces.names])
        for one in attributes
    }


def unread_columns(sources: Sequence[Path], attributes: Sequence[Attribute]) -> list[str]:
    """Columns of the sources' tables with numbers enough for a direction, which no attribute reads."""
    rows = _labels(sources).values()
    numbers = Counter(column for row in rows for column, value in row.items() if _is_number(value))
    read = {one.column for one in attributes} | {"file", *_AGE_COLUMNS}
    return [column for column, count in numbers.items() if count >= MIN_LABELS and column not in read]


def _labels(sources: Sequence[Path]) -> dict[str, Mapping[str, str]]:
    """The rows of the sources' own tables, by the names of `FaceSet.names`."""
    labels: dict[str, Mapping[str, str]] = {}
    for source in sources:
        text = table(source)
        if text is not None:
            rows = _rows(text)
            if any("file" not in row for row in rows):
                raise TrainingError(
                    f"labels.csv of {source} needs a column 'file': the name of the picture in each row"
                )
            labels |= {f"{source.stem}/{row['file']}": row for row in rows}
    return labels


def read_looks() -> dict[str, Mapping[str, str]]:
    """The rows of looks.csv by the name of the face, without broken pictures; {} where there is no file."""
    file = resources.files("faceloom.training") / LOOKS_FILE
    if not file.is_file():
        return {}
    rows = {row.get("name", ""): row for row in _rows(file.read_text(encoding="utf-8"))}
    return {name: row for name, row in rows.items() if row.get("broken", "") in ("", "0")}


def collection_indicators(faces: FaceSet) -> dict[str, Float]:
    """One column (N,) of 0 and 1 for every collection (folder of a source) but the largest.

    Held still, they keep a direction from being the difference between two collections: portraits of people in office
    are older than generated faces, but also photographed in another light.
    """
    collections = [name.rsplit("/", 1)[0] for name in faces.names]
    counts = Counter(collections).most_common()
    return {
        f"collection {collection}": np.array([float(one == collection) for one in collections])
        for collection, count in counts[1:]
        if count >= MIN_LABELS
    }


def labels_seen(faces: FaceSet, values: Mapping[str, Float]) -> dict[str, Float]:
    """The labels, columns (N,) over `faces`, of the faces not held out, and the indicators of their collections."""
    known = {name: column[~faces.held_out] for name, column in values.items()}
    return known | collection_indicators(faces.subset(~faces.held_out))


def _read_one(entry: dict[str, Any]) -> Attribute:
    low, high = entry.pop("range", (-2.0, 2.0))
    free = tuple(str(name) for name in entry.pop("free", ()))
    first, last = (float(share) for share in entry.pop("layers", (0.0, 1.0)))
    if not 0.0 <= first < last <= 1.0:
        raise ValueError(f"layers are shares from 0 to 1, not {first:g} to {last:g}")
    return Attribute(**entry, range=(float(low), float(high)), free=free, layers=(first, last))


def _rows(text: str) -> list[Mapping[str, str]]:
    """Rows by column; of columns with one name the last that holds a number counts (words and ratings share names)."""
    reader = csv.reader(io.StringIO(text))
    head = next(reader, [])
    rows: list[Mapping[str, str]] = []
    for values in filter(None, reader):  # a blank line is no row
        row: dict[str, str] = {}
        for key, value in zip(head, values, strict=False):
            if key not in row or _is_number(value):
                row[key] = value
        rows.append(row)
    return rows


def _number(row: Mapping[str, str], attribute: Attribute) -> float:
    value = row.get(attribute.column, "")
    if _is_number(value):
        return float(value)
    if value in attribute.words:
        return float(attribute.words[value])
    born, congress = (row.get(column, "") for column in _AGE_COLUMNS)
    if attribute.column == "age" and _is_number(born):
        return float((1787 + 2 * int(congress) if _is_number(congress) else 2018) - int(born))
    return float("nan")


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _eye_distance(landmarks: Float) -> Float:
    return np.asarray(np.linalg.norm(landmarks[:, 42:48].mean(axis=1) - landmarks[:, 36:42].mean(axis=1), axis=1))


def _yaw(faces: FaceSet) -> Float:
    """Tip of the nose left or right of the middle of the jaw, in widths of the face."""
    left, right = faces.landmarks[:, 1, 0], faces.landmarks[:, 15, 0]
    return np.asarray((faces.landmarks[:, 30, 0] - (left + right) / 2) / (right - left))


def _pitch(faces: FaceSet) -> Float:
    """Tip of the nose below the eyes, in distances between the eyes."""
    eyes = faces.landmarks[:, 36:48, 1].mean(axis=1)
    return np.asarray((faces.landmarks[:, 30, 1] - eyes) / _eye_distance(faces.landmarks))


def _mouth_open(faces: FaceSet) -> Float:
    """Gap between the inner lips, in distances between the eyes."""
    upper, lower = faces.landmarks[:, 61:64].mean(axis=1), faces.landmarks[:, 65:68].mean(axis=1)
    return np.asarray(np.linalg.norm(upper - lower, axis=1) / _eye_distance(faces.landmarks))


def _eyes_open(faces: FaceSet) -> Float:
    """Height over width of the eyes, the mean of both."""
    ratios = []
    for start in (36, 42):
        eye = faces.landmarks[:, start : start + 6]
        height = np.linalg.norm(eye[:, [1, 2]] - eye[:, [5, 4]], axis=2).mean(axis=1)
        ratios.append(height / np.linalg.norm(eye[:, 3] - eye[:, 0], axis=1))
    return np.asarray((ratios[0] + ratios[1]) / 2)


def _face_width(faces: FaceSet) -> Float:
    """Width of the face at the height of the cheeks, over its height from the brows to the chin."""
    points = faces.landmarks
    width = np.linalg.norm(points[:, 2:5].mean(axis=1) - points[:, 12:15].mean(axis=1), axis=1)
    return np.asarray(width / np.linalg.norm(points[:, 17:27].mean(axis=1) - points[:, 8], axis=1))


def _mean_colour(faces: FaceSet, *boxes: tuple[float, float, float, float]) -> Float:
    """(N, 3) mean colour in [0, 1] over boxes (left, top, right, bottom), in shares of the side."""
    size = faces.pixels.shape[1]
    parts = []
    for box in boxes:
        left, top, right, bottom = (round(edge * size) for edge in box)
        parts.append(faces.pixels[:, top:bottom, left:right].reshape(len(faces), -1, 3))
    return np.asarray(np.concatenate(parts, axis=1).mean(axis=1, dtype=np.float64) / 255.0)


def _luma(colour: Float) -> Float:
    return np.asarray(colour @ np.array([0.299, 0.587, 0.114]))


def _warmth(colour: Float) -> Float:
    return np.asarray(colour[:, 0] - colour[:, 2])


def _tint(colour: Float) -> Float:
    return np.asarray(colour[:, 1] - (colour[:, 0] + colour[:, 2]) / 2)


_BACKGROUND = ((0.0, 0.0, 0.18, 0.35), (0.82, 0.0, 1.0, 0.35))
_LEFT_CHEEK, _RIGHT_CHEEK = (0.3, 0.52, 0.42, 0.7), (0.58, 0.52, 0.7, 0.7)


def _background(faces: FaceSet) -> Float:
    return _mean_colour(faces, *_BACKGROUND)


def _cheeks(faces: FaceSet) -> Float:
    return _mean_colour(faces, _LEFT_CHEEK, _RIGHT_CHEEK)


def _side_light(faces: FaceSet) -> Float:
    """How much lighter the right side of the picture of the face is than the left."""
    return _luma(_mean_colour(faces, _RIGHT_CHEEK)) - _luma(_mean_colour(faces, _LEFT_CHEEK))


MEASURES: dict[str, Callable[[FaceSet], Float]] = {
    "yaw": _yaw,
    "pitch": _pitch,
    "mouth-open": _mouth_open,
    "eyes-open": _eyes_open,
    "face-width": _face_width,
    "side-light": _side_light,
    "face-light": lambda faces: _luma(_cheeks(faces)),
    "face-warmth": lambda faces: _warmth(_cheeks(faces)),
    "face-tint": lambda faces: _tint(_cheeks(faces)),
    "background-light": lambda faces: _luma(_background(faces)),
    "background-warmth": lambda faces: _warmth(_background(faces)),
    "background-tint": lambda faces: _tint(_background(faces)),
}
