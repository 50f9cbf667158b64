"""What is known of the training faces: labels from their tables, and what landmarks tell."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceloom.errors import TrainingError
from faceloom.training.images import FaceSet, table

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Attribute:
    """One entry of an attributes file.

    Attributes:
        name: of the direction.
        column: of labels.csv, or "".
        measure: on landmarks, a key of `MEASURES`, or "".
        low, high: words for its ends; both "" where it is only held still.
        range: amounts that the direction is offered for.
    """

    name: str
    column: str = ""
    measure: str = ""
    low: str = ""
    high: str = ""
    range: tuple[float, float] = (-2.0, 2.0)

    @property
    def offered(self) -> bool:
        """Whether it becomes a direction, or is only held still."""
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
    """Values of every attribute, (N,) each, NaN where not known."""
    labels: dict[str, Mapping[str, str]] = {}
    for source in sources:
        text = table(source)
        if text is not None:
            labels |= {f"{source.stem}/{row['file']}": row for row in _rows(text)}
    return {
        one.name: MEASURES[one.measure](faces.landmarks)
        if one.measure
        else np.array([_number(labels.get(name, {}), one.column) for name in faces.names])
        for one in attributes
    }


def _read_one(entry: dict[str, Any]) -> Attribute:
    low, high = entry.pop("range", (-2.0, 2.0))
    return Attribute(**entry, range=(float(low), float(high)))


def _rows(text: str) -> list[Mapping[str, str]]:
    """Rows by column; of columns with one name the last that holds a number counts (words and ratings share names)."""
    reader = csv.reader(io.StringIO(text))
    head = next(reader, [])
    rows = []
    for values in reader:
        row: dict[str, str] = {}
        for key, value in zip(head, values, strict=False):
            if key not in row or _is_number(value):
                row[key] = value
        rows.append(row)
    return rows


def _number(row: Mapping[str, str], column: str) -> float:
    value = row.get(column, "")
    if _is_number(value):
        return float(value)
    # Portraits of people in office: a birth year, and the Congress that the portrait hung in.
    if column == "age" and _is_number(row.get("born", "")):
        year = 1787 + 2 * int(row["congress"]) if _is_number(row.get("congress", "")) else 2018
        return float(year - int(row["born"]))
    return float("nan")


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _eye_distance(landmarks: Float) -> Float:
    return np.asarray(np.linalg.norm(landmarks[:, 42:48].mean(axis=1) - landmarks[:, 36:42].mean(axis=1), axis=1))


def _yaw(landmarks: Float) -> Float:
    """Tip of the nose left or right of the middle of the jaw, in widths of the face."""
    left, right = landmarks[:, 1, 0], landmarks[:, 15, 0]
    return np.asarray((landmarks[:, 30, 0] - (left + right) / 2) / (right - left))


def _pitch(landmarks: Float) -> Float:
    """Tip of the nose below the eyes, in distances between the eyes."""
    eyes = landmarks[:, 36:48, 1].mean(axis=1)
    return np.asarray((landmarks[:, 30, 1] - eyes) / _eye_distance(landmarks))


def _mouth_open(landmarks: Float) -> Float:
    """Gap between the inner lips, in distances between the eyes."""
    gap = np.linalg.norm(landmarks[:, 65:68].mean(axis=1) - landmarks[:, 61:64].mean(axis=1), axis=1)
    return np.asarray(gap / _eye_distance(landmarks))


MEASURES = {"yaw": _yaw, "pitch": _pitch, "mouth-open": _mouth_open}
