"""A scatter plot, drawn with Pillow: one point for each method, a line through the places on the dial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceloom.types import Pixels

_PAPER, _INK, _FAINT, _GRID = (255, 255, 255), (32, 33, 36), (95, 99, 104), (226, 228, 231)
_POINT, _LINE = (66, 103, 178), (200, 80, 50)
_MARGINS = (90, 50, 40, 80)  # left, top, right, bottom
_TICKS = 6


@dataclass(frozen=True)
class Point:
    """A point of the plot.

    Attributes:
        x, y: where.
        label: beside it.
        joined: whether it is on the line.
    """

    x: float
    y: float
    label: str
    joined: bool = False


def scatter(
    points: Sequence[Point], x_label: str, y_label: str, title: str, *, size: tuple[int, int] = (1100, 700)
) -> Pixels:
    """Draw points with their labels; those that are joined are a line, in their order.

    Args:
        points: at least one, finite.
        x_label: under the plot.
        y_label: above its left side.
        title: above all.
        size: width and height in pixels.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: if there are no points, or one is not finite.
    """
    if not points or not all(math.isfinite(point.x) and math.isfinite(point.y) for point in points):
        raise ValueError("a plot needs at least one point, and all of them finite")
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    font, small = ImageFont.load_default(17), ImageFont.load_default(14)
    left, top, right, bottom = _MARGINS[0], _MARGINS[1], size[0] - _MARGINS[2], size[1] - _MARGINS[3]
    x_ticks, y_ticks = (_ticks([getattr(point, axis) for point in points]) for axis in "xy")

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    for x in x_ticks:
        draw.line([place(x, y_ticks[0]), place(x, y_ticks[-1])], _GRID)
        draw.text((place(x, 0)[0], bottom + 8), f"{x:.6g}", _FAINT, small, "ma")
    for y in y_ticks:
        draw.line([place(x_ticks[0], y), place(x_ticks[-1], y)], _GRID)
        draw.text((left - 8, place(0, y)[1]), f"{y:.6g}", _FAINT, small, "rm")
    draw.text(((left + right) / 2, bottom + 34), x_label, _INK, font, "ma")
    draw.text((12, top - 14), y_label, _INK, small, "ls")
    draw.text(((left + right) / 2, 8), title, _INK, font, "ma")
    line = [place(point.x, point.y) for point in points if point.joined]
    if len(line) > 1:
        draw.line(line, _LINE, 2)
    taken: list[tuple[float, float, float, float]] = []
    for point in points:
        x, y = place(point.x, point.y)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), _LINE if point.joined else _POINT)
        taken.append((x - 6, y - 6, x + 6, y + 6))
    for point in points:
        _label(draw, place(point.x, point.y), point.label, small, taken, right)
    return np.array(picture)


def _label(
    draw: ImageDraw.ImageDraw,
    at: tuple[float, float],
    words: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    taken: list[tuple[float, float, float, float]],
    right: float,
) -> None:
    """Write beside a point where nothing is yet, to its right if that is possible."""
    width, height = draw.textlength(words, font), 16.0
    for shift in (0, -1, 1, -2, 2, -3, 3, -4, 4):
        for x in (at[0] + 9, at[0] - 9 - width):
            y = at[1] + shift * height * 0.8 - height / 2
            box = (x, y, x + width, y + height)
            if x > 0 and box[2] < right + _MARGINS[2] and not any(_overlap(box, other) for other in taken):
                draw.text((x, y), words, _INK, font)
                taken.append(box)
                return
    draw.text((at[0] + 9, at[1] - height / 2), words, _INK, font)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around the values, from below the least to above the largest."""
    low, high = min(values), max(values)
    rough = max(high - low, 1e-6 * max(abs(low), abs(high), 1e-6)) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 12) for number in range(first, max(last, first + 1) + 1)]
