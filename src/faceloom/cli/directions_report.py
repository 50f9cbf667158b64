"""The report on directions: as Markdown, and as a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceloom.audit import AMOUNTS, JUDGED, Audit
from faceloom.imaging.matrices import matrix_picture
from faceloom.inversion.dial import default_fidelity
from faceloom.model import Model
from faceloom.types import Pixels

Float = NDArray[np.float64]
_SIDE_LIMIT = 0.25


_WITH_ROOM = (
    "*With room*: of the photos in the upper half of the judge's scores at the lower amount, and in the lower half at\n"
    "the upper one. A judge can hardly find a man more of a man; whatever else an edit does then moves the score back."
)
_BOTH = "both, averaged"
_AVERAGED = f"*{_BOTH.capitalize()}*: the mean of both judges' scores, each in its standard deviations over the photos."


def report_text(result: Audit, model: Model, fidelity: float | None = None) -> str:
    """What was measured, in Markdown; `fidelity` as for `audit`."""
    place = default_fidelity(model.generator) if fidelity is None else fidelity
    low, high = AMOUNTS
    judged = "\n".join(_judged_table(result))
    parts = [
        "# What each direction does",
        f"Generator {model.generator.fingerprint}, {result.photos} photos, paste transfer, fidelity {place:g}, "
        f"at {low:+g} and {high:+g}. Made by `faceloom directions report`.",
        "## Judged",
        judged,
        _WITH_ROOM,
        *([_AVERAGED] if _BOTH in judged else []),
        "## Identity",
        "\n".join(_identity_table(result)),
        "## Effects on photos",
        "Mean change for one unit, in standard deviations: of the photos for judges, of the training faces for probes.",
        "\n".join(_matrix_table(*_on_photos(result))),
    ]
    for title, table in _on_drawn_faces(model):
        parts += [
            f"## {title}",
            "Read by the probes from faces that the generator drew.",
            "\n".join(_matrix_table(*table)),
        ]
    return "\n\n".join(parts) + "\n"


def matrix_of(result: Audit, model: Model) -> Pixels:
    """All matrices under one another, (H, W, 3) uint8 RGB."""
    pictures = [matrix_picture(*_turned(_on_photos(result)), f"On {result.photos} photos, for one unit")]
    pictures += [matrix_picture(*_turned(table), title) for title, table in _on_drawn_faces(model)]
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded)


_Table = tuple[list[str], list[str], Float]
"""Row labels, column labels, values."""


def _turned(table: _Table) -> tuple[Float, list[str], list[str]]:
    rows, columns, values = table
    return values, rows, columns


def _on_photos(result: Audit) -> _Table:
    columns, values = result.matrix()
    offered = [index for index, name in enumerate(columns) if "(judges)" in name or name in result.directions]
    return list(result.directions), [columns[index] for index in offered], values[:, offered]


def _on_drawn_faces(model: Model) -> list[tuple[str, _Table]]:
    before = model.directions.info.get("effects_before_projection")
    found = []
    for title, effects in (("As found by regression", before), ("As offered", model.directions.effects)):
        if isinstance(effects, dict) and effects:
            names = list(effects)
            values = np.array([[effects[one].get(other, np.nan) for other in names] for one in names])
            found.append((title, (names, names, values)))
    return found


def _judged_table(result: Audit) -> list[str]:
    low, high = AMOUNTS
    lines = [
        f"| direction | judge | right way at {low:+g} | at {high:+g} | with room: {low:+g} | {high:+g} "
        "| effect of one unit | other judged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    columns, values = result.matrix()
    for direction, score in JUDGED.items():
        if direction not in result.directions or f"{direction} (judges)" not in columns:
            continue
        row = values[result.directions.index(direction)]
        wanted = row[columns.index(f"{direction} (judges)")]
        others = _others(direction, wanted, columns, row.tolist())
        judges = [one for one in result.scores if one.endswith(f": {score}") and not one.startswith("probe")]
        rows = {judge: (judge,) for judge in judges} | ({_BOTH: tuple(judges)} if len(judges) == 2 else {})
        for label, scores in rows.items():
            lines.append(
                f"| {direction} | {label} | {_shares(result, direction, *scores)} | {wanted:+.2f} | {others} |"
            )
    return [*lines, *_probed_rows(result)]


def _probed_rows(result: Audit) -> list[str]:
    """Attributes that no judge knows: what the model's own probe reads from the edited photo."""
    lines = []
    columns, values = result.matrix()
    for direction in result.directions:
        score = f"probe: {direction}"
        judged = direction in JUDGED and f"{direction} (judges)" in columns
        if not judged and score in result.scores:
            row = values[result.directions.index(direction)]
            effect = row[columns.index(direction)]
            others = _others(direction, effect, columns, row.tolist())
            shares = _shares(result, direction, score)
            lines.append(f"| {direction} | own probe | {shares} | {effect:+.2f} | {others} |")
    return lines


def _shares(result: Audit, direction: str, *scores: str) -> str:
    shares = (*result.right_way(direction, *scores), *result.right_way_across(direction, *scores))
    return " | ".join(f"{share:.0%}" for share in shares)


def _others(direction: str, wanted: float, columns: list[str], row: list[float]) -> str:
    """What other judged attributes change by, as shares of the wanted effect."""
    shares = [
        (name, abs(value / wanted) if wanted else float("inf"))
        for name, value in zip(columns, row, strict=True)
        if name.endswith("(judges)") and not name.startswith(f"{direction} ")
    ]
    return ", ".join(f"{name} {share:.0%}{'' if share < _SIDE_LIMIT else ' (!)'}" for name, share in shares)


def _identity_table(result: Audit) -> list[str]:
    lines = [
        f"| direction | same person at {AMOUNTS[0]:+g} | at {AMOUNTS[1]:+g} | median distance |",
        "|---|---|---|---|",
    ]
    for index, direction in enumerate(result.directions):
        low, high = result.same_person(direction)
        lines.append(f"| {direction} | {low:.0%} | {high:.0%} | {np.median(result.distances[:, index]):.2f} |")
    return lines


def _matrix_table(rows: list[str], columns: list[str], values: Float) -> list[str]:
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row, line in zip(rows, values.tolist(), strict=True):
        lines.append(f"| {row} | " + " | ".join(f"{value:+.2f}" for value in line) + " |")
    return lines
